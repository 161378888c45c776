"""The values of one tensor, block by block: memory is that of a block, however large the tensor is."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mascli.errors import CheckpointError, printable
from mascli.files.header import Header
from mascli.files.tensor_file import NUMPY

Float32 = NDArray[np.float32]

BLOCK = 1 << 18  # values: with what is computed of them they stay in a processor's cache
EXACT = ("F32", "F16", "BF16")  # what float32 holds to the bit


def float_blocks(
    header: Header, name: str, size: int = BLOCK, start: int = 0, stop: int | None = None
) -> Iterator[Float32]:
    """The values `start` to `stop` of a tensor, row by row, at most `size` at a time, as float32.

    Blocks are read, not mapped: a mapped file would count as memory of the process.

    Raises:
        CheckpointError: no such tensor, a dtype that float32 cannot hold, or a file that has changed.
    """
    info = header.tensors.get(name)
    if info is None or info.dtype not in EXACT:
        what = "has no tensor" if info is None else f"stores {info.dtype}, which float32 cannot hold, in"
        raise CheckpointError(f"{printable(header.path)} {what} {printable(name)}")
    dtype = np.dtype(NUMPY[info.dtype])
    left = (info.count if stop is None else min(stop, info.count)) - start
    with open(header.path, "rb", buffering=0) as file:
        file.seek(header.data_start + info.begin + start * dtype.itemsize)
        while left > 0:
            values = np.fromfile(file, dtype, min(size, left))
            if values.size < min(size, left):
                raise CheckpointError(f"{printable(header.path)} has changed while it was read")
            left -= values.size
            if info.dtype == "BF16":  # the upper half of a float32
                values = (values.astype(np.uint32) << 16).view(np.float32)
            yield values.astype(np.float32, copy=False)
