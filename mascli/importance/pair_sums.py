"""Sums over pairs of values, block by block: what Pearson's correlation and the differences are made of."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mascli.importance.rank_agreement import correlation

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Side:
    """One side of the pairs: sum, mean, Σ(x - mean)², smallest, largest and smallest positive value."""

    total: float = 0.0
    mean: float = 0.0
    squares: float = 0.0
    low: float = math.inf
    high: float = -math.inf
    positive: float = math.inf

    def joined(self, other: Side, count: int, more: int) -> Side:
        """This side of `count` pairs with that of `more` others."""
        apart = other.mean - self.mean
        return Side(
            total=self.total + other.total,
            mean=self.mean + apart * more / (count + more),
            squares=self.squares + other.squares + apart * apart * count * more / (count + more),
            low=min(self.low, other.low),
            high=max(self.high, other.high),
            positive=min(self.positive, other.positive),
        )


@dataclass(frozen=True)
class PairSums:
    """`count` pairs (x, y): both sides, Σ(x - mean x)(y - mean y), and Σ|x - y| as `difference`. Sums are float64."""

    count: int = 0
    first: Side = Side()
    second: Side = Side()
    product: float = 0.0
    difference: float = 0.0

    def __add__(self, other: PairSums) -> PairSums:
        """The sums over the pairs of both."""
        if not self.count or not other.count:
            return self if self.count else other
        together = self.count + other.count
        apart = (other.first.mean - self.first.mean) * (other.second.mean - self.second.mean)
        return PairSums(
            count=together,
            first=self.first.joined(other.first, self.count, other.count),
            second=self.second.joined(other.second, self.count, other.count),
            product=self.product + other.product + apart * self.count * other.count / together,
            difference=self.difference + other.difference,
        )

    @property
    def pearson(self) -> float | None:
        """Pearson's correlation, None where one side has no two values that differ."""
        if self.first.low >= self.first.high or self.second.low >= self.second.high:
            return None
        return correlation(self.product, self.first.squares, self.second.squares)

    @property
    def relative_l1(self) -> float | None:
        """Σ|x - y| / Σx, None where Σx is 0 and where there are no pairs."""
        return _ratio(self.difference, self.first.total)

    @property
    def scale(self) -> float | None:
        """Σy / Σx, None where Σx is 0."""
        return _ratio(self.second.total, self.first.total)


def pair_sums(first: Float32, second: Float32) -> PairSums:
    """The sums over one block of pairs of finite values that are not negative."""
    if not first.size:
        return PairSums()
    one, other = first.astype(np.float64), second.astype(np.float64)
    difference = float(np.abs(one - other).sum())
    totals = float(one.sum()), float(other.sum())
    means = totals[0] / one.size, totals[1] / other.size
    one -= means[0]
    other -= means[1]
    return PairSums(
        count=one.size,
        first=_side(first, one, totals[0], means[0]),
        second=_side(second, other, totals[1], means[1]),
        product=float((one * other).sum()),
        difference=difference,
    )


def _side(values: Float32, centred: NDArray[np.float64], total: float, mean: float) -> Side:
    low = float(values.min())
    positive = low if low > 0 else float(values.min(initial=np.inf, where=values > 0))
    return Side(total, mean, float((centred * centred).sum()), low, float(values.max()), positive)


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
