"""Importance of each filter: one output of a layer, over all parameters that compute it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mascli.errors import UsageError, listed, printable
from mascli.files.blocks import BLOCK, Float32, float_blocks
from mascli.files.header import Header, TensorInfo
from mascli.importance.layer_names import by_layer, nearest

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class LayerMap:
    """The filters of one layer: `importance[i]` is the sum over all of `tensor` that has first index i.

    It is None where one of the filter's values is not finite.
    """

    layer: str
    tensor: str
    shape: tuple[int, ...]
    importance: tuple[float | None, ...]


def has_filters(info: TensorInfo) -> bool:
    """Whether a tensor is a weight: two or more dimensions, of which the first counts the outputs."""
    return len(info.shape) >= 2 and info.count > 0


def filter_sums(header: Header, name: str) -> Iterator[tuple[int, Float64]]:
    """The importance of each filter of a weight, some at a time: the index of the first one, and their sums.

    sum_i = Σ Ω[i, ...] in float64; NaN where one of the values is not finite.
    """
    info = header.tensors[name]
    rows, length = info.shape[0], info.count // info.shape[0]
    if length > BLOCK:
        for row in range(rows):
            parts = float_blocks(header, name, start=row * length, stop=(row + 1) * length)
            yield row, np.array([math.fsum(map(_whole_sum, parts))])
        return
    start = 0
    for values in float_blocks(header, name, BLOCK // length * length):
        sums = _only_finite(values).reshape(-1, length).sum(axis=1, dtype=np.float64)
        sums[~np.isfinite(values).reshape(-1, length).all(axis=1)] = math.nan
        yield start, sums
        start += sums.size


def finite_sum(values: Float32) -> float:
    """The sum of the finite values, in float64."""
    return float(_only_finite(values).sum(dtype=np.float64))


def map_tensor(header: Header, layer: str) -> str:
    """The weight of a layer whose filters can be drawn; `layer` may also name the weight itself.

    Raises:
        UsageError: no such layer, or one without filters, with the layers that have some.
    """
    layers = by_layer(header.tensors)
    names = layers.get(layer, [layer] if layer in header.tensors else [])
    weights = [name for name in names if has_filters(header.tensors[name])]
    if weights:  # of several, the one that is called weight, else the largest
        return max(weights, key=lambda name: (name == f"{layer}.weight", header.tensors[name].count))
    with_filters = [one for one, names in layers.items() if any(has_filters(header.tensors[name]) for name in names)]
    if names:
        known = listed(with_filters) or "none"
        raise UsageError(
            f"--map {printable(layer)}: it has no weight of two or more dimensions, so no filters; layers with some: "
            f"{known}"
        )
    raise UsageError(f"--map {printable(layer)}: there is no such layer; {nearest(layer, with_filters)}")


def layer_map(header: Header, layer: str) -> LayerMap:
    """The importance of each filter of a layer.

    Raises:
        UsageError: as `map_tensor`.
    """
    tensor = map_tensor(header, layer)
    sums = (value for _, part in filter_sums(header, tensor) for value in part.tolist())
    importance = tuple(value if math.isfinite(value) else None for value in sums)
    return LayerMap(layer, tensor, header.tensors[tensor].shape, importance)


def _whole_sum(values: Float32) -> float:
    """The sum of values in float64, NaN where one is not finite."""
    return float(values.sum(dtype=np.float64)) if np.isfinite(values).all() else math.nan


def _only_finite(values: Float32) -> Float32:
    finite = np.isfinite(values)
    return values if finite.all() else np.where(finite, values, np.float32(0))
