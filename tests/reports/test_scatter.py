"""The scatter shows every pair somewhere, in the width there is."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mascli.importance.density import Density, DensityGrid
from mascli.reports.scatter import ASCII_SHADES, SHADES, scatter_lines, style_of

COUNTS = st.integers(0, 10**9)


def density() -> Density:
    random = np.random.default_rng(0)
    first = (random.exponential(1, 20_000) ** 3 * (random.random(20_000) > 0.1)).astype(np.float32)
    second = (first * random.lognormal(0, 0.5, first.size) * (random.random(20_000) > 0.1)).astype(np.float32)
    grid = DensityGrid((float(first[first > 0].min()), float(first.max())), (1e-9, float(second.max())))
    grid.add(first, second)
    return grid.density()


def drawn(lines: tuple[tuple[str, str], ...]) -> list[str]:
    """The cells of the plot, zeros first, from the top down."""
    return [cells for _, cells in lines if cells]


@pytest.mark.parametrize("ascii_only", [False, True])
@pytest.mark.parametrize("width", [30, 50, 80, 200])
def test_fits_the_width_and_says_what_characters_mean(width: int, ascii_only: bool) -> None:
    found = density()
    lines = scatter_lines(found, width, ascii_only)
    texts = [label + cells for label, cells in lines]
    assert all(len(text) <= width and text == text.rstrip() for text in texts)
    assert not ascii_only or all(text.isascii() for text in texts)
    assert len(drawn(lines)) == len(found.counts)
    legend = " ".join(label for label, cells in lines if not cells)
    used = {character for cells in drawn(lines) for character in cells} - set(" |/")
    assert all(re.search(f"{re.escape(shade)} [\\d,]+\\+", legend) for shade in used)
    assert "/ equal in both" in legend


@pytest.mark.parametrize("ascii_only", [False, True])
def test_a_cell_is_drawn_exactly_where_pairs_are(ascii_only: bool) -> None:
    found = density()
    shades = ASCII_SHADES if ascii_only else SHADES
    rows = drawn(scatter_lines(found, 80, ascii_only))
    for cells, counts in zip(rows, reversed(found.counts), strict=True):
        zero, _, rest = cells.partition("|")
        characters = zero + rest.ljust(len(counts) - 1)
        assert [character in shades for character in characters] == [many > 0 for many in counts]


def test_darker_is_more() -> None:
    counts = ((0, *(10**power for power in range(9))),)
    edges = tuple(2.0**power for power in range(10))
    (cells,) = drawn(scatter_lines(Density(edges, (), counts), 80, ascii_only=True))
    assert cells == " |.:-=+*#%@"
    assert style_of("@") == style_of("█") != style_of(".")
    assert style_of("/") == style_of("|") == "dim"


def test_columns_that_share_a_character_are_added() -> None:
    edges = tuple(1.0 + step for step in range(17))
    counts = ((0, *([1, 0] * 8)), (2, *([0, 0] * 8)))
    (_, cells) = drawn(scatter_lines(Density(edges, (1.0, 2.0), counts), 20))
    assert len(cells) == 2 + 8
    assert "".join(cells.split("|")).strip(" ") == "·" * 8 or " " not in cells


def test_equal_importance_is_marked_where_nothing_lies() -> None:
    edges = (1.0, 2.0, 4.0, 8.0)
    lines = scatter_lines(Density(edges, edges, ((0, 0, 0, 0), (0, 0, 0, 3), (0, 0, 0, 0), (0, 0, 0, 0))), 80, True)
    assert drawn(lines) == [" |  /", " | /", " |/ @", " |"]


@pytest.mark.parametrize(
    ("found", "cells"),
    [
        (Density((), (), ((2,),)), ["█|"]),
        (Density((1.0, 2.0), (), ((2, 1),)), ["█|·"]),
        (Density((), (1.0, 2.0), ((2,), (1,))), ["·|", "█|"]),
    ],
)
def test_without_positive_values_on_a_side(found: Density, cells: list[str]) -> None:
    assert drawn(scatter_lines(found, 80)) == cells


def test_nothing_at_all() -> None:
    assert scatter_lines(Density((), (), ((0,),)), 80) == (("no values", ""),)


@given(st.lists(st.lists(COUNTS, min_size=4, max_size=4), min_size=3, max_size=3), st.booleans())
def test_the_legend_tells_the_truth(counts: list[list[int]], ascii_only: bool) -> None:
    edges = (1.0, 2.0, 4.0, 8.0)
    lines = scatter_lines(Density(edges, edges[:3], tuple(map(tuple, counts))), 200, ascii_only)
    if not any(map(any, counts)):
        return
    shades = ASCII_SHADES if ascii_only else SHADES
    legend = lines[-1][0]
    least = {shade: int(many.replace(",", "")) for shade, many in re.findall(r" (\S) ([\d,]+)\+", legend)}
    order = sorted(least.items(), key=lambda item: item[1])
    assert [shade for shade, _ in order] == [shade for shade in shades if shade in least]
    for cells, row in zip(drawn(lines), reversed(counts), strict=True):
        for character, many in zip(cells.replace("|", "").ljust(4), row, strict=True):
            expected = [shade for shade, at in order if at <= many]
            assert character == expected[-1] if many else character in " /"
    assert math.isfinite(max(least.values()))
