"""The values of combined omegas, computed block by block when they are asked for.

A file's header comes first and says what its values are like, so values are computed several times
and kept never: two sweeps for the statistics, one to write. Memory is that of one tensor of the
result and a few blocks, however large the omegas are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mascli.errors import CheckpointError, NumericsError, printable
from mascli.files.tensor_file import Header, Source, array_source, read_array
from mascli.importance.combine import Combination
from mascli.importance.statistics import swept_statistics
from mascli.records import Statistics

Array = NDArray[Any]
Float32 = NDArray[np.float32]
Advance = Callable[[int], None]

# Values at a time: three blocks stay in a processor's cache.
BLOCK = 1 << 17
FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Operand:
    """One omega of a combination: its name in messages, and `read`, which gives a tensor's values by its name."""

    where: str
    read: Callable[[str], Array]


def file_operand(header: Header, shapes: Mapping[str, tuple[int, ...]]) -> Operand:
    """An omega file, of which only what is used at the moment is in memory; what it lacks of `shapes` is zero."""

    def read(name: str) -> Array:
        return read_array(header, name) if name in header.tensors else np.zeros(shapes[name], np.float32)

    return Operand(printable(header.path), read)


class CombinedValues:
    """The tensors of `shapes`, each the combination of the operands' tensors of that name.

    `advance` hears of each tensor that a sweep has done: two sweeps are `statistics`, one is writing
    all `sources`. Factors and sums are float64, results float32.
    """

    def __init__(
        self,
        combination: Combination,
        operands: Sequence[Operand],
        shapes: Mapping[str, tuple[int, ...]],
        advance: Advance = lambda tensors: None,
    ) -> None:
        self._pairs = list(zip(operands, combination.factors, strict=True))
        self._join = np.maximum if combination.largest else np.add
        self._shapes = shapes
        self._advance = advance

    def statistics(self) -> Statistics:
        """Mean, exact median, maximum and share of zeros of all values, in two sweeps.

        Raises:
            CheckpointError, NumericsError: as `tensor`.
        """
        return swept_statistics(self._sweep)

    def sources(self) -> dict[str, Source]:
        """The tensors to write, each computed when it is due."""
        return {name: Source("F32", shape, partial(self._bytes, name)) for name, shape in self._shapes.items()}

    def tensor(self, name: str) -> Float32:
        """One tensor of the result.

        Raises:
            CheckpointError: a value of an operand is negative or not finite.
            NumericsError: a result is too large for float32.
        """
        shape = self._shapes[name]
        whole, end = np.empty(math.prod(shape), np.float32), 0
        for block in self._blocks(name):
            whole[end : end + block.size] = block
            end += block.size
        return whole.reshape(shape)

    def _bytes(self, name: str) -> memoryview | bytes:
        written = array_source(self.tensor(name)).read()
        self._advance(1)
        return written

    def _sweep(self) -> Iterator[Float32]:
        for name in self._shapes:
            yield from self._blocks(name)
            self._advance(1)

    def _blocks(self, name: str) -> Iterator[Float32]:
        """The values of a tensor in order; each block is overwritten by the next."""
        count = math.prod(self._shapes[name])
        total, part = np.empty((2, min(BLOCK, count)))
        values = np.empty(total.size, np.float32)
        for start in range(0, count, BLOCK):
            size = min(BLOCK, count - start)
            self._combine(name, start, total[:size], part[:size])
            values[:size] = total[:size]
            yield values[:size]

    def _combine(self, name: str, start: int, total: NDArray[np.float64], part: NDArray[np.float64]) -> None:
        """Combine the operands' values from `start` on into `total`; `part` is for each one's own."""
        total.fill(0)
        for operand, factor in self._pairs:
            values = operand.read(name).reshape(-1)[start : start + total.size]
            if not (values.min() >= 0 and values.max() < math.inf):  # NaN is neither
                raise CheckpointError(
                    f"{operand.where}: the importance of {printable(name)} is negative or not finite; estimate it anew"
                )
            np.abs(values, out=part)  # there is a zero with a sign
            with np.errstate(over="ignore"):
                np.multiply(part, factor, out=part)
                self._join(total, part, out=total)
        if total.max() > FLOAT32_MAX:
            raise NumericsError(f"the combined importance of {printable(name)} is too large for float32")
