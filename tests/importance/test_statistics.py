"""Statistics, layers and histograms against their plain definitions."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import stored
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mascli.files.tensor_file import read_header
from mascli.importance import statistics as module
from mascli.importance.layer_names import layer_of, natural_order
from mascli.importance.statistics import (
    Histogram,
    OmegaSummary,
    file_histogram,
    file_summary,
    layer_summaries,
    log_histogram,
    statistics,
    swept_statistics,
)

NAN, INF = math.nan, math.inf
importances = st.lists(
    arrays.arrays(
        np.float32,
        arrays.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=8),
        elements=st.floats(0, 1e6, width=32) | st.just(0.0),
    ),
    max_size=4,
)
anything = st.lists(arrays.arrays(np.float32, st.integers(0, 8), elements=st.floats(width=32)), max_size=3)


def joined(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([part.ravel() for part in parts] or [np.zeros(0, np.float32)]).astype(np.float64)


@settings(deadline=None)
@given(parts=importances)
def test_statistics_are_those_of_all_values(parts: list[np.ndarray]) -> None:
    values = joined(parts)
    found = statistics(parts)
    if not values.size:
        assert all(map(math.isnan, (found.mean, found.median, found.maximum, found.zeros)))
        return
    assert found.median == np.median(values)
    assert found.maximum == values.max()
    assert found.zeros == np.mean(values == 0)
    assert found.mean == pytest.approx(math.fsum(values) / values.size, rel=1e-12)


close = st.integers(0, 40).map(lambda ulps: float(np.array(0x3F80FFF0 + ulps, np.uint32).view(np.float32)))
tight = st.lists(arrays.arrays(np.float32, st.integers(0, 8), elements=close | st.just(0.0)), max_size=3)


@settings(deadline=None)
@given(parts=importances | tight)
def test_statistics_in_sweeps_are_the_same(parts: list[np.ndarray]) -> None:
    sweeps: list[int] = []

    def sweep() -> list[np.ndarray]:
        sweeps.append(1)
        return parts

    found, expected = swept_statistics(sweep), statistics(parts)
    assert len(sweeps) <= 2
    assert found.mean == pytest.approx(expected.mean, rel=1e-12, nan_ok=True)
    for name in ("median", "maximum", "zeros"):
        assert repr(getattr(found, name)) == repr(getattr(expected, name)), name


def test_the_largest_and_smallest_float32_have_a_median() -> None:
    limits = np.finfo(np.float32)
    for values in ([limits.max] * 2, [limits.smallest_subnormal] * 3, [-0.0, -0.0, limits.max], [0.0, limits.max]):
        part = np.array(values, np.float32)
        assert swept_statistics(lambda part=part: [part]).median == np.median(part.astype(np.float64))


def test_statistics_leave_the_arrays_alone() -> None:
    part = np.array([3.0, 1.0, 2.0], np.float32)
    part.flags.writeable = False
    statistics([part])
    log_histogram([part], 4)
    assert part.tolist() == [3.0, 1.0, 2.0]


def test_a_nan_is_not_hidden() -> None:
    found = statistics([np.array([0.0, NAN, 2.0])])
    assert math.isnan(found.mean)
    assert math.isnan(found.median)
    assert math.isnan(found.maximum)
    assert found.zeros == pytest.approx(1 / 3)
    assert statistics([np.array([1.0, INF])]).maximum == INF


def test_layers_are_summed_up(tmp_path: Path) -> None:
    values = {
        "features.10.weight": [[4.0, 0.0]],
        "features.2.weight": [[1.0, 2.0, 0.0]],
        "features.2.bias": [3.0],
        "class_token": np.zeros((0,)),
        "zero.weight": [0.0, 0.0],
    }
    layers = layer_summaries(read_header(stored.write(tmp_path / "x", values)))
    assert [layer.name for layer in layers] == ["class_token", "features.2", "features.10", "zero"]
    empty, two, ten, zero = layers
    assert (empty.parameters, empty.share, empty.not_finite) == (0, 0.0, 0)
    assert math.isnan(empty.mean)
    assert (two.parameters, two.share, two.mean, two.median, two.p99, two.maximum, two.zeros) == (
        4,
        0.6,
        1.5,
        1.5,
        3.0,
        3.0,
        0.25,
    )
    assert (ten.parameters, ten.share, ten.zeros) == (2, 0.4, 0.5)
    assert (zero.share, zero.maximum, zero.zeros) == (0.0, 0.0, 1.0)


def test_p99_is_a_value_that_99_percent_do_not_exceed(tmp_path: Path) -> None:
    for count, expected in ((1, 1), (99, 99), (100, 99), (101, 100), (200, 198), (1000, 990)):
        (layer,) = layer_summaries(read_header(stored.write(tmp_path / "x", {"a.w": np.arange(1, count + 1)})))
        assert layer.p99 == expected


def test_a_layer_that_is_not_finite_shows(tmp_path: Path) -> None:
    values = {"good.w": [1.0, 1.0], "bad.w": [NAN, 1.0, INF], "zero.w": [0.0]}
    bad, good, zero = layer_summaries(read_header(stored.write(tmp_path / "x", values)))
    assert (bad.not_finite, good.not_finite, zero.not_finite) == (2, 0, 0)
    assert math.isnan(bad.mean)
    assert (bad.share, good.share) == (pytest.approx(1 / 3), pytest.approx(2 / 3))


def test_an_omega_of_zeros_has_no_shares(tmp_path: Path) -> None:
    (layer,) = layer_summaries(read_header(stored.write(tmp_path / "x", {"a.w": [0.0]})))
    assert layer.share == 0.0


@settings(deadline=None)
@given(parts=anything, bins=st.integers(1, 30))
def test_every_value_is_counted_once(parts: list[np.ndarray], bins: int) -> None:
    found = log_histogram(parts, bins)
    values = joined(parts)
    assert found.zeros == np.sum(values == 0)
    assert found.negative == np.sum(np.isfinite(values) & (values < 0))
    assert found.not_finite == np.sum(~np.isfinite(values))
    assert found.zeros + found.negative + found.not_finite + sum(found.counts) == values.size
    positive = values[np.isfinite(values) & (values > 0)]
    if not positive.size:
        assert (found.edges, found.counts) == ((), ())
        return
    assert 1 <= len(found.counts) <= bins
    assert (found.edges[0], found.edges[-1]) == (positive.min(), positive.max())
    assert len(found.edges) == len(found.counts) + 1
    for low, high, count in zip(found.edges[:-1], found.edges[1:], found.counts, strict=True):
        last = high == found.edges[-1]
        assert count == np.sum((positive >= low) & ((positive <= high) if last else (positive < high)))


def test_edges_grow_by_a_constant_factor() -> None:
    found = log_histogram([np.float32([0.001, 0.002, 0.05, 0.5, 1.0]), np.float32(0.0)], 3)
    assert found.edges == pytest.approx((0.001, 0.01, 0.1, 1.0))
    assert (found.counts, found.zeros) == ((2, 1, 2), 1)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], Histogram(0, 0, 0, (), ())),
        ([0.0, -0.0], Histogram(2, 0, 0, (), ())),
        ([NAN, INF, -INF, -1.0], Histogram(0, 3, 1, (), ())),
        ([2.0, 2.0, 0.0], Histogram(1, 0, 0, (2.0, 2.0), (2,))),
        ([1.0, np.nextafter(np.float32(1), np.float32(2))], Histogram(0, 0, 0, (1.0, 1 + 2.0**-23), (2,))),
    ],
)
def test_the_special_cases_of_a_histogram(values: list[float], expected: Histogram) -> None:
    assert log_histogram([np.array(values, np.float32)], 10) == expected


def test_the_histogram_of_a_file(tmp_path: Path) -> None:
    path = stored.write(tmp_path / "x", {"a.w": [1.0, 10.0], "b.w": [0.0]})
    assert file_histogram(read_header(path)) == log_histogram([np.float32([1.0, 10.0, 0.0])], 24)


def without_sums(summary: OmegaSummary) -> OmegaSummary:
    """The summary without what depends on the order of additions."""
    layers = tuple(replace(layer, mean=0.0, share=0.0) for layer in summary.layers)
    return replace(summary, overall=replace(summary.overall, mean=0.0, share=0.0), layers=layers, total=0.0)


@settings(max_examples=40, deadline=None)
@given(tensors=st.lists(arrays.arrays(np.float32, st.integers(0, 40), elements=st.floats(width=32)), max_size=4))
def test_layers_that_are_sorted_and_layers_that_are_counted_are_the_same(
    tmp_path_factory: pytest.TempPathFactory, tensors: list[np.ndarray]
) -> None:
    values = {f"layer{number % 2}.{number}": tensor for number, tensor in enumerate(tensors)}
    header = read_header(stored.write(tmp_path_factory.mktemp("omega") / "x", values))
    with pytest.MonkeyPatch.context() as patch:
        counted = file_summary(header, 7)
        patch.setattr(module, "SORTED", -1)
        other = file_summary(header, 7)
    assert repr(without_sums(other)) == repr(without_sums(counted))
    sums = [
        [summary.total, *(part for one in summary.layers for part in (one.mean, one.share))]
        for summary in (other, counted)
    ]
    assert sums[0] == pytest.approx(sums[1], rel=1e-9, abs=1e-6 * max(map(abs, sums[1])), nan_ok=True)
    whole = joined(list(values.values())).astype(np.float32)
    alone = repr(log_histogram([whole], 7))
    assert repr(counted.histogram) == alone
    for layer in counted.layers:
        part = joined([tensor for name, tensor in values.items() if layer_of(name) == layer.name])
        histogram = counted.histograms[layer.name]
        assert histogram.edges == counted.histogram.edges
        for low, high, count in zip(histogram.edges, histogram.edges[1:], histogram.counts, strict=False):
            last = high == histogram.edges[-1]
            assert count == np.sum((part >= low) & ((part <= high) if last else (part < high)) & np.isfinite(part))
        if part.size and not np.isnan(part).any():
            with np.errstate(invalid="ignore"):
                quantiles = np.quantile(part, [0.1, 0.9, 0.99], method="inverted_cdf")
            assert [layer.p10, layer.p90, layer.p99] == quantiles.tolist()
            assert (layer.minimum, layer.maximum) == (part.min(), part.max())
        assert layer.negative == np.sum(np.isfinite(part) & (part < 0))


def test_a_hand_made_omega_has_exactly_these_numbers(tmp_path: Path) -> None:
    values = {"a.weight": [[0.0, 1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0, 9.0]], "b.bias": [-1.0, 11.0]}
    found = file_summary(read_header(stored.write(tmp_path / "x", values)), 2)
    a, b = found.layers
    assert (a.mean, a.median, a.p10, a.p90, a.p99, a.minimum, a.maximum) == (4.5, 4.5, 0.0, 8.0, 9.0, 0.0, 9.0)
    assert (a.share, b.share, a.zeros, b.negative, found.total) == (45 / 55, 10 / 55, 0.1, 1, 55.0)
    assert (b.mean, b.median, b.minimum) == (5.0, 5.0, -1.0)
    assert (found.overall.parameters, found.overall.share, found.overall.median) == (12, 1.0, 4.5)
    assert (found.histogram.zeros, found.histogram.negative, found.histogram.counts) == (1, 1, (3, 7))
    assert found.histogram.edges == (1.0, pytest.approx(math.sqrt(11)), 11.0)
    assert (found.histograms["a"].counts, found.histograms["b"].counts) == ((3, 6), (0, 1))


def test_names() -> None:
    assert natural_order(["f.10", "f.2", "a", "f", "2", "10", "f.2b"]) == ["2", "10", "a", "f", "f.2", "f.2b", "f.10"]
    assert natural_order(["1" * 5000, "²", "1"])
    assert (layer_of("a.b.weight"), layer_of("class_token"), layer_of(".w")) == ("a.b", "class_token", ".w")
