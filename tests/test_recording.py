"""docs/inspect.svg, and the script that records it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from golden_files import make

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "inspect.svg"
SVG = "{http://www.w3.org/2000/svg}"


def record(folder: Path, command: str, out: Path) -> str:
    script = [sys.executable, ROOT / "scripts" / "record_inspect.py", "--folder", folder, "--command", command]
    subprocess.run([*script, "-o", out], check=True, timeout=120)
    return out.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("recorded")
    make(folder)
    first = record(folder, "mascli inspect wide.omega", folder / "one.svg")
    assert record(folder, "mascli inspect wide.omega", folder / "two.svg") == first
    return first


def texts(picture: str) -> list[str]:
    """What stands in a picture, piece by piece."""
    found = (element.text or "" for element in ElementTree.fromstring(picture).iter(f"{SVG}text"))
    return [text.replace("\xa0", " ").strip() for text in found]


def titles(picture: str) -> list[str]:
    """The bold pieces but the command."""
    bold = re.findall(r"\.(inspect-r\d+) \{[^}]*font-weight: bold[^}]*\}", picture)
    found = ElementTree.fromstring(picture).iter(f"{SVG}text")
    named = [(element.text or "").replace("\xa0", " ").strip() for element in found if element.get("class") in bold]
    return [name for name in named if name and not name.startswith("mascli ")]


def outside(picture: str) -> list[str]:
    """What a picture would load, or lead to."""
    return re.findall(r"""(?:https?:|//|@import|@font-face|href=|src:|url\((?!#))[^\s"']*""", picture)


def test_a_recording_shows_what_is_printed(recorded: str) -> None:
    shown = texts(recorded)
    assert shown[:3] == ["mascli inspect wide.omega", "$", "mascli inspect wide.omega"]
    for text in ("wide.omega (27.3 kB)", "features.conv3", "exactly 0", "importance by layer"):
        assert any(text in piece for piece in shown), text
    assert len(set(re.findall(r"\.inspect-r\d+ \{ fill: (#\w+)", recorded))) > 1  # it has colours
    assert len(titles(recorded)) >= 2


def test_the_picture_of_the_readme_is_of_this_version(recorded: str) -> None:
    """Numbers may differ with torch, and nothing else: `python scripts/record_inspect.py` records it anew."""
    kept = PICTURE.read_text(encoding="utf-8")
    assert "mascli inspect digits.omega" in texts(kept)
    assert titles(kept) == titles(recorded)


@pytest.mark.parametrize("which", ["recorded", "kept"])
def test_a_picture_loads_nothing(which: str, recorded: str) -> None:
    picture = recorded if which == "recorded" else PICTURE.read_text(encoding="utf-8")
    assert outside(picture) == ["http://www.w3.org/2000/svg"]


def test_what_a_picture_would_load_is_seen() -> None:
    from rich._export_format import CONSOLE_SVG_FORMAT

    assert len(outside(CONSOLE_SVG_FORMAT)) > 4


def test_a_command_that_fails_leaves_no_picture(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        record(tmp_path, "mascli inspect no-such.omega", tmp_path / "none.svg")
    assert not (tmp_path / "none.svg").exists()
