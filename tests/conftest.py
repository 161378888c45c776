"""One thread a process, as small networks want it; and a coverage gate for the whole suite alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from commands import Run

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is loaded, here and in every process started here


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--write-golden` for tests/test_golden.py."""
    parser.addoption("--write-golden", action="store_true", help="write tests/golden anew")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Lift the gate when the user names files or selects tests."""
    whole = config.args == config.getini("testpaths") and not config.option.keyword and not config.option.markexpr
    if not whole:
        config.option.no_cov = True


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in this process: words -> (exit code, standard output, standard error).

    Its result, in every form of JSON that it left, has to be what docs/schemas says.
    """

    from schemas import watched

    from mascli.cli.app import main

    check_json = watched(monkeypatch)

    def call(*words: str | Path) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped:
            main([str(word) for word in words])
        output = capsys.readouterr()
        check_json(output.out)
        return int(stopped.value.code or 0), output.out, output.err

    return call
