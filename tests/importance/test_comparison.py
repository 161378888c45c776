"""Two omegas compared: numbers that can be checked by hand, scipy, and values that no importance has."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stored
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

from mascli.files.tensor_file import read_header
from mascli.importance import comparison
from mascli.importance.comparison import LeftOut, OmegaComparison, compare_omegas
from mascli.importance.pair_sums import PairSums, pair_sums

VALUES = st.sampled_from([0.0, 1.0, 2.5]) | st.floats(2.0**-20, 2.0**20, width=32)
NAN, INF = math.nan, math.inf


def compared(folder: Path, first: Mapping[str, Any], second: Mapping[str, Any]) -> OmegaComparison:
    files = stored.write(folder / "a", first), stored.write(folder / "b", second)
    headers = [read_header(path) for path in files]
    return compare_omegas(headers[0], headers[1], list(first))


def test_numbers_made_by_hand(tmp_path: Path) -> None:
    first = {"a.w": [[1.0, 0.0], [3.0, 4.0]], "b.w": [2.0]}
    found = compared(tmp_path, first, {"a.w": [[2.0, 0.0], [3.0, 5.0]], "b.w": [0.0]})
    overall, a, b = found.overall, *found.layers
    assert [layer.name for layer in found.layers] == ["a", "b"]
    assert (a.parameters, a.compared, b.parameters, b.compared) == (4, 4, 1, 1)
    assert (a.first_share, a.second_share, b.first_share, b.second_share) == (0.8, 1.0, 0.2, 0.0)
    assert (a.relative_l1, a.scale, b.relative_l1, b.scale) == (0.25, 1.25, 1.0, 0.0)
    assert (a.spearman, b.spearman, b.pearson, b.top_1) == (1.0, None, None, 1.0)
    assert a.pearson == pytest.approx(11 / math.sqrt(10 * 13), abs=1e-15)
    assert (overall.parameters, overall.relative_l1, overall.scale) == (5, 0.4, 1.0)
    assert found.elsewhere == pytest.approx(0.2, abs=1e-15)
    assert (a.change, b.change) == (pytest.approx(0.5), pytest.approx(0.5))
    assert (overall.top_1, overall.top_5, overall.top_10) == (1.0, 1.0, 1.0)


def test_the_same_file_twice_has_no_difference(tmp_path: Path) -> None:
    values = np.random.default_rng(0).exponential(1e-3, (2, 300_000)) * [[1], [1e-9]]
    path = stored.write(tmp_path / "a", {"x.w": values[0], "y.w": values[1], "y.b": np.zeros(3)})
    found = compare_omegas(read_header(path), read_header(path), ["x.w", "y.w", "y.b"])
    for layer in (found.overall, *found.layers):
        assert (layer.pearson, layer.spearman, layer.scale) == (1.0, 1.0, 1.0)
        assert (layer.top_1, layer.top_5, layer.top_10) == (1.0, 1.0, 1.0)
        assert (layer.relative_l1, layer.change) == (0.0, 0.0)
        assert layer.first_share == layer.second_share
    assert found.elsewhere == 0.0


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(VALUES, VALUES), min_size=2, max_size=50), st.integers(1, 49), st.sampled_from([2, 1 << 17]))
def test_correlations_are_those_of_scipy(
    tmp_path: Path, pairs: list[tuple[float, float]], cut: int, block: int
) -> None:
    first, second = np.array(pairs, np.float32).T.copy()
    parts = [{"a.w": side[:cut], "b.w": side[cut:]} for side in (first, second)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison, "BLOCK", block)
        found = compared(tmp_path, *parts)
    everything = [(found.overall, first, second)]
    everything += [(layer, *(part[f"{layer.name}.w"] for part in parts)) for layer in found.layers]
    for layer, one, other in everything:
        if one.size == 0 or np.ptp(one) == 0 or np.ptp(other) == 0:
            assert (layer.pearson, layer.spearman) == (None, None)
        else:
            wide = one.astype(np.float64), other.astype(np.float64)
            assert layer.pearson == pytest.approx(stats.pearsonr(*wide).statistic, abs=1e-9)
            assert layer.spearman == pytest.approx(stats.spearmanr(*wide).statistic, abs=1e-9)


def test_what_is_no_importance_is_counted_and_left_out(tmp_path: Path) -> None:
    first = {"a.w": [1.0, 2.0, 3.0, NAN, 5.0, -1.0, 7.0], "b.w": [INF]}
    second = {"a.w": [2.0, 4.0, 6.0, 8.0, -INF, -1.0, -7.0], "b.w": [1.0]}
    found = compared(tmp_path, first, second)
    assert (found.first_left_out, found.second_left_out) == (LeftOut(2, 1), LeftOut(1, 2))
    a, b = found.layers
    assert (a.parameters, a.compared, b.parameters, b.compared) == (7, 3, 1, 0)
    assert (a.pearson, a.spearman, a.scale) == (1.0, 1.0, 2.0)
    assert astuple(b)[5:10] == (None,) * 5
    assert (b.relative_l1, b.scale, b.first_share) == (None, None, 0.0)
    assert sum(map(sum, found.scatter.counts)) == found.overall.compared == 3


def test_layers_of_one_value_and_of_none(tmp_path: Path) -> None:
    values = {"constant.w": [2.0, 2.0], "empty.w": [], "zero.w": [0.0], "z.w": [1.0, 3.0]}
    constant, empty, z, zero = compared(tmp_path, values, values).layers
    assert (constant.pearson, constant.spearman, constant.top_10) == (None, None, 1.0)
    assert (empty.pearson, empty.spearman, empty.top_10, empty.compared) == (None, None, None, 0)
    assert (zero.pearson, zero.relative_l1, zero.scale) == (None, None, None)
    assert z.pearson == 1.0


def test_a_constant_that_is_no_sum_of_powers_of_two_is_still_constant(tmp_path: Path) -> None:
    constant, other = np.full(300_001, 0.1), np.arange(300_001)
    (layer,) = compared(tmp_path, {"a.w": constant}, {"a.w": other}).layers
    assert (layer.pearson, layer.spearman) == (None, None)


@pytest.mark.parametrize(("second", "elsewhere", "change"), [([0.0, 0.0], None, None), ([0.0, 1.0], None, None)])
def test_nothing_but_zeros(tmp_path: Path, second: list[float], elsewhere: float | None, change: float | None) -> None:
    found = compared(tmp_path, {"a.w": [0.0, 0.0]}, {"a.w": second})
    assert (found.elsewhere, found.overall.change, found.layers[0].change) == (elsewhere, change, change)
    assert (found.overall.scale, found.overall.relative_l1) == (None, None)


def test_another_order_is_noticed(tmp_path: Path) -> None:
    values = np.random.default_rng(0).exponential(1, 10_000)
    shuffled = np.random.default_rng(1).permutation(values)
    overall = compared(tmp_path, {"a.w": values}, {"a.w": shuffled}).overall
    assert overall.pearson is not None
    assert overall.spearman is not None
    assert abs(overall.pearson) < 0.05
    assert abs(overall.spearman) < 0.05
    assert overall.top_10 == pytest.approx(0.1, abs=0.03)
    assert overall.scale == pytest.approx(1.0, abs=1e-12)


def test_every_layer_is_told_of_in_each_sweep(tmp_path: Path) -> None:
    path = stored.write(tmp_path / "a", {"a.w": [1.0], "a.b": [1.0], "b.w": [1.0]})
    done: list[int] = []
    compare_omegas(read_header(path), read_header(path), ["a.w", "a.b", "b.w"], done.append)
    assert sum(done) == comparison.SWEEPS * 2


def test_only_the_tensors_asked_for_are_compared(tmp_path: Path) -> None:
    path = stored.write(tmp_path / "a", {"a.w": [1.0, 2.0], "b.w": [1.0]})
    found = compare_omegas(read_header(path), read_header(path), ["a.w"])
    assert (found.overall.parameters, [layer.name for layer in found.layers]) == (2, ["a"])


def test_sums_of_nothing_change_nothing() -> None:
    some = pair_sums(np.ones(2, np.float32), np.zeros(2, np.float32))
    nothing = pair_sums(np.zeros(0, np.float32), np.zeros(0, np.float32))
    assert some + PairSums() == PairSums() + some == some + nothing == some
    assert (nothing.pearson, nothing.relative_l1, nothing.scale) == (None, None, None)
