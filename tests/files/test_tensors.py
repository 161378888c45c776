"""Torch tensors in files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mascli.errors import CheckpointError
from mascli.files.tensor_file import read_header, write_tensor_file
from mascli.files.tensors import DTYPES, read_tensors, shared_sha256, to_source

TENSORS = {
    "transposed": torch.arange(6.0).reshape(2, 3).t(),
    "channels_last": torch.arange(24.0).reshape(1, 2, 3, 4).to(memory_format=torch.channels_last),
    "every_second": torch.arange(10)[::2],
    "expanded": torch.ones(1, 3).expand(2, 3),
    "scalar": torch.tensor(5),
    "empty": torch.zeros(0, 3),
    "parameter": torch.nn.Parameter(torch.ones(2)),
    "conjugate": torch.tensor([1 + 2j], dtype=torch.complex64).conj(),
    **{str(dtype): torch.tensor([0, 1, 2]).to(dtype) for dtype in DTYPES},
}


def test_every_tensor_comes_back(tmp_path: Path) -> None:
    write_tensor_file(tmp_path / "x", {name: to_source(t) for name, t in TENSORS.items()}, {}, overwrite=False)
    header = read_header(tmp_path / "x")
    for found in (read_tensors(header, header.tensors), load_file(tmp_path / "x")):
        for name, tensor in TENSORS.items():
            assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape), name
            assert found[name].tolist() == tensor.tolist(), name


def test_other_dtypes_are_refused() -> None:
    with pytest.raises(CheckpointError, match=r"torch\.complex128"):
        to_source(torch.ones(1, dtype=torch.complex128))


def test_what_is_not_there_is_one_line(tmp_path: Path) -> None:
    write_tensor_file(tmp_path / "x", {"w": to_source(torch.ones(1))}, {}, overwrite=False)
    header = read_header(tmp_path / "x")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_tensors(header, ["v"])
    (tmp_path / "x").unlink()
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_tensors(header, ["w"])


def test_shared_sha256_is_what_the_documents_say() -> None:
    lines = b'["a","F32",[2]]\n' + torch.ones(2).numpy().tobytes() + b'["b","I64",[]]\n' + (3).to_bytes(8, "little")
    tensors = {"b": torch.tensor(3), "a": torch.ones(2)}
    assert shared_sha256(tensors) == hashlib.sha256(lines).hexdigest()


def test_shared_sha256_sees_values_and_nothing_else() -> None:
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(1)}
    same = {"b": torch.ones(1, requires_grad=True), "a": torch.arange(6.0).reshape(2, 3).t().contiguous().t()}
    assert shared_sha256(same) == shared_sha256(tensors)
    others = [
        {"a": tensors["a"].reshape(3, 2), "b": tensors["b"]},
        {"a": tensors["a"], "c": tensors["b"]},
        {"a": tensors["a"], "b": tensors["b"].double()},
        {"a": tensors["a"], "b": tensors["b"] + 1e-7},
        {"a": tensors["a"], "b": tensors["b"].view(torch.int32)},
        {"a": tensors["a"]},
        {"a": -torch.zeros(1)},
        {"a": torch.zeros(1)},
    ]
    assert len({shared_sha256(other) for other in [tensors, *others]}) == len(others) + 1
