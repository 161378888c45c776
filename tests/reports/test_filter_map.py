"""The map of a layer's filters: every filter once, in its order, at its level, within the width."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mascli.reports.filter_map import COLOURS, RAMP, filter_map_lines, level_edges, sign_of

VALUES = (0.0, 1.0, 10.0, 1e9, math.nan, -3.0, math.inf, 5.0)


def rows_of(values: Sequence[float | None], width: int, **how: bool) -> list[str]:
    """The rows of the map, without the legend."""
    lines = [line.plain for line in filter_map_lines(values, width, **how)]
    ends = next(at for at, line in enumerate(lines) if re.search(r" (>=|exactly|not finite|negative)", line))
    return lines[:ends]


def signs(values: Sequence[float | None], width: int) -> str:
    """The characters of all blocks, in order."""
    return "".join(row.split()[-1] for row in rows_of(values, width))[::2]


def test_every_filter_has_a_block_of_its_level() -> None:
    assert signs(VALUES, 80) == "0.:@!-!."
    assert signs((2.0, 2.0), 80) == "@@"
    assert signs((0.0, 0.0), 80) == "00"
    assert signs((0.0, None, 1.0), 80) == "0!@"
    assert signs((None, None), 80) == "!!"
    assert filter_map_lines((), 80)[0].plain == "no filters"


def test_levels_are_equal_factors_from_the_smallest_to_the_largest() -> None:
    edges = level_edges(VALUES)
    assert (len(edges), edges[0]) == (len(RAMP), 1.0)
    factors = [high / low for low, high in zip((*edges, 1e9), (*edges[1:], 1e9), strict=False)]
    assert factors == pytest.approx([10.0] * 9)
    assert [sign_of(10.0**power * 1.5, edges) for power in range(9)] == list(RAMP)
    assert sign_of(1e9, edges) == RAMP[-1]
    linear = [sign_of(1e9 * step / 9, edges) for step in range(1, 9)]
    assert set(linear) <= set(RAMP[-2:])  # what a linear scale would spread over all levels


@given(st.lists(st.floats(0, 1e30) | st.just(math.inf), min_size=1, max_size=300), st.integers(16, 210), st.booleans())
def test_fits_the_width_and_shows_each_filter_once(values: list[float], width: int, colour: bool) -> None:
    lines = filter_map_lines(values, width, colour=colour)
    assert all(len(line.plain) <= max(width, 20) for line in lines)
    label = len(str(len(values) - 1))
    assert len(signs(values, width)) == len(values)
    starts = [int(row[:label]) for row in rows_of(values, width, colour=colour)]
    assert starts[0] == 0 and starts == sorted(set(starts))


@pytest.mark.parametrize(("width", "blocks"), [(80, 32), (100, 32), (200, 64), (300, 64), (40, 16), (20, 8)])
def test_wide_layers_are_wrapped_to_a_round_number(width: int, blocks: int) -> None:
    first, second, *_ = filter_map_lines([float(number) for number in range(1, 257)], width)
    assert (first.plain[:4], second.plain[:4]) == ("  0 ", f"{blocks:>3} ")
    assert len(first.plain) == 4 + 2 * blocks


def test_colour_carries_what_characters_do_without_it() -> None:
    coloured = filter_map_lines(VALUES, 80, colour=True)
    plain = filter_map_lines(VALUES, 80)
    assert coloured[0].plain == "0 00██████!!--!!██"
    styles = [str(span.style) for span in coloured[0].spans]
    assert styles == ["dim", "dim", COLOURS[0], COLOURS[1], COLOURS[-1], "dim", "dim", "dim", COLOURS[0]]
    assert all(str(span.style) == "dim" for span in plain[0].spans[:1]) and plain[0].plain.isascii()
    ascii_coloured = filter_map_lines(VALUES, 80, ascii_only=True, colour=True)
    assert [line.plain for line in ascii_coloured] == [line.plain for line in plain]
    assert {str(span.style) for span in ascii_coloured[0].spans} > {COLOURS[0], COLOURS[-1]}


def test_the_legend_names_each_level_and_what_has_none() -> None:
    legend = " ".join(line.plain for line in filter_map_lines(VALUES, 80)[1:])
    for sign in RAMP:
        assert f"{sign}{sign} >= " in legend
    for words in ("00 exactly 0", "!! not finite", "-- negative"):
        assert words in legend
    assert "exactly 0" not in " ".join(line.plain for line in filter_map_lines((1.0, 2.0), 80))
