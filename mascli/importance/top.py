"""The most important parameters, filters or tensors, found in one sweep with the memory of a few blocks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mascli.files.blocks import float_blocks
from mascli.files.header import Header
from mascli.importance.filters import filter_sums, finite_sum, has_filters

Array = NDArray[Any]
Unit = Literal["parameters", "filters", "tensors"]


@dataclass(frozen=True)
class Ranked:
    """One of the most important: its name (with its index in the tensor), importance and share of all importance.

    `importance` of a filter or tensor is the sum over its `parameters`. What is not finite is left out: a value,
    a filter with such a value, and of a tensor the values alone.
    """

    rank: int
    name: str
    parameters: int
    importance: float
    share: float


def most_important(header: Header, names: Sequence[str], most: int, by: Unit, total: float) -> tuple[Ranked, ...]:
    """The `most` largest among the tensors `names`, the largest first; of equal ones, the earlier first.

    `total` is the sum of all importance, of which shares are parts. The parts of a tensor are named by
    their index, as in `features.0.weight[3,1,0,2]`; a filter by its first, as in `features.0.weight[3]`.
    """
    best = _Best(most)
    for tensor, name in enumerate(names):
        for start, values in _units(header, name, by):
            best.add(values, tensor, start)
    return tuple(
        Ranked(
            rank=rank,
            name=_named(header, names[tensor], index, by),
            parameters=_size(header, names[tensor], by),
            importance=importance,
            share=importance / total if total else 0.0,
        )
        for rank, (importance, tensor, index) in enumerate(best.ranked(), start=1)
    )


def not_ranked(header: Header, names: Sequence[str], by: Unit) -> int:
    """How many parameters or filters have no rank, as they are not finite; of tensors, the values left out of sums."""
    each: Unit = "filters" if by == "filters" else "parameters"
    found = (np.count_nonzero(~np.isfinite(values)) for name in names for _, values in _units(header, name, each))
    return int(sum(found))


def _units(header: Header, name: str, by: Unit) -> Iterator[tuple[int, Array]]:
    """The importance of the units of a tensor, some at a time, with the index of the first one."""
    info = header.tensors[name]
    if by == "tensors":
        yield 0, np.array([math.fsum(map(finite_sum, float_blocks(header, name)))])
    elif by == "filters":
        yield from filter_sums(header, name) if has_filters(info) else ()
    else:
        start = 0
        for values in float_blocks(header, name):
            yield start, values
            start += values.size


def _named(header: Header, name: str, index: int, by: Unit) -> str:
    shape = header.tensors[name].shape
    if by == "tensors" or not shape:
        return name
    place = [index] if by == "filters" else [int(part) for part in np.unravel_index(index, shape)]
    return f"{name}[{','.join(map(str, place))}]"


def _size(header: Header, name: str, by: Unit) -> int:
    info = header.tensors[name]
    if by == "filters":
        return info.count // info.shape[0]
    return 1 if by == "parameters" else info.count


class _Best:
    """The largest values so far, the largest first, with the tensor and the index each is from."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: Array = np.zeros(0)
        self._places: Array = np.zeros((0, 2), np.int64)

    def add(self, values: Array, tensor: int, start: int) -> None:
        """Look at more values, which begin at index `start` of a tensor."""
        full = self._values.size == self._most
        at = np.flatnonzero(values > self._values[-1]) if full else np.arange(values.size)
        at = at[np.isfinite(values[at])]
        if at.size > self._most:  # sorting a few is enough; of equal ones all stay, for the earliest to win
            least = np.partition(values[at], at.size - self._most)[at.size - self._most]
            at = at[values[at] >= least]
        joined = np.concatenate([self._values, values[at]])
        places = np.concatenate([self._places, np.stack([np.full(at.size, tensor), at + start], axis=1)])
        order = np.argsort(-joined, kind="stable")[: self._most]
        self._values, self._places = joined[order], places[order]

    def ranked(self) -> Iterator[tuple[float, int, int]]:
        """Importance, tensor and index, the largest first."""
        for value, (tensor, index) in zip(self._values.tolist(), self._places.tolist(), strict=True):
            yield value, tensor, index
