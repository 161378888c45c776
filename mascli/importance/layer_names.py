"""Which layer a parameter belongs to, in which order layers stand, and which ones a pattern means."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from mascli.errors import UsageError, listed, printable


def layer_of(parameter: str) -> str:
    """The module that owns a parameter; a parameter of the network itself is its own layer."""
    return parameter.rpartition(".")[0] or parameter


def natural_order(names: Iterable[str]) -> list[str]:
    """`names` sorted with their numbers by value: `features.2` before `features.10`."""
    return sorted(names, key=_natural)


def by_layer(names: Iterable[str]) -> dict[str, list[str]]:
    """The tensors of each layer; layers and tensors in natural order."""
    layers: dict[str, list[str]] = {}
    for name in natural_order(names):
        layers.setdefault(layer_of(name), []).append(name)
    return layers


def matching(patterns: Sequence[str], layers: Iterable[str]) -> tuple[str, ...]:
    """The layers that one of `patterns` (as in a shell: `*`, `?`, `[...]`) matches; all without a pattern.

    Raises:
        UsageError: a pattern that matches none, with the nearest layers.
    """
    known = tuple(layers)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in known):
            raise UsageError(f"--layer '{printable(pattern)}' matches no layer; {nearest(pattern, known)}")
    return tuple(name for name in known if not patterns or any(fnmatchcase(name, p) for p in patterns))


def nearest(word: str, names: Sequence[str]) -> str:
    """The end of a message: the names nearest to `word`, or the first ones where none is near."""
    near = difflib.get_close_matches(re.sub(r"[*?\[\]]", "", word), names, n=3, cutoff=0.5)
    if near:
        return f"the nearest: {listed(near)}"
    return f"there are {listed(names)}" if names else "there is none"


def _natural(name: str) -> tuple[tuple[int, int, str], ...]:
    parts = re.split(r"([0-9]+)", name)
    return tuple((1, int(part[:4000]), part) if part.isascii() and part.isdigit() else (0, 0, part) for part in parts)
