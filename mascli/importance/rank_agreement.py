"""How far two sets of values agree in their order: Spearman's correlation, and the overlap of the largest.

A pair of float32 values that are not negative is one 64-bit integer, the bits of the first above those
of the second: such bits have the order of the numbers. So all pairs are ranked by two sorts in place,
and memory is 8 bytes a pair.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pairs = NDArray[np.uint64]

PERCENTS = (1, 5, 10)
MOST = 1 << 31  # pairs: twice a rank has 32 bits
BLOCK = 1 << 17
HALF = np.uint64(32)  # bits
LOWER = np.uint64(0xFFFFFFFF)
MAGNITUDE = np.uint32(0x7FFFFFFF)  # a zero may have a sign


@dataclass(frozen=True)
class RankAgreement:
    """Spearman's correlation, None where one side has no two values that differ; `overlaps` of `PERCENTS`, or None."""

    spearman: float | None
    overlaps: tuple[float | None, ...]


@dataclass(frozen=True)
class _Top:
    """The `size` largest values: all above a run of ties at [begin, end), and of that run a part."""

    size: int
    begin: int
    end: int
    part: Fraction


def bits(values: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Integers in the order of `values`, none of which is negative or NaN."""
    return np.ravel(values).view(np.uint32) & MAGNITUDE


def pack(first: NDArray[np.float32], second: NDArray[np.float32], out: Pairs) -> None:
    """Write the pairs of two vectors of values that are not negative to `out`."""
    out[:] = bits(first)
    out <<= HALF
    out |= bits(second)


def rank_agreement(pairs: Pairs) -> RankAgreement:
    """Spearman's rank correlation and the overlap of the largest 1, 5 and 10 % of `pairs`, which are lost.

    Spearman: Pearson's correlation of the ranks, where ties share the mean of their ranks.

    Overlap of the top p %: with k = ⌈n p / 100⌉, each side's k largest values weigh 1; where ties reach
    across the k-th place, each of them weighs the same part, so that the weights add up to k. The
    overlap is Σ min(w_first, w_second) / k, from 0 to 1: 1 if both sides have the same order, and about
    p / 100 if they have nothing to do with each other.

    Raises:
        ValueError: more pairs than `MOST`.
    """
    count = pairs.size
    if count > MOST:
        raise ValueError(f"{count} pairs")
    if not count:
        return RankAgreement(None, (None,) * len(PERCENTS))
    pairs.sort()
    first = [_top(pairs, percent) for percent in PERCENTS]
    for begin, end, codes in _codes(pairs):
        block = pairs[begin:end]
        block <<= HALF
        block |= codes.astype(np.uint64)
    pairs.sort()
    second = [_top(pairs, percent) for percent in PERCENTS]
    overlaps = tuple(_overlap(pairs, *tops) for tops in zip(first, second, strict=True))
    return RankAgreement(_spearman(pairs), overlaps)


def correlation(product: float, first: float, second: float) -> float | None:
    """Σxy / √(Σx² Σy²) of centred values, exactly 1 where the three sums are the same; None where one has no spread."""
    if not first or not second:
        return None
    return min(max(product / math.sqrt(first * second), -1.0), 1.0)


def _codes(pairs: Pairs) -> Iterator[tuple[int, int, NDArray[np.int64]]]:
    """Blocks [begin, end) of sorted pairs, with a code for each pair's run of equal upper halves.

    The code is where the run begins plus where it ends: twice the mean rank in it, less 1.
    A block may be overwritten once it has been given.
    """
    before, run = -1, 0
    for begin in range(0, pairs.size, BLOCK):
        end = min(begin + BLOCK, pairs.size)
        upper = pairs[begin:end] >> HALF
        new = np.flatnonzero(upper[1:] != upper[:-1]) + 1
        inside = np.concatenate([[0], new])
        starts = inside + begin
        if int(upper[0]) == before:
            starts[0] = run
        ends = np.append(new + begin, end + _place(pairs[end:], int(upper[-1]) + 1))
        yield begin, end, np.repeat(starts + ends, np.diff(np.append(inside, end - begin)))
        before, run = int(upper[-1]), int(starts[-1])


def _place(pairs: Pairs, upper: int) -> int:
    """How many of sorted `pairs` have a smaller upper half."""
    return int(np.searchsorted(pairs, np.uint64(upper << 32)))


def _top(pairs: Pairs, percent: int) -> _Top:
    """The largest `percent` % of sorted pairs by their upper halves."""
    size = -(-pairs.size * percent // 100)
    limit = int(pairs[pairs.size - size] >> HALF)
    begin, end = _place(pairs, limit), _place(pairs, limit + 1)
    return _Top(size, begin, end, Fraction(size - (pairs.size - end), end - begin))


def _overlap(pairs: Pairs, first: _Top, second: _Top) -> float:
    """Σ min(w_first, w_second) / k, of pairs sorted by the second side, with the first's codes below."""
    code = first.begin + first.end
    total = Fraction(0)
    for begin, end, weight in ((second.begin, second.end, second.part), (second.end, pairs.size, Fraction(1))):
        above, at = 0, 0
        for start in range(begin, end, BLOCK):
            lower = pairs[start : min(start + BLOCK, end)] & LOWER
            above += int(np.count_nonzero(lower > code))
            at += int(np.count_nonzero(lower == code))
        total += above * weight + at * min(weight, first.part)
    return float(total / first.size)


def _spearman(pairs: Pairs) -> float | None:
    """The correlation of the ranks, of pairs sorted by the second side, with the first's codes below."""
    sums: list[tuple[float, float, float]] = []
    for begin, end, codes in _codes(pairs):
        second: NDArray[Any] = codes.astype(np.float64) - pairs.size  # centred, and doubled
        first = (pairs[begin:end] & LOWER).astype(np.float64) - pairs.size
        sums.append((float((first * second).sum()), float((first * first).sum()), float((second * second).sum())))
    product, one, other = map(math.fsum, zip(*sums, strict=True))
    return correlation(product, one, other)
