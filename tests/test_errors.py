"""How names of files are shown and quoted."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from mascli.errors import printable, shell_path

BASH = shutil.which("bash")
NAMES = (
    "a.st",
    "my file.st",
    "-b.st",
    "it's.st",
    "a\nb",
    "tab\there",
    "\x1b[31mred'\\",
    "caf\xe9",
    "\udce9x",
    "a\x01b",
    "￾",
)


@pytest.mark.parametrize("name", NAMES)
def test_a_quoted_name_is_one_printable_line(name: str) -> None:
    assert printable(shell_path(name)) == shell_path(name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.skipif(BASH is None, reason="there is no bash")
def test_bash_reads_a_quoted_name_as_the_name(name: str) -> None:
    assert BASH is not None
    done = subprocess.run([BASH, "-c", f"printf %s {shell_path(name)}"], capture_output=True, check=True)
    assert os.fsdecode(done.stdout) == (f"./{name}" if name.startswith("-") else name)


def test_plain_names_stay_plain() -> None:
    assert [shell_path(name) for name in ("a.st", "my file", "-b.st")] == ["a.st", "'my file'", "./-b.st"]
    assert shell_path("a\nb") == r"$'a\x0ab'"
