"""Every way a command can end has its exit code and its line."""

from __future__ import annotations

import errno
import sys
from typing import Any

import pytest
import typer
from typer.exceptions import Abort, Exit, TyperException

from mascli.cli import app as application
from mascli.cli.ending import exit_code_of, flush, say
from mascli.errors import (
    CheckpointError,
    DataError,
    GateError,
    MascliError,
    NumericsError,
    UnsupportedModelError,
    UsageError,
)


class OutOfMemoryError(RuntimeError):
    """Named as torch names its own."""


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UsageError("a\nb"), 2, "mascli: a\nmascli: b\n"),
        (DataError("a"), 3, "mascli: a\n"),
        (CheckpointError("a"), 4, "mascli: a\n"),
        (UnsupportedModelError("a"), 5, "mascli: a\n"),
        (NumericsError("a"), 6, "mascli: a\n"),
        (GateError("a"), 7, "mascli: a\n"),
        (TyperException("two\n  lines"), 2, "mascli: two lines\n"),
        (KeyboardInterrupt(), 130, "mascli: stopped\n"),
        (Abort(), 130, "mascli: stopped\n"),
        (Exit(3), 3, ""),
        (SystemExit(5), 5, ""),
        (BrokenPipeError(), 141, ""),
        (OSError(errno.ENOSPC, "No space left on device", "a\nb"), 2, "mascli: a\\nb: No space left on device\n"),
        (PermissionError(errno.EACCES, "Permission denied", "x"), 2, "mascli: x: Permission denied\n"),
        (MemoryError(), 1, "mascli: out of memory: try a smaller --batch-size, or --device cpu\n"),
        (OutOfMemoryError("CUDA"), 1, "mascli: out of memory: try a smaller --batch-size, or --device cpu\n"),
    ],
)
def test_codes_and_lines(error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of(error) == code
    output = capsys.readouterr()
    assert (output.out, output.err) == ("", line)


@pytest.mark.parametrize(
    "error",
    [
        ImportError("libcudart.so.13: cannot open", name="torch._C"),
        ModuleNotFoundError("No module named 'torchvision'", name="torchvision"),
        RuntimeError("operator torchvision::nms does not exist"),
    ],
)
def test_an_installation_that_cannot_work_says_what_to_install(error: Exception, capsys: Any) -> None:
    assert exit_code_of(error) == 1
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert "pip install" in line


@pytest.mark.parametrize("error", [ValueError("x"), RuntimeError("shape"), ImportError("y", name="yaml"), OSError("z")])
def test_a_bug_keeps_its_traceback(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of(error) == 1
    lines = capsys.readouterr().err
    assert repr(error).split("(")[0] in lines
    assert lines.endswith("mascli: this is a bug: please report it with the lines above and the command\n")


def test_a_pipe_closed_inside_typer_is_silent_too(capsys: pytest.CaptureFixture[str]) -> None:
    def as_typer_does() -> None:
        try:
            raise BrokenPipeError
        except BrokenPipeError:
            sys.exit(1)

    with pytest.raises(SystemExit) as ended:
        as_typer_does()
    assert exit_code_of(ended.value) == 141
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt, 130), (MascliError, 1), (EOFError, 130), (ZeroDivisionError, 1)]
)
def test_main_ends_with_the_code_of_what_a_command_raised(
    error: type[Exception], code: int, monkeypatch: Any, capsys: Any
) -> None:
    fake = typer.Typer()

    @fake.command()
    def fail() -> None:
        raise error

    monkeypatch.setattr(application, "app", fake)
    with pytest.raises(SystemExit) as caught:
        application.main([])
    assert caught.value.code == code
    stopped = capsys.readouterr().err.strip().endswith("mascli: stopped")
    assert stopped == (code == 130)


def test_flush_reports_what_the_last_bytes_meet(monkeypatch: Any, capsys: pytest.CaptureFixture[str]) -> None:
    class Full:
        def flush(self) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    assert flush(0) == 0
    monkeypatch.setattr("mascli.cli.ending._forget_output", lambda: None)
    monkeypatch.setattr(sys, "stdout", Full())
    assert flush(0) == 2
    assert capsys.readouterr().err == "mascli: standard output: No space left on device\n"


def test_nobody_listening_is_no_error(monkeypatch: Any) -> None:
    class Closed:
        def write(self, text: str) -> None:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Closed())
    say("anything")
