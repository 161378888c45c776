"""Ranks agree with scipy, and the overlap of the largest with its definition written out."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from mascli.importance import rank_agreement as ranks
from mascli.importance.rank_agreement import RankAgreement, pack, rank_agreement

Float32 = NDArray[np.float32]

# Few different values, so that ties are everywhere, and some of every size, zeros of both signs among them.
VALUES = st.sampled_from([0.0, -0.0, 1.0, 2.0, 2.5, 1e-45]) | st.floats(0, 2.0**127, width=32)
PAIRS = st.lists(st.tuples(VALUES, VALUES), min_size=2, max_size=60)


def agreement(first: Float32, second: Float32) -> RankAgreement:
    pairs = np.empty(first.size, np.uint64)
    pack(first, second, pairs)
    return rank_agreement(pairs)


def weights(values: Float32, size: int) -> list[Fraction]:
    """How much of each value belongs to the `size` largest."""
    limit = np.sort(values)[-size]
    above, ties = int((values > limit).sum()), int((values == limit).sum())
    return [Fraction(int(v > limit)) + (v == limit) * Fraction(size - above, ties) for v in values]


def overlap(first: Float32, second: Float32, percent: int) -> float:
    size = math.ceil(Fraction(first.size * percent, 100))
    return float(sum(map(min, weights(first, size), weights(second, size))) / size)


@settings(deadline=None)
@given(PAIRS, st.sampled_from([1, 3, 1 << 17]))
def test_ranks_are_those_of_scipy(pairs: list[tuple[float, float]], block: int) -> None:
    first, second = np.array(pairs, np.float32).T.copy()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranks, "BLOCK", block)
        found = agreement(first, second)
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        assert found.spearman is None
    else:
        assert found.spearman == pytest.approx(stats.spearmanr(first, second).statistic, abs=1e-9)
    assert found.overlaps == tuple(overlap(first, second, percent) for percent in ranks.PERCENTS)


def test_large_files_with_many_ties() -> None:
    random = np.random.default_rng(0)
    first = np.round(random.exponential(2, 400_000), 1).astype(np.float32)
    second = np.maximum(first + np.round(random.normal(0, 1, first.size)), 0).astype(np.float32)
    found = agreement(first, second)
    assert found.spearman == pytest.approx(stats.spearmanr(first, second).statistic, abs=1e-9)
    sets = [set(np.flatnonzero(values > np.sort(values)[-40_000])) for values in (first, second)]
    assert found.overlaps[2] == pytest.approx(len(sets[0] & sets[1]) / 40_000, abs=0.1)


@pytest.mark.parametrize("values", [[3.0, 1.0, 2.0], [0.0, 0.0, 0.0, 1.0], [5.0] * 300])
def test_the_same_values_agree_exactly(values: list[float]) -> None:
    vector = np.array(values, np.float32)
    found = agreement(vector, vector.copy())
    assert found.spearman == (None if len(set(values)) == 1 else 1.0)
    assert found.overlaps == (1.0, 1.0, 1.0)


def test_the_reverse_order_disagrees() -> None:
    vector = np.arange(200, dtype=np.float32)
    assert agreement(vector, vector[::-1].copy()) == RankAgreement(-1.0, (0.0, 0.0, 0.0))


def test_what_does_not_tell_values_apart_overlaps_by_chance_alone() -> None:
    vector = np.arange(200, dtype=np.float32)
    assert agreement(vector, np.ones(200, np.float32)) == RankAgreement(None, (0.01, 0.05, 0.1))


def test_nothing_is_no_agreement() -> None:
    nothing = np.zeros(0, np.float32)
    assert agreement(nothing, nothing) == RankAgreement(None, (None, None, None))


def test_more_pairs_than_can_be_ranked_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "MOST", 2)
    with pytest.raises(ValueError, match="3 pairs"):
        rank_agreement(np.zeros(3, np.uint64))
