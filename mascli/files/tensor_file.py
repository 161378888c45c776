"""Reads and writes tensor files: safetensors, without torch, the same bytes for the same tensors."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mascli.errors import CheckpointError, printable
from mascli.files.atomic import output_problem, replacing
from mascli.files.header import BITS, METADATA, Header, TensorInfo, read_header

__all__ = [
    "Array",
    "Header",
    "Source",
    "TensorInfo",
    "array_source",
    "file_sha256",
    "output_problem",
    "read_array",
    "read_header",
    "write_tensor_file",
]

Array: TypeAlias = NDArray[Any]

NUMPY = {
    "BOOL": "|b1",
    "U8": "|u1",
    "I8": "|i1",
    "U16": "<u2",
    "I16": "<i2",
    "F16": "<f2",
    "BF16": "<u2",
    "U32": "<u4",
    "I32": "<i4",
    "F32": "<f4",
    "U64": "<u8",
    "I64": "<i8",
    "F64": "<f8",
    "C64": "<c8",
}
SAFETENSORS = {np.dtype(code): name for name, code in NUMPY.items() if name != "BF16"}


@dataclass(frozen=True)
class Source:
    """A tensor to write: `read` gives its bytes, little-endian and row by row, when they are due."""

    dtype: str
    shape: tuple[int, ...]
    read: Callable[[], memoryview | bytes]

    @property
    def nbytes(self) -> int:
        """The number of bytes."""
        return math.prod(self.shape) * BITS[self.dtype] // 8


def array_source(array: Array) -> Source:
    """`array` as a tensor to write."""
    little = array.dtype.newbyteorder("<")
    return Source(SAFETENSORS[little], array.shape, lambda: np.ascontiguousarray(array, dtype=little).reshape(-1).data)


def read_array(header: Header, name: str) -> Array:
    """The values of one tensor, mapped from the file and not to be written to; BF16 becomes float32.

    Raises:
        CheckpointError: the tensor is not in the file, or of a dtype that numpy does not have.
    """
    info = header.tensors.get(name)
    if info is None:
        raise CheckpointError(f"{printable(header.path)} has no tensor {printable(name)}")
    if info.dtype not in NUMPY:
        raise CheckpointError(
            f"{printable(header.path)}: tensor {printable(name)} has dtype {info.dtype}; convert it first"
        )
    dtype = np.dtype(NUMPY[info.dtype])
    if info.nbytes == 0:
        return np.zeros(info.shape, np.float32 if info.dtype == "BF16" else dtype)
    try:
        raw = np.memmap(header.path, np.uint8, "r", header.data_start + info.begin, (info.nbytes,))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{printable(header.path)} has changed while it was read") from error
    values = np.asarray(raw).view(dtype).reshape(info.shape)
    if info.dtype == "BF16":  # the upper half of a float32
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values


def write_tensor_file(
    path: Path, tensors: Mapping[str, Source], metadata: Mapping[str, str], *, overwrite: bool
) -> None:
    """Write a safetensors file: all of it or nothing, and the same bytes for the same content.

    The header is JSON with sorted keys, padded to 8 bytes; tensors lie in it by falling size of
    their elements, then by name, so that each is aligned. One tensor at a time is in memory.
    `format: pt` joins the metadata, without which other tools refuse the file.

    Raises:
        UsageError: `path` cannot be written, or exists and `overwrite` is False.
    """
    order = sorted(tensors, key=lambda name: (-BITS[tensors[name].dtype], name))
    table: dict[str, Any] = {METADATA: {**metadata, "format": "pt"}}
    end = 0
    for name in order:
        source = tensors[name]
        begin, end = end, end + source.nbytes
        table[name] = {"dtype": source.dtype, "shape": source.shape, "data_offsets": (begin, end)}
    text = json.dumps(table, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with replacing(path, overwrite=overwrite) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            written = file.write(tensors[name].read())
            if written != tensors[name].nbytes:
                raise ValueError(f"tensor {name} has {written} bytes instead of {tensors[name].nbytes}")


def file_sha256(path: Path) -> str:
    """The sha256 of a whole file, in hexadecimal.

    Raises:
        CheckpointError: the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise CheckpointError(f"{printable(path)} cannot be read: {error.strerror}") from error
    return digest.hexdigest()
