"""What `inspect` and `evaluate` say about fixed files, to the letter, in every format.

`pytest tests/test_golden.py --write-golden` writes tests/golden anew; read the difference before it is kept.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from commands import Run
from golden_files import make
from rich.cells import cell_len
from terminals import in_a_terminal

GOLDEN = Path(__file__).parent / "golden"
COMMANDS = {
    "inspect-checkpoint": "inspect shade.st",
    "inspect-omega": "inspect wide.omega",
    "inspect-omega-in-depth": "inspect wide.omega --histogram --layer features.conv? --bins 12 --top 5 "
    "--map features.conv1",
    "inspect-tensors": "inspect plain.safetensors",
    "inspect-two-omegas": "inspect light.omega later.omega",
    "inspect-two-checkpoints": "inspect light.st shade.st --omega light.omega",
    "evaluate": "evaluate shade.st --baseline light.st --data-root data --min-accuracy light=80 "
    "--min-accuracy shade=80 --max-forgetting 20",
    "evaluate-per-class": "evaluate shade.st --data-root data --per-class",
}
CODES = {"evaluate": 7}
EACH = pytest.mark.parametrize("name", COMMANDS)
CODE = re.compile(r"\x1b\[[0-9;]*m")
COLOUR = re.compile(r"[\[;](3[0-8]|4[0-8]|9[0-7]|10[0-7])[;m]")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("golden")
    make(folder)
    return folder


@pytest.fixture(autouse=True)
def among_the_files(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files)
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Any:
    """Compares text with a file of tests/golden, or writes it there."""

    def compare(file: str, found: str, *, same: Any = None) -> None:
        path = GOLDEN / file
        if request.config.getoption("--write-golden"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(found, encoding="utf-8")
        kept = path.read_text(encoding="utf-8")
        if same is None:
            assert found == kept
        else:
            assert same(json.loads(found), json.loads(kept)) is None

    return compare


def difference(found: Any, kept: Any, where: str = "") -> str | None:
    """Where two values of JSON differ; sums of floats may end differently on another processor."""
    if isinstance(found, dict) and isinstance(kept, dict):
        if list(found) != list(kept):
            return f"{where}: {list(found)}, not {list(kept)}"
        pairs = [(found[key], kept[key], f"{where}/{key}") for key in kept]
    elif isinstance(found, list) and isinstance(kept, list):
        if len(found) != len(kept):
            return f"{where}: {len(found)} members, not {len(kept)}"
        pairs = [(one, other, f"{where}/{number}") for number, (one, other) in enumerate(zip(found, kept, strict=True))]
    elif type(found) is float and type(kept) is float:
        return None if found == pytest.approx(kept, rel=1e-9, abs=1e-15) else f"{where}: {found}, not {kept}"
    else:
        return None if found == kept and type(found) is type(kept) else f"{where}: {found}, not {kept}"
    return next((told for one, other, place in pairs if (told := difference(one, other, place))), None)


def test_the_comparison_sees_a_difference() -> None:
    assert difference({"a": [1.0, "x"]}, {"a": [1.0 + 1e-13, "x"]}) is None
    for other in ({"a": [1.0, "y"]}, {"a": [1.001, "x"]}, {"a": [1, "x"]}, {"b": [1.0, "x"]}, {"a": [1.0]}, [1.0]):
        assert difference({"a": [1.0, "x"]}, other) is not None


@EACH
def test_documents(name: str, run: Run, golden: Any) -> None:
    words = [*COMMANDS[name].split(), "--format", "json", "--overwrite"]
    code, out, err = run(*words, "--report", "out.md", "--report", "out.xml")
    assert code == CODES.get(name, 0), err
    golden(f"{name}.json", out, same=difference)
    golden(f"{name}.md", Path("out.md").read_text(encoding="utf-8"))
    golden(f"{name}.junit.xml", Path("out.xml").read_text(encoding="utf-8"))


@EACH
def test_text_in_80_columns_without_colour(name: str, golden: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    found = in_a_terminal(*COMMANDS[name].split(), monkeypatch=monkeypatch)
    assert [code for code in CODE.findall(found) if COLOUR.search(code)] == []
    plain = CODE.sub("", found)
    assert [line for line in plain.splitlines() if cell_len(line) > 80] == []
    golden(f"{name}.txt", plain)


@EACH
def test_colour_adds_to_the_text(name: str, golden: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for a map of filters, whose marks become blocks of colour."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    found = in_a_terminal(*COMMANDS[name].split(), monkeypatch=monkeypatch)
    assert any(COLOUR.search(code) for code in CODE.findall(found))
    golden(f"{name}.colour.txt" if "--map" in COMMANDS[name] else f"{name}.txt", CODE.sub("", found))


@EACH
def test_text_in_ascii(name: str, golden: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = CODE.sub("", in_a_terminal(*COMMANDS[name].split(), "--ascii", monkeypatch=monkeypatch))
    assert found.isascii()
    golden(f"{name}.ascii.txt", found)


def test_no_other_files_are_kept() -> None:
    ends = ("json", "md", "junit.xml", "txt", "ascii.txt")
    expected = {f"{name}.{end}" for name in COMMANDS for end in ends}
    expected |= {f"{name}.colour.txt" for name, command in COMMANDS.items() if "--map" in command}
    assert {path.name for path in GOLDEN.iterdir()} == expected
