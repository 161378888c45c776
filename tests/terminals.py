"""Commands whose standard output is a terminal."""

from __future__ import annotations

import io
import sys

import pytest

from mascli.cli.app import main


class Terminal(io.StringIO):
    """Text that was written to a terminal with colour; COLUMNS says how wide it is."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def in_a_terminal(*words: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """What `mascli WORDS` prints in a terminal."""
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(sys, "stdout", terminal)
    with pytest.raises(SystemExit):
        main(words)
    return terminal.getvalue()
