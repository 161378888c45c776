"""A histogram as small as a word, for a cell of a table."""

from __future__ import annotations

import math
from collections.abc import Sequence

WIDEST = 12  # columns
_HEIGHTS, _EMPTY = "▁▂▃▄▅▆▇█", "·"
_ASCII_HEIGHTS, _ASCII_EMPTY = "_-~:=+*#", "."


class Sparkline(str):
    """A sparkline as text; `ascii_form` is the same in characters that every terminal has."""

    __slots__ = ("ascii_form",)
    ascii_form: str


def sparkline(counts: Sequence[int], width: int = WIDEST) -> Sparkline:
    """Counts as bars of eight heights on a logarithmic scale, from 1 to the largest count (10 at least).

    Where there are more counts than columns, equally many neighbours are added for each column (the last
    one gets what is left). A column without any count is a dot.
    """
    group = max(math.ceil(len(counts) / width), 1)
    merged = [sum(counts[start : start + group]) for start in range(0, len(counts), group)]
    top = math.log(max([10, *merged]))
    heights = [min(int(8 * math.log(count) / top + 1e-9), 7) if count else None for count in merged]
    spark = Sparkline("".join(_EMPTY if height is None else _HEIGHTS[height] for height in heights))
    spark.ascii_form = "".join(_ASCII_EMPTY if height is None else _ASCII_HEIGHTS[height] for height in heights)
    return spark


def cell_text(cell: str, ascii_only: bool) -> str:
    """The text of a table's cell, in ASCII where it is a sparkline and that is all there is."""
    return cell.ascii_form if ascii_only and isinstance(cell, Sparkline) else cell
