"""How many pairs of values lie where: counts on a grid of logarithmic scales, zeros apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mascli.importance.rank_agreement import bits

COLUMNS, ROWS = 60, 24
SPAN = 1e-12  # of the largest value: what is smaller falls into the lowest bin

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Density:
    """Counts of pairs (x, y) of values that are not negative.

    `counts[row][column]`: row 0 has the pairs with y = 0, column 0 those with x = 0. Row j and column i
    have second_edges[j-1] <= y < second_edges[j] and first_edges[i-1] <= x < first_edges[i]; the lowest
    bin has all smaller positive values too. Edges grow by a constant factor, up to rounding to 8 bits of
    precision; there are none where no value is positive.
    """

    first_edges: tuple[float, ...]
    second_edges: tuple[float, ...]
    counts: tuple[tuple[int, ...], ...]


class DensityGrid:
    """Counts the pairs that are added, on a grid from the smallest positive to the largest value of each side."""

    def __init__(self, first: tuple[float, float], second: tuple[float, float]) -> None:
        self._first, self._second = _edges(*first, COLUMNS), _edges(*second, ROWS)
        self._columns, self._rows = _places(self._first), _places(self._second)
        self._shape = (max(self._second.size, 1), max(self._first.size, 1))
        self._counts = np.zeros(self._shape, np.int64)

    def add(self, first: Float32, second: Float32) -> None:
        """Count one block of pairs of finite values that are not negative."""
        place = _place(self._rows, bits(second)) * self._shape[1] + _place(self._columns, bits(first))
        self._counts += np.bincount(place, minlength=self._counts.size).reshape(self._shape)

    def density(self) -> Density:
        """The counts so far."""
        return Density(_values(self._first), _values(self._second), tuple(map(tuple, self._counts.tolist())))


def _edges(positive: float, high: float, bins: int) -> NDArray[np.uint32]:
    """The upper 16 bits of the edges: where values with these bits begin, so that a table finds each value's bin."""
    if high <= 0:
        return np.zeros(0, np.uint32)
    low = max(positive, high * SPAN, 1e-44)
    inner = np.geomspace(low, max(high, low), bins + 1).astype(np.float32).view(np.uint32) >> 16
    first = max(int(inner[0]), 1)
    last = max(int(inner[-1]), first) + 1
    return np.unique([first, *(edge for edge in inner[1:-1].tolist() if first < edge < last), last]).astype(np.uint32)


def _places(edges: NDArray[np.uint32]) -> NDArray[np.intp]:
    """The bin, from 1 on, of each value's upper 16 bits."""
    return np.maximum(np.searchsorted(edges, np.arange(1 << 15), side="right"), 1)


def _place(places: NDArray[np.intp], values: NDArray[np.uint32]) -> NDArray[np.intp]:
    found: NDArray[np.intp] = places[values >> 16]
    found *= values != 0
    return found


def _values(edges: NDArray[np.uint32]) -> tuple[float, ...]:
    return tuple((edges << 16).view(np.float32).tolist())
