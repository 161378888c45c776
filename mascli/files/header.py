"""Reads the header of a safetensors file, and believes nothing that it says.

A file is 8 bytes of length (little-endian), that many bytes of JSON, then the data. The JSON maps
each tensor's name to its dtype, shape and place in the data, and `__metadata__` to a table of text.
"""

from __future__ import annotations

import json
import math
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mascli.errors import CheckpointError, printable

METADATA = "__metadata__"
MAX_HEADER = 100_000_000  # bytes; the safetensors library refuses more, too
MAX_DIMENSIONS = 32

BITS = {
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
}


@dataclass(frozen=True)
class TensorInfo:
    """One tensor of a file: `begin` and `end` are bytes, counted from where the data start."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def count(self) -> int:
        """The number of values."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """The number of bytes."""
        return self.end - self.begin


@dataclass(frozen=True)
class Header:
    """What a file says about its tensors; `data_start` is the byte of the file where the data start."""

    path: Path
    tensors: dict[str, TensorInfo]
    metadata: dict[str, str]
    data_start: int


class _Damaged(ValueError):
    """What is wrong with the bytes, in a few words."""


def read_header(path: Path) -> Header:
    """Read and check the header of the safetensors file at `path`; the data stay where they are.

    Raises:
        CheckpointError: no such file, not a safetensors file, or a header that cannot be true.
    """
    try:
        with _open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            start = file.read(9)
            length = _header_length(start, size)
            text = start[8:] + file.read(length - 1)
        return Header(path, *_parse(text, size - 8 - length), 8 + length)
    except _Damaged as error:
        raise CheckpointError(f"{printable(path)} {error}") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise CheckpointError(f"{printable(path)} cannot be read: {printable(reason)}") from error


def strict_json(text: str, surrogates: str = "surrogateescape") -> Any:
    """The value of a JSON text without duplicate keys, NaN, infinities or half surrogate pairs.

    Of the latter, those that stand for a byte of a file name that is not UTF-8 are let through,
    unless `surrogates` (an error handler of `str.encode`) says "strict".

    Raises:
        ValueError: any of these, or no JSON at all.
    """
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
        if "\\ud" in text or "\\uD" in text:
            json.dumps(value, ensure_ascii=False).encode("utf-8", surrogates)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return value


def _open_regular(path: Path) -> Any:
    mode = os.stat(path).st_mode  # before opening: a pipe would wait for a writer
    if stat.S_ISDIR(mode):
        raise _Damaged("is a folder; a safetensors file is needed")
    if not stat.S_ISREG(mode):
        raise _Damaged("is not a regular file; a safetensors file is needed")
    return open(path, "rb")


def _header_length(start: bytes, size: int) -> int:
    length = int.from_bytes(start[:8], "little")
    if len(start) == 9 and start[8:] == b"{" and length <= min(MAX_HEADER, size - 8):
        return length
    if start.startswith(b"PK\x03\x04") or start[:1] == b"\x80":
        raise _Damaged(
            "is a PyTorch file; turn it into a checkpoint with mascli init --model SPEC --weights FILE -o OUT"
        )
    if start[8:] != b"{":
        raise _Damaged("is not a safetensors file")
    if length > MAX_HEADER:
        raise _Damaged(f"is damaged: a header of {length} bytes cannot be true")
    raise _Damaged(f"is cut off: its header should have {length} bytes, and the whole file has {size}")


def _parse(text: bytes, data_bytes: int) -> tuple[dict[str, TensorInfo], dict[str, str]]:
    try:
        table = strict_json(text.decode(), surrogates="strict")
    except ValueError as error:
        raise _Damaged(f"is damaged: its header is not JSON ({printable(str(error))})") from error
    metadata = table.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _Damaged("is damaged: its metadata is not a table of text")
    tensors = {name: _tensor_info(name, entry) for name, entry in table.items()}
    _check_places(tensors, data_bytes)
    return tensors, metadata


def _tensor_info(name: str, entry: Any) -> TensorInfo:
    def refuse(what: str) -> _Damaged:
        return _Damaged(f"is damaged: tensor {printable(name)} {what}")

    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise refuse("lacks dtype, shape or data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise refuse(f"has the unknown dtype {printable(str(dtype)[:40])}")
    if not _are_sizes(shape) or len(shape) > MAX_DIMENSIONS or math.prod(max(n, 1) for n in shape) >= 2**60:
        raise refuse("has an impossible shape")
    if not _are_sizes(offsets) or len(offsets) != 2:
        raise refuse("has impossible offsets")
    info = TensorInfo(dtype, tuple(shape), *offsets)
    if info.count * BITS[dtype] != info.nbytes * 8:
        raise refuse(f"of shape {list(shape)} and dtype {dtype} does not fit its place in the file")
    return info


def _are_sizes(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 2**63 for value in values)


def _check_places(tensors: dict[str, TensorInfo], data_bytes: int) -> None:
    """The tensors must fill the data from the first byte to the last, side by side."""
    end = 0
    for name, info in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        if info.begin != end:
            what = "overlaps the one before it" if info.begin < end else "leaves a hole before it"
            raise _Damaged(f"is damaged: tensor {printable(name)} {what}")
        end = info.end
    if end > data_bytes:
        raise _Damaged(f"is cut off: its tensors need {end} bytes and {data_bytes} are there")
    if end < data_bytes:
        raise _Damaged(f"is damaged: {data_bytes - end} bytes follow its last tensor")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for key, value in pairs:
        if key in table:
            raise ValueError(f"duplicate key {key[:40]!r}")
        table[key] = value
    return table


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
