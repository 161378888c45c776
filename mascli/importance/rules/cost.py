"""Which exact way is the fastest for a convolution: a pure function, so that the same input gives the same bytes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Literal

from torch import Tensor

# products: a 1 x 1 kernel without padding is a linear layer on the positions of the map.
# together: all images as groups of one convolution.
# patches:  one matrix product an image.
# alone:    the library's weight gradient, image by image.
Way = Literal["products", "together", "patches", "alone"]

# Weights of up to so many numbers are faster together: for one image, starting the operation takes
# longer than the operation.
SMALL_WEIGHT = 1 << 16

# On maps of up to so many positions, patches stay in the cache; on larger ones the library's own
# kernels are as fast and write no patches.
SMALL_MAP = 256

# On maps of up to so many positions, a product has hardly anything to add up.
TINY_MAP = 4

# Beyond so many positions, the library is fast enough on a single image of few channels.
LARGE_MAP = 1024
FEW_CHANNELS = 8


@dataclass(frozen=True)
class Convolution:
    """What the choice depends on.

    Args:
        weight: shape of the weight.
        output: height and width (or as many dimensions as there are) of the output map.
        point: whether stride is 1 and there is no padding.
        rows: maps an image (1, but for windows).
        fused: whether products go to the fused kernel.
    """

    images: int
    weight: tuple[int, ...]
    output: tuple[int, ...]
    point: bool
    groups: int
    rows: int
    transposed: bool
    fused: bool = False


def possible_ways(layer: Convolution) -> tuple[Way, ...]:
    """Every exact way for a layer."""
    ways: list[Way] = ["alone"]
    if layer.rows == 1 and not layer.transposed:
        ways.append("together")
    if len(layer.output) == 2 and layer.groups == 1 and not layer.transposed:
        ways.append("patches")
    if prod(layer.weight[2:]) == 1 and layer.point and layer.groups == 1 and not layer.transposed:
        ways.append("products")
    return tuple(ways)


def cheapest_way(layer: Convolution) -> Way:
    """The fastest exact way for a layer, by what was measured (`benchmarks/ways.py`)."""
    ways, weight, positions = possible_ways(layer), prod(layer.weight), prod(layer.output)
    small = "together" in ways and weight <= SMALL_WEIGHT
    if layer.fused and ("products" in ways or "patches" in ways):
        return "products" if "products" in ways else "patches"
    if "products" in ways:
        return "together" if small and 1 < positions <= SMALL_MAP // 4 else "products"
    if layer.groups > 1 or "patches" not in ways:
        return "together" if small else "alone"
    if positions == 1 or (prod(layer.weight[2:]) == 1 and positions > SMALL_MAP // 4):
        return "patches"
    if positions <= TINY_MAP:
        return "together" if small else "alone"
    if positions <= SMALL_MAP:
        return "together" if small else "patches"
    few_channels = layer.weight[1] < FEW_CHANNELS
    if positions <= LARGE_MAP:
        return "together" if small and not few_channels else "alone"
    return "together" if weight <= SMALL_WEIGHT // 4 and not few_channels else "alone"


class _Tuning:
    """The ways that were measured so far; None outside of `autotuned`. Backward passes may run in other threads."""

    ways: dict[Convolution, Way] | None = None


@contextmanager
def autotuned() -> Iterator[None]:
    """Inside this context, measure every possible way of a layer when it is first seen, and keep the fastest."""
    _Tuning.ways = {}
    try:
        yield
    finally:
        _Tuning.ways = None


def by_fastest_way(layer: Convolution, compute: Callable[[Way], Tensor]) -> Tensor:
    """`compute` by the cheapest way, or by the one that was measured to be so."""
    known = _Tuning.ways
    if known is None:
        return compute(cheapest_way(layer))
    if layer in known:
        return compute(known[layer])
    timed = []
    for way in possible_ways(layer):
        started = time.perf_counter()
        result = compute(way)
        if result.is_cuda:
            result.sum().item()  # waits for the device
        timed.append((time.perf_counter() - started, way, result))
    _, known[layer], result = min(timed, key=lambda entry: entry[0])
    return result
