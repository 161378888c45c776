"""Two omegas against each other, drawn with characters: the darker, the more parameters lie there.

Scales are logarithmic. What is exactly 0 in one of the files has a column, a row, or their corner of its
own, so that every compared parameter is somewhere. Where nothing lies, `/` marks equal importance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mascli.reports.numbers import count

if TYPE_CHECKING:
    from mascli.importance.density import Density

SHADES = "·░▒▓█"
ASCII_SHADES = ".:-=+*#%@"
STYLES = ("blue", "cyan", "green", "yellow", "bold red")  # from few to many
EQUAL = "/"
LABEL = len("exactly 0 ")
LEAST = 8  # columns of the plot

Line = tuple[str, str]


def scatter_lines(density: Density, width: int, ascii_only: bool = False) -> tuple[Line, ...]:
    """The plot as pairs of a label and what is drawn beside it, together at most `width` columns."""
    most = max((many for row in density.counts for many in row), default=0)
    if not most:
        return (("no values", ""),)
    shades = ASCII_SHADES if ascii_only else SHADES
    columns = _columns(len(density.counts[0]) - 1, max(width - LABEL - 3, LEAST))
    rows = [[row[0], *(sum(row[begin:end]) for begin, end in columns)] for row in density.counts]
    most = max(max(row) for row in rows)
    first = [(density.first_edges[begin - 1], density.first_edges[end - 1]) for begin, end in columns]
    second = list(zip(density.second_edges, density.second_edges[1:], strict=False))
    return (
        ("second", ""),
        *_body(rows, first, second, most, shades),
        *_foot(first, len(columns), width),
        *_legend(most, shades, width),
    )


def style_of(character: str) -> str:
    """The colour of one character of the plot."""
    for shades in (SHADES, ASCII_SHADES):
        if character in shades:
            return STYLES[shades.index(character) * len(STYLES) // len(shades)]
    return "dim"


def _columns(bins: int, room: int) -> list[tuple[int, int]]:
    """Which bins [begin, end), counted from 1, share a column, so that there are at most `room`."""
    step = max(-(-bins // room), 1)
    return [(begin, min(begin + step, bins + 1)) for begin in range(1, bins + 1, step)]


def _body(
    rows: Sequence[Sequence[int]],
    first: Sequence[tuple[float, float]],
    second: Sequence[tuple[float, float]],
    most: int,
    shades: str,
) -> list[Line]:
    """Rows from the largest value down to zero."""
    labels = {len(second) - 1: f"{second[-1][1]:.1e}", 0: f"{second[0][0]:.1e}"} if second else {}
    lines = []
    for at in reversed(range(len(second))):
        marks = [
            _shade(many, most, shades) or (EQUAL if low < second[at][1] and second[at][0] < high else " ")
            for many, (low, high) in zip(rows[at + 1][1:], first, strict=True)
        ]
        zero = _shade(rows[at + 1][0], most, shades) or " "
        lines.append((f"{labels.get(at, ''):>{LABEL - 1}} ", f"{zero}|{''.join(marks)}".rstrip()))
    lines.append((" " * LABEL + "-+" + "-" * len(first), ""))
    zeros = [_shade(many, most, shades) or " " for many in rows[0]]
    lines.append((f"{'exactly 0':>{LABEL - 1}} ", f"{zeros[0]}|{''.join(zeros[1:])}".rstrip()))
    return lines


def _foot(first: Sequence[tuple[float, float]], columns: int, width: int) -> list[Line]:
    """What the columns are."""
    if not first:
        return [(" " * LABEL + "0 first", "")]
    low, high = f"{first[0][0]:.1e}", f"{first[-1][1]:.1e}"
    middle = f"{low:<{max(columns - len(high) - 1, 0)}} {high}"
    text = " " * LABEL + "0 " + middle
    lines = [(text[:width], "")]
    return [(f"{text}  first", "")] if len(text) + 7 <= width else [*lines, (" " * LABEL + "first", "")]


def _legend(most: int, shades: str, width: int) -> list[Line]:
    """From which number of parameters each character is drawn."""
    least = {shade: _least(place, most, len(shades)) for place, shade in enumerate(shades)}
    parts = [f" {shade} {count(at)}+" for shade, at in least.items() if at is not None]
    lines = ["parameters:"]
    for part in [*parts, f" {EQUAL} equal in both"]:
        if len(lines[-1]) + 1 + len(part) <= width:
            lines[-1] += f" {part}"
        else:
            lines.append(part.strip())
    return [(line, "") for line in lines]


def _least(place: int, most: int, levels: int) -> int | None:
    """The smallest number whose level is `place`, None where no number has it."""
    near = math.ceil(most ** (place / levels))
    return next((n for n in (near - 1, near, near + 1) if 1 <= n <= most and _level(n, most, levels) == place), None)


def _level(many: int, most: int, levels: int) -> int:
    """Which of `levels` steps of the logarithm `many` of at most `most` is on."""
    part = math.log(many) / math.log(most) if most > 1 else 1.0
    return min(int(part * levels + 1e-9), levels - 1)


def _shade(many: int, most: int, shades: str) -> str:
    """The character for `many` of at most `most`; nothing for 0."""
    return shades[_level(many, most, len(shades))] if many else ""
