"""The filters of a layer as a map: a block for each, coloured by its importance on a logarithmic scale.

Where there is no colour, characters of growing density carry the same levels. Filters stand in their
order, row by row; the number before a row is that of its first filter.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence

from rich.text import Text

RAMP = ".:;+*x%#@"  # from the least to the most important
# Viridis: its lightness grows with the value, for every kind of eyes and on paper.
COLOURS = ("#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725")
ZERO, NEGATIVE, NOT_FINITE = "0", "-", "!"
_WORDS = {ZERO: "exactly 0", NEGATIVE: "negative", NOT_FINITE: "not finite"}
BLOCK = 2  # columns
WIDEST = 64  # blocks in a row


def filter_map_lines(
    importance: Sequence[float | None], width: int, ascii_only: bool = False, colour: bool = False
) -> tuple[Text, ...]:
    """The map and its legend as lines of at most `width` columns (16 at least); None is not finite."""
    if not importance:
        return (Text("no filters"),)
    edges = level_edges(importance)
    signs = [sign_of(value, edges) for value in importance]
    label = len(str(len(importance) - 1))
    blocks = _blocks_a_row((width - label - 1) // BLOCK, len(importance))
    lines = [
        Text.assemble(
            (f"{start:>{label}} ", "dim"),
            *(_block(sign, ascii_only, colour) for sign in signs[start : start + blocks]),
        )
        for start in range(0, len(signs), blocks)
    ]
    return (*lines, *_legend(edges, set(signs), width, ascii_only, colour))


def level_edges(importance: Sequence[float | None]) -> tuple[float, ...]:
    """The least importance of each level, by equal factors from the smallest to the largest positive one."""
    positive = [value for value in importance if value is not None and 0 < value < math.inf]
    if not positive:
        return ()
    low, high = min(positive), max(positive)
    if low == high:
        return (low,)
    first, step = math.log(low), (math.log(high) - math.log(low)) / len(RAMP)
    return (low, *(math.exp(first + step * level) for level in range(1, len(RAMP))))


def sign_of(value: float | None, edges: Sequence[float]) -> str:
    """The character of an importance: of its level, or of what no logarithm has."""
    if value is None or not math.isfinite(value):
        return NOT_FINITE
    if value <= 0:
        return NEGATIVE if value else ZERO
    level = max(bisect_right(edges, value) - 1, 0)
    return RAMP[level + len(RAMP) - len(edges)]


def _blocks_a_row(room: int, count: int) -> int:
    """As many as there is room for, but a power of two from 8 on: rows are then easy to count."""
    room = max(min(room, WIDEST), 1)
    return 1 << (room.bit_length() - 1) if room >= 8 and count > 8 else room


def _block(sign: str, ascii_only: bool, colour: bool) -> tuple[str, str]:
    level = RAMP.find(sign)
    if not colour or level < 0:
        return sign * BLOCK, "dim" if colour else ""
    return (sign if ascii_only else "█") * BLOCK, COLOURS[level]


def _legend(edges: Sequence[float], shown: set[str], width: int, ascii_only: bool, colour: bool) -> list[Text]:
    """What the blocks mean, side by side as long as there is room."""
    first = len(RAMP) - len(edges)
    entries = [(_block(RAMP[first + level], ascii_only, colour), f">= {low:.1e}") for level, low in enumerate(edges)]
    entries += [(_block(sign, ascii_only, colour), word) for sign, word in _WORDS.items() if sign in shown]
    lines = [Text()]
    for (block, style), words in entries:
        entry = Text.assemble((block, style), f" {words}")
        if lines[-1] and len(lines[-1]) + 2 + len(entry) > width:
            lines.append(Text())
        lines[-1] = Text("  ").join([lines[-1], entry]) if lines[-1] else entry
    return lines
