"""What is counted by bits, block by block, is what numpy says of the whole."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mascli.importance.tally import Tally, found, found_in, positive_range

NAN, INF = math.nan, math.inf
bits = st.integers(0x3F7FFFF0, 0x3F800010).map(lambda number: float(np.array(number, np.uint32).view(np.float32)))
values = st.floats(width=32, allow_nan=False) | bits | st.just(0.0) | st.floats(-2, 2, width=32)
blocks = st.lists(arrays.arrays(np.float32, st.integers(0, 12), elements=values), min_size=1, max_size=4)
odd = st.lists(arrays.arrays(np.float32, st.integers(0, 6), elements=values | st.just(NAN)), max_size=4)


def joined(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.float32), *parts])


@settings(max_examples=60, deadline=None)
@given(parts=blocks)
def test_every_rank_is_that_of_the_sorted_values(parts: list[np.ndarray]) -> None:
    whole = joined(parts)
    ranks = list(range(whole.size))
    counted, _ = found(Tally(parts), lambda: parts, ranks, np.zeros(0, np.float32))
    assert counted == np.sort(whole).tolist()
    assert found_in(whole, ranks, np.zeros(0, np.float32))[0] == counted
    assert not any(math.copysign(1, value) < 0 for value in counted if value == 0)


@settings(max_examples=60, deadline=None)
@given(parts=blocks, edges=st.lists(bits | st.floats(0.5, 2, width=32), min_size=1, max_size=6, unique=True))
def test_counts_between_edges_are_those_of_numpy(parts: list[np.ndarray], edges: list[float]) -> None:
    whole, marks = joined(parts), np.array(sorted(edges), np.float32)
    expected = [int(np.sum((whole >= low) & (whole < high))) for low, high in pairwise(marks)]
    for below in (
        found(Tally(parts), lambda: parts, (0,) if whole.size else (), marks)[1],
        found_in(whole, (), marks)[1],
    ):
        assert np.diff(below).tolist() == expected


@settings(max_examples=60, deadline=None)
@given(parts=odd)
def test_a_tally_counts_each_kind(parts: list[np.ndarray]) -> None:
    whole, tally = joined(parts), Tally(parts)
    finite = whole[np.isfinite(whole)].astype(np.float64)
    assert tally.count == whole.size == int(tally.groups.sum())
    assert tally.zeros == np.sum(whole == 0)
    assert tally.nans == np.sum(np.isnan(whole))
    assert tally.infinite == np.sum(np.isinf(whole))
    assert tally.negative == np.sum(finite < 0)
    assert tally.positive == np.sum(finite > 0)
    assert tally.total == pytest.approx(math.fsum(finite), rel=1e-9, abs=1e-9 * float(np.abs(finite).sum()))
    if whole.size:
        assert str(tally.lowest + 0) == str(float(whole.min()) + 0)
        assert str(tally.highest + 0) == str(float(whole.max()) + 0)


@settings(max_examples=30, deadline=None)
@given(first=odd, second=odd)
def test_tallies_join(first: list[np.ndarray], second: list[np.ndarray]) -> None:
    both, whole = Tally(first), Tally([*first, *second])
    both.join(Tally(second))
    for name in ("count", "zeros", "negative", "nans", "infinite"):
        assert getattr(both, name) == getattr(whole, name)
    assert (both.groups == whole.groups).all()
    assert (str(both.lowest), str(both.highest)) == (str(whole.lowest), str(whole.highest))


@settings(max_examples=60, deadline=None)
@given(parts=odd)
def test_the_range_is_of_positive_finite_values(parts: list[np.ndarray]) -> None:
    whole = joined(parts)
    positive = whole[np.isfinite(whole) & (whole > 0)]
    expected = (float(positive.min()), float(positive.max())) if positive.size else (INF, 0.0)
    assert positive_range(parts) == expected


@pytest.mark.parametrize(
    ("numbers", "mean"),
    [([], NAN), ([1.0, NAN], NAN), ([1.0, INF], INF), ([1.0, -INF], -INF), ([INF, -INF], NAN), ([1.0, 2.0], 1.5)],
)
def test_a_mean_hides_nothing(numbers: list[float], mean: float) -> None:
    assert str(Tally([np.array(numbers, np.float32)]).mean) == str(mean)


def test_ranks_by_absolute_value_would_be_wrong() -> None:
    part = np.array([-3.0, 1.0, 2.0], np.float32)
    counted, _ = found(Tally([part]), lambda: [part], [0], np.zeros(0, np.float32))
    assert counted == [-3.0] != np.sort(np.abs(part))[:1].tolist()
