"""What the values of an omega are like: statistics, layer by layer, and a histogram of all."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mascli.files.tensor_file import Header, read_array
from mascli.records import Statistics

Array = NDArray[Any]
Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class LayerSummary:
    """Importance of one layer, which is every parameter of one module.

    `share` is its part of the sum of all finite values, `zeros` the share of exact zeros (0 to 1),
    `p99` the smallest value that at least 99 % of the values do not exceed. `not_finite` counts
    values that are NaN or infinite; with a NaN, the layer's mean, median, p99 and maximum are NaN.
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


def statistics(arrays: Iterable[Array]) -> Statistics:
    """Mean, exact median, maximum and share of zeros over all values of `arrays`; NaN where there are none."""
    values = _joined(arrays)
    mean, median, _, maximum, zeros = _described(values)
    return Statistics(mean, median, maximum, zeros)


def swept_statistics(sweep: Callable[[], Iterable[Float32]]) -> Statistics:
    """The same of values >= 0 and finite that are too many to hold: `sweep` gives them all, block by block, twice.

    The bits of such numbers have the order of the numbers. Counts by the upper 16 bits tell in which
    group the median lies, then counts by the lower 16 bits of that group which value it is.
    """
    upper = np.zeros(1 << 16, np.int64)
    sums, maximum, zeros = [], 0.0, 0
    for values in sweep():
        upper += np.bincount(_upper(values), minlength=upper.size)
        sums.append(float(values.sum(dtype=np.float64)))
        maximum = max(maximum, float(values.max(initial=0.0)))
        zeros += values.size - int(np.count_nonzero(values))
    count = int(upper.sum())
    if not count:
        return Statistics(*(math.nan,) * 4)
    ranks = ((count - 1) // 2, count // 2)
    ends = upper.cumsum()
    groups = [int(np.searchsorted(ends, rank, "right")) for rank in ranks]
    lower = {group: np.zeros(1 << 16, np.int64) for group in groups}
    for values in sweep():
        at, bits = _upper(values), np.ravel(values).view(np.uint32)
        for group, counts in lower.items():
            counts += np.bincount(bits[at == group] & 0xFFFF, minlength=counts.size)
    low, high = (
        _float(group, int(np.searchsorted(lower[group].cumsum(), rank - (ends[group] - upper[group]), "right")))
        for rank, group in zip(ranks, groups, strict=True)
    )
    return Statistics(math.fsum(sums) / count, low / 2 + high / 2, maximum, zeros / count)


def layer_summaries(header: Header) -> tuple[LayerSummary, ...]:
    """The layers of an omega file in the order of their names, numbers by value.

    A layer is a parameter's name up to the last dot; its tensors alone are in memory at a time.
    """
    layers: dict[str, list[str]] = {}
    for name in natural_order(header.tensors):
        layers.setdefault(layer_of(name), []).append(name)
    found = [_summary(layer, _joined(read_array(header, name) for name in names)) for layer, names in layers.items()]
    total = math.fsum(mass for _, mass in found)
    return tuple(replace(summary, share=mass / total if total else 0.0) for summary, mass in found)


def layer_of(parameter: str) -> str:
    """The module that owns a parameter; a parameter of the network itself is its own layer."""
    return parameter.rpartition(".")[0] or parameter


def log_histogram(arrays: Iterable[Array], bins: int) -> Histogram:
    """Exact counts of the values of `arrays`, the positive ones in `bins` bins on a logarithmic scale.

    Where all positive values are the same, they are one bin; where there are none, there is no bin.
    """
    parts = [np.ravel(array).astype(np.float32, copy=False) for array in arrays]
    finite = [part if np.isfinite(part).all() else part[np.isfinite(part)] for part in parts]
    ranges = [_positive_range(part) for part in finite]
    low, high = min((low for low, _ in ranges), default=math.inf), max((high for _, high in ranges), default=0.0)
    edges = _edges(low, high, bins) if low <= high else np.zeros(0, np.float32)
    below = [sum(int(np.count_nonzero(part < edge)) for part in finite) for edge in edges[:-1]]
    negative = sum(int(np.count_nonzero(part < 0)) for part in finite)
    zeros = sum(int(np.count_nonzero(part == 0)) for part in finite)
    count = sum(part.size for part in finite)
    return Histogram(
        zeros=zeros,
        not_finite=sum(part.size for part in parts) - count,
        negative=negative,
        edges=tuple(edges.tolist()),
        counts=tuple(above - at for at, above in zip(below, [*below[1:], count], strict=True)) if below else (),
    )


def file_histogram(header: Header, bins: int = 24) -> Histogram:
    """The histogram of all values of an omega file."""
    return log_histogram((read_array(header, name) for name in header.tensors), bins)


def natural_order(names: Iterable[str]) -> list[str]:
    """`names` sorted with their numbers by value: `features.2` before `features.10`."""
    return sorted(names, key=_natural)


def _natural(name: str) -> tuple[tuple[int, int, str], ...]:
    parts = re.split(r"([0-9]+)", name)
    return tuple((1, int(part[:4000]), part) if part.isascii() and part.isdigit() else (0, 0, part) for part in parts)


def _upper(values: Float32) -> Array:
    """The upper 16 bits of each value, without the sign that a zero may have."""
    return (np.ravel(values).view(np.uint32) >> 16) & 0x7FFF


def _float(upper: int, lower: int) -> float:
    """The float32 number of these bits."""
    return float(np.array(upper << 16 | lower, np.uint32).view(np.float32))


def _joined(arrays: Iterable[Array]) -> Float32:
    """One new vector of all values, that may be reordered."""
    parts = [np.ravel(array) for array in arrays]
    return np.concatenate(parts, dtype=np.float32) if parts else np.zeros(0, np.float32)


def _described(values: Float32) -> tuple[float, float, float, float, float]:
    """Mean, median, p99, maximum and share of zeros; reorders `values`."""
    count = values.size
    if not count:
        return (math.nan,) * 5
    zeros = int(np.count_nonzero(values == 0)) / count
    maximum = float(values.max())
    if math.isnan(maximum):
        return math.nan, math.nan, math.nan, math.nan, zeros
    mean = float(values.mean(dtype=np.float64))
    at = [(count - 1) // 2, count // 2, -(-count * 99 // 100) - 1]
    values.partition(at)
    low, high, p99 = (float(values[position]) for position in at)
    return mean, low / 2 + high / 2, p99, maximum, zeros


def _summary(layer: str, values: Float32) -> tuple[LayerSummary, float]:
    """The summary of a layer, its share still open, and the sum of its finite values."""
    finite = np.isfinite(values)
    mass = float(values.sum(dtype=np.float64, where=finite))
    not_finite = values.size - int(np.count_nonzero(finite))
    mean, median, p99, maximum, zeros = _described(values)
    return LayerSummary(layer, values.size, 0.0, mean, median, p99, maximum, zeros, not_finite), mass


def _positive_range(values: Float32) -> tuple[float, float]:
    """Smallest and largest positive value; infinity and zero where there are none."""
    smallest = values.min(initial=np.inf, where=values > 0)
    return float(smallest), max(float(values.max(initial=0.0)), 0.0)


def _edges(low: float, high: float, bins: int) -> Float32:
    """`bins` + 1 edges from `low` to `high` in float32, as the values are, fewer where these are too close."""
    if low == high:
        return np.array([low, high], np.float32)
    edges = np.geomspace(low, high, bins + 1).astype(np.float32)
    edges[0], edges[-1] = low, high
    return np.unique(edges)
