"""Exact quantiles and histograms of more values than memory holds, by counting the bits of float32 numbers.

The bits of positive numbers have the order of the numbers, those of negative ones the opposite one. One
sweep counts values by their upper 16 bits (sign, exponent, 7 bits of the fraction): 65,536 groups. A
second looks only at the few groups in which a wanted rank or an edge lies.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Counts = NDArray[np.int64]
Sweep = Callable[[], Iterable[Float32]]

GROUPS = 1 << 16
INFINITE = 0x7F800000  # the bits of infinity; those of NaN are larger
# The groups from the lowest numbers to the highest.
_ASCENDING = np.concatenate([np.arange(GROUPS - 1, GROUPS // 2 - 1, -1), np.arange(GROUPS // 2)])


class Tally:
    """What one sweep over the values tells: how many there are of each kind, their sum, and their groups.

    `infinite` counts both infinities, `negative` the finite values below zero, `total` is the sum of all
    finite values; `lowest` and `highest` are NaN if a value is.
    """

    def __init__(self, blocks: Iterable[Float32] = ()) -> None:
        self.groups: Counts = np.zeros(GROUPS, np.int64)
        self.count = self.zeros = self.negative = self.nans = self.infinite = 0
        self.lowest, self.highest = math.inf, -math.inf
        self._sums: list[float] = []
        for values in blocks:
            self.add(values)

    @property
    def total(self) -> float:
        """The sum of the finite values."""
        return math.fsum(self._sums)

    @property
    def mean(self) -> float:
        """Sum over count; NaN without values or with a NaN, infinite with an infinity."""
        if self.nans or not self.count:
            return math.nan
        return self.lowest + self.highest if self.infinite else self.total / self.count

    @property
    def positive(self) -> int:
        """The number of finite values above zero."""
        return self.count - self.zeros - self.negative - self.nans - self.infinite

    def add(self, values: Float32) -> None:
        """Count one block."""
        if not values.size:
            return
        self.groups += np.bincount(_bits(values) >> 16, minlength=GROUPS)
        self.count += values.size
        self.zeros += values.size - int(np.count_nonzero(values))
        low, high = float(values.min()), float(values.max())
        self.lowest, self.highest = _smaller(self.lowest, low), _larger(self.highest, high)
        if math.isfinite(low) and math.isfinite(high):
            self.negative += int(np.count_nonzero(values < 0)) if low < 0 else 0
            self._sums.append(float(values.sum(dtype=np.float64)))
            return
        finite = np.isfinite(values)
        nans = int(np.count_nonzero(np.isnan(values)))
        self.nans += nans
        self.infinite += values.size - nans - int(np.count_nonzero(finite))
        self.negative += int(np.count_nonzero(finite & (values < 0)))
        self._sums.append(float(values.sum(dtype=np.float64, where=finite)))

    def join(self, other: Tally) -> None:
        """Count also what `other` has counted."""
        self.groups += other.groups
        for name in ("count", "zeros", "negative", "nans", "infinite"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.lowest, self.highest = _smaller(self.lowest, other.lowest), _larger(self.highest, other.highest)
        self._sums.append(other.total)


def found(tally: Tally, sweep: Sweep, ranks: Sequence[int], edges: Float32) -> tuple[list[float], Counts]:
    """The values at `ranks` (0: the lowest; no value is NaN), and how many positive bits lie below each edge.

    `edges` are positive, finite and grow; zeros count as below all of them. `sweep` gives what `tally`
    has counted; it is asked for once.
    """
    places = [_place(tally.groups, rank) for rank in ranks]
    alone = {0, GROUPS // 2} if tally.zeros == tally.groups[0] + tally.groups[GROUPS // 2] else set()  # only zeros
    lower = {group: np.zeros(GROUPS, np.int64) for group, _ in places if group not in alone}
    marks = _bits(edges)
    looked_at = np.zeros(GROUPS, bool)
    looked_at[list(lower)] = True
    looked_at[marks >> 16] = True
    hits = np.zeros(marks.size + 1, np.int64)  # values by the number of edges that they reach
    for values in sweep() if looked_at.any() else ():
        bits = _bits(values)
        picked = bits[looked_at[bits >> 16]]
        at = picked >> 16
        for group, counts in lower.items():
            own = picked[at == group]
            if own.size:
                counts += np.bincount(own & 0xFFFF, minlength=GROUPS)
        if marks.size and picked.size:
            hits += np.bincount(np.searchsorted(marks, picked, "right"), minlength=hits.size)
    apart = np.concatenate([np.zeros(1, np.int64), np.where(looked_at, 0, tally.groups).cumsum()])
    below = apart[marks >> 16] + hits.cumsum()[:-1]
    return [0.0 if group in alone else _value(group, lower[group], rank) for group, rank in places], below


def found_in(values: Float32, ranks: Sequence[int], edges: Float32) -> tuple[list[float], Counts]:
    """The same of values that are in memory, by sorting them; below an edge also those below zero."""
    ordered = np.sort(values)
    return [float(ordered[rank]) + 0.0 for rank in ranks], np.searchsorted(ordered, edges).astype(np.int64)


def positive_range(blocks: Iterable[Float32]) -> tuple[float, float]:
    """Smallest and largest finite value above zero; infinity and zero where there are none."""
    low, high = INFINITE - 1, 0
    for values in blocks:
        if values.size:
            bits = _bits(values)
            largest = int(bits.view(np.int32).max())  # numbers below zero have the sign here, too
            if largest >= INFINITE:
                largest = int(bits.max(initial=0, where=bits < INFINITE))
            low, high = min(low, int((bits - np.uint32(1)).min())), max(high, largest)  # zero wraps to the top
    if not high or low >= INFINITE - 1:
        return math.inf, 0.0
    return _number(low + 1), _number(high)


def _bits(values: Float32) -> NDArray[np.uint32]:
    return np.ascontiguousarray(values, dtype=np.float32).reshape(-1).view(np.uint32)


def _number(bits: int) -> float:
    return float(np.array(bits, np.uint32).view(np.float32))


def _place(groups: Counts, rank: int) -> tuple[int, int]:
    """The group in which a rank lies, and the rank within it."""
    ends = groups[_ASCENDING].cumsum()
    position = int(np.searchsorted(ends, rank, "right"))
    group = int(_ASCENDING[position])
    return group, rank - int(ends[position] - groups[group])


def _value(group: int, lower: Counts, rank: int) -> float:
    """The number at a rank within a group, from the counts of its lower bits; a zero has no sign."""
    negative = group >= GROUPS // 2
    counts: NDArray[Any] = lower[::-1] if negative else lower
    position = int(np.searchsorted(counts.cumsum(), rank, "right"))
    return _number(group << 16 | (GROUPS - 1 - position if negative else position)) + 0.0


def _smaller(one: float, other: float) -> float:
    return math.nan if math.isnan(one) or math.isnan(other) else min(one, other)


def _larger(one: float, other: float) -> float:
    return math.nan if math.isnan(one) or math.isnan(other) else max(one, other)
