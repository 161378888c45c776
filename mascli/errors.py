"""The errors that mascli raises on purpose, each with the exit code of the process.

    MascliError                 1   never raised itself
    ├── UsageError              2   flags, YAML or paths that cannot mean anything
    │   └── UnstableError       2   a lambda at which the penalty itself would diverge
    ├── DataError               3   image folders that cannot be used
    ├── CheckpointError         4   a checkpoint or omega that is damaged or does not belong here
    ├── UnsupportedModelError   5   a network that cannot be built, wrapped or measured
    ├── NumericsError           6   numbers that are not finite, or a verification that failed
    └── GateError               7   a limit set by the user that the result does not meet

Every message is one plain line: what is wrong, where, and what to do next.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


class MascliError(Exception):
    """Base of all errors that a user can cause; its text is shown without a traceback."""

    exit_code = 1


class UsageError(MascliError):
    """Flags, configuration files or paths that cannot be used."""

    exit_code = 2


class UnstableError(UsageError):
    """A strength of the penalty that its form cannot follow with this optimiser."""


class DataError(MascliError):
    """An image folder that is missing what the command needs."""

    exit_code = 3


class CheckpointError(MascliError):
    """A checkpoint or omega file that is damaged, too new, or belongs to something else."""

    exit_code = 4


class UnsupportedModelError(MascliError):
    """A network that cannot be built, wrapped or measured."""

    exit_code = 5


class NumericsError(MascliError):
    """A number that is not finite, or a check of the numbers that failed."""

    exit_code = 6


class GateError(MascliError):
    """A limit that the user set and the result does not meet."""

    exit_code = 7


def printable(text: str | Path) -> str:
    """`text` on one line that any terminal can show.

    Control characters and bytes that are not UTF-8 (a file name may hold both) come out as
    backslash escapes, so that a name can neither break a line nor steer a terminal.
    """
    return "".join(c if c.isprintable() else _escaped(c) for c in str(text))


def _escaped(character: str) -> str:
    byte = ord(character) - 0xDC00  # how Python holds a byte of a name that is not UTF-8
    return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else character.encode("unicode_escape").decode()


def shell_path(path: str | Path) -> str:
    """The path of a file as one word of a command, to be copied into a shell.

    A name that begins with a dash keeps `./`, so that no program takes it for a flag. Control characters
    and bytes that are not UTF-8 are written as bash's `$'...'` does, all on one line.
    """
    import shlex

    word = str(path)
    word = f"./{word}" if word.startswith("-") else word
    if all(c.isprintable() for c in word):
        return shlex.quote(word)
    return "$'" + "".join(map(_in_dollar_quotes, word)) + "'"


def _in_dollar_quotes(character: str) -> str:
    if character.isprintable():
        return f"\\{character}" if character in "\\'" else character
    if "\ud800" <= character <= "\udfff" and not 0x80 <= ord(character) - 0xDC00 <= 0xFF:
        return "?"  # no file name holds such a half of a character
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))


def listed(names: Iterable[str], most: int = 5) -> str:
    """`names` joined by commas, the first `most` of them, then how many more there are."""
    shown = [printable(name) for name in names]
    rest = len(shown) - most
    return ", ".join(shown[:most]) + (f" and {rest} more" if rest > 0 else "")


def closest(word: str, known: Iterable[str]) -> str:
    """The end of a message that asks whether the known word nearest to `word` was meant, or nothing."""
    import difflib

    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean '{near[0]}'?" if near else ""
