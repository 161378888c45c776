"""Every pair is in one cell of the grid, and in the right one."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mascli.importance.density import COLUMNS, ROWS, SPAN, Density, DensityGrid

VALUES = st.sampled_from([0.0, -0.0, 1.0, 1e-45, 1e-40]) | st.floats(0, 2.0**127, width=32)


def drawn(first: list[float], second: list[float]) -> Density:
    sides = [np.array(side, np.float32) for side in (first, second)]
    ranges = [(min((v for v in side.tolist() if v > 0), default=np.inf), float(side.max())) for side in sides]
    grid = DensityGrid(*ranges)
    grid.add(*sides)
    return grid.density()


def place(value: float, edges: tuple[float, ...]) -> int:
    """The bin of a value: 0 for zero, the lowest one for what is below all edges."""
    if value == 0:
        return 0
    return max(sum(edge <= value for edge in edges), 1)


@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=40))
def test_each_pair_is_counted_once_where_the_edges_say(pairs: list[tuple[float, float]]) -> None:
    first, second = ([pair[side] for pair in pairs] for side in (0, 1))
    density = drawn(first, second)
    expected = np.zeros((len(density.counts), len(density.counts[0])), int)
    for one, other in pairs:
        expected[place(float(np.float32(other)), density.second_edges), place(one, density.first_edges)] += 1
    assert density.counts == tuple(map(tuple, expected.tolist()))
    for edges, values, bins in ((density.first_edges, first, COLUMNS), (density.second_edges, second, ROWS)):
        assert len(edges) <= bins + 1
        assert all(low < high for low, high in pairwise(edges))
        assert not edges or edges[-1] > max(values)


def test_scales_are_logarithmic() -> None:
    values = [10.0**exponent for exponent in range(-8, 3)]
    density = drawn(values, values)
    assert (len(density.first_edges), len(density.second_edges)) == (COLUMNS + 1, ROWS + 1)
    steps = np.diff(np.log10(density.first_edges))
    assert steps == pytest.approx(10 / COLUMNS, abs=0.01)


def test_what_is_far_below_the_largest_shares_the_lowest_bin() -> None:
    density = drawn([1e-30, 1e-20, 1.0], [1.0, 1.0, 1.0])
    assert density.first_edges[0] == pytest.approx(SPAN, rel=0.01)
    assert density.counts[1][1] == 2
    assert density.counts[1][-1] == 1


def test_zeros_have_a_row_and_a_column() -> None:
    density = drawn([0.0, 0.0, 1.0, 1.0], [0.0, 2.0, 0.0, 2.0])
    assert density.counts == ((1, 1), (1, 1))


def test_nothing_but_zeros_has_no_edges() -> None:
    assert drawn([0.0, 0.0], [0.0, 0.0]) == Density((), (), ((2,),))
