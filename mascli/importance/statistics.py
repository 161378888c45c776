"""What the values of an omega are like: statistics and histograms, of all values and layer by layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mascli.files.blocks import float_blocks
from mascli.files.header import Header
from mascli.importance.layer_names import by_layer
from mascli.importance.tally import Counts, Float32, Sweep, Tally, found, found_in, positive_range
from mascli.records import Statistics

Array = NDArray[Any]

SORTED = 1 << 16  # values that are sorted rather than counted
_NO_EDGES = np.zeros(0, np.float32)
# p such that at least p % of the values do not exceed the quantile
_PERCENTS = (10, 90, 99)


@dataclass(frozen=True)
class LayerSummary:
    """Importance of one layer, which is every parameter of one module.

    `share` is its part of the sum of all finite values, `zeros` the share of exact zeros (0 to 1).
    `p10`, `p90` and `p99` are the smallest values that at least 10, 90 and 99 % of the values do not
    exceed. `not_finite` counts values that are NaN or infinite, `negative` finite ones below zero.
    With a NaN, the layer's mean, quantiles, minimum and maximum are NaN.
    """

    name: str
    parameters: int
    share: float
    mean: float
    median: float
    p99: float
    maximum: float
    zeros: float
    not_finite: int
    p10: float = math.nan
    p90: float = math.nan
    minimum: float = math.nan
    negative: int = 0


@dataclass(frozen=True)
class Histogram:
    """Counts of positive values between edges that grow by a constant factor, up to rounding.

    `counts[i]` values lie in [edges[i], edges[i+1]), in the last bin the upper edge too. Values that
    no logarithm has are counted apart, so that all counts together are the number of values.
    """

    zeros: int
    not_finite: int
    negative: int
    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class OmegaSummary:
    """All values of an omega (`overall`, `histogram`), and those of each layer, in bins with the same edges.

    `total` is the sum of all finite values.
    """

    overall: LayerSummary
    histogram: Histogram
    layers: tuple[LayerSummary, ...]
    histograms: dict[str, Histogram]
    total: float

    @property
    def statistics(self) -> Statistics:
        """Mean, median, maximum and share of zeros of all values."""
        return Statistics(self.overall.mean, self.overall.median, self.overall.maximum, self.overall.zeros)


def statistics(arrays: Iterable[Array]) -> Statistics:
    """Mean, exact median, maximum and share of zeros over all values of `arrays`; NaN where there are none."""
    parts = [np.ravel(array).astype(np.float32, copy=False) for array in arrays]
    return swept_statistics(lambda: parts)


def swept_statistics(sweep: Callable[[], Iterable[Float32]]) -> Statistics:
    """The same of values that are too many to hold: `sweep` gives them all, block by block, twice at most."""
    tally = Tally(np.ravel(values) for values in sweep())
    ranked, _ = _looked_up(tally, lambda: map(np.ravel, sweep()), _NO_EDGES)
    return Statistics(tally.mean, ranked.median, _highest(tally), _share(tally.zeros, tally.count))


def file_summary(header: Header, bins: int = 24) -> OmegaSummary:
    """Statistics and histograms of an omega file, layer by layer in the order of their names, numbers by value.

    A layer is a parameter's name up to the last dot. Memory is that of a few blocks.

    Raises:
        CheckpointError: a dtype that float32 cannot hold, or a file that has changed.
    """

    def everything() -> Iterator[Float32]:
        return _values(header, header.tensors)

    edges = _edges(*positive_range(everything()), bins)
    whole, layers, masses, histograms = Tally(), [], [], {}
    for layer, names in by_layer(header.tensors).items():
        tally, quantiles, counts = _layer(header, names, edges)
        whole.join(tally)
        layers.append(_summary(layer, tally, quantiles))
        masses.append(tally.total)
        histograms[layer] = _histogram(tally, edges, counts)
    total, together = whole.total, zip(*(histogram.counts for histogram in histograms.values()), strict=True)
    overall = _summary("", whole, _looked_up(whole, everything, _NO_EDGES)[0])
    return OmegaSummary(
        overall=replace(overall, share=1.0 if total else 0.0),
        histogram=_histogram(whole, edges, tuple(map(sum, together))),
        layers=tuple(
            replace(layer, share=mass / total if total else 0.0) for layer, mass in zip(layers, masses, strict=True)
        ),
        histograms=histograms,
        total=total,
    )


def layer_summaries(header: Header) -> tuple[LayerSummary, ...]:
    """The layers of an omega file, as `file_summary` finds them."""
    return file_summary(header, 1).layers


def log_histogram(arrays: Iterable[Array], bins: int) -> Histogram:
    """Exact counts of the values of `arrays`, the positive ones in `bins` bins on a logarithmic scale.

    Where all positive values are the same, they are one bin; where there are none, there is no bin.
    """
    parts = [np.ravel(array).astype(np.float32, copy=False) for array in arrays]
    edges, tally = _edges(*positive_range(parts), bins), Tally(parts)
    return _histogram(tally, edges, _counts(tally, found(tally, lambda: parts, (), edges)[1]))


def file_histogram(header: Header, bins: int = 24) -> Histogram:
    """The histogram of all values of an omega file."""
    return file_summary(header, bins).histogram


class _Quantiles(NamedTuple):
    """The values of some ranks; all NaN where there is no value or one is NaN."""

    median: float = math.nan
    p10: float = math.nan
    p90: float = math.nan
    p99: float = math.nan


def _values(header: Header, names: Iterable[str]) -> Iterator[Float32]:
    return (block for name in names for block in float_blocks(header, name))


def _layer(header: Header, names: Sequence[str], edges: Float32) -> tuple[Tally, _Quantiles, tuple[int, ...]]:
    """The tally of a layer, its quantiles, and its counts between `edges`."""
    if sum(header.tensors[name].count for name in names) > SORTED:
        tally = Tally(_values(header, names))
        quantiles, below = _looked_up(tally, lambda: _values(header, names), edges)
        return tally, quantiles, _counts(tally, below)
    values = np.concatenate([np.zeros(0, np.float32), *_values(header, names)])
    tally = Tally([values])
    ranked, below = found_in(values, _ranks(tally), edges)
    return tally, _quantiles(ranked), _counts(tally, below)


def _looked_up(tally: Tally, sweep: Sweep, edges: Float32) -> tuple[_Quantiles, Counts]:
    ranked, below = found(tally, sweep, _ranks(tally), edges)
    return _quantiles(ranked), below


def _ranks(tally: Tally) -> list[int]:
    """The ranks that the quantiles need: two for the median, then one for each percentage."""
    count = tally.count
    if tally.nans or not count:
        return []
    return [(count - 1) // 2, count // 2, *(-(-count * percent // 100) - 1 for percent in _PERCENTS)]


def _quantiles(ranked: Sequence[float]) -> _Quantiles:
    return _Quantiles(ranked[0] / 2 + ranked[1] / 2, *ranked[2:]) if ranked else _Quantiles()


def _summary(layer: str, tally: Tally, quantiles: _Quantiles) -> LayerSummary:
    """The summary of a layer, its share still open."""
    return LayerSummary(
        name=layer,
        parameters=tally.count,
        share=0.0,
        mean=tally.mean,
        maximum=_highest(tally),
        minimum=tally.lowest + 0.0 if tally.count else math.nan,
        zeros=_share(tally.zeros, tally.count),
        not_finite=tally.nans + tally.infinite,
        negative=tally.negative,
        **quantiles._asdict(),
    )


def _highest(tally: Tally) -> float:
    return tally.highest + 0.0 if tally.count else math.nan


def _share(part: int, count: int) -> float:
    return part / count if count else math.nan


def _counts(tally: Tally, below: Counts) -> tuple[int, ...]:
    """Positive values between edges, of how many lie below each edge; the last bin has its upper edge too."""
    if not below.size:
        return ()
    inner = below[:-1] - below[0]
    return (*np.diff(inner).tolist(), tally.positive - int(inner[-1]))


def _histogram(tally: Tally, edges: Float32, counts: tuple[int, ...]) -> Histogram:
    return Histogram(tally.zeros, tally.nans + tally.infinite, tally.negative, tuple(edges.tolist()), counts)


def _edges(low: float, high: float, bins: int) -> Float32:
    """`bins` + 1 edges from `low` to `high` in float32, as the values are, fewer where these are too close.

    None where `low` is above `high`: there are no positive values.
    """
    if low >= high:
        return np.array([low, high] if low == high else [], np.float32)
    edges = np.geomspace(low, high, bins + 1).astype(np.float32)
    edges[0], edges[-1] = low, high
    return np.unique(edges)
