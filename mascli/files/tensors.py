"""Torch tensors to the bytes of a tensor file, and back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mascli.errors import CheckpointError, printable
from mascli.files.records_json import canonical_json
from mascli.files.tensor_file import Header, Source

DTYPES = {
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.float8_e5m2: "F8_E5M2",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.uint16: "U16",
    torch.int16: "I16",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.uint32: "U32",
    torch.int32: "I32",
    torch.float32: "F32",
    torch.uint64: "U64",
    torch.int64: "I64",
    torch.float64: "F64",
    torch.complex64: "C64",
}


def to_source(tensor: Tensor) -> Source:
    """`tensor` (any shape, strides and device) as a tensor to write; it is copied when it is due.

    Raises:
        CheckpointError: its dtype has no place in a tensor file.
    """
    if tensor.dtype not in DTYPES:
        raise CheckpointError(f"a tensor of {tensor.dtype} cannot be stored; convert it to float32 first")
    return Source(DTYPES[tensor.dtype], tuple(tensor.shape), lambda: _bytes(tensor))


def read_tensors(header: Header, names: Iterable[str]) -> dict[str, Tensor]:
    """The tensors of the file that are called `names`, on the CPU.

    Raises:
        CheckpointError: one is not there, or the file has changed since its header was read.
    """
    try:
        with safe_open(header.path, framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{printable(header.path)} cannot be read: {printable(str(error))}") from error


def shared_sha256(tensors: Mapping[str, Tensor]) -> str:
    """The sha256 over name, dtype, shape and bytes of each tensor, sorted by name, in hexadecimal.

    Name, dtype and shape are one line of JSON, which says how many bytes follow it.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        source = to_source(tensors[name])
        digest.update(canonical_json([name, source.dtype, source.shape]).encode() + b"\n")
        digest.update(source.read())
    return digest.hexdigest()


def _bytes(tensor: Tensor) -> memoryview:
    plain = tensor.detach().cpu().resolve_conj().resolve_neg()
    return plain.contiguous().reshape(-1).view(torch.uint8).numpy().data
