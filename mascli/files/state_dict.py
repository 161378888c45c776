"""Reads the weights that other tools leave behind: safetensors, or a PyTorch state dict."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mascli.errors import CheckpointError, printable
from mascli.files.records_json import file_kind
from mascli.files.tensor_file import read_header
from mascli.files.tensors import read_tensors

WRAPPERS = ("state_dict", "model_state_dict", "model")
PARALLEL = "module."


def read_state_dict(path: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The tensors of a weights file by name, and one line for each thing that was done to them.

    The content tells the format. A `.pth` is read as data, never as code; `state_dict`, `model` or
    `model_state_dict` around the tensors and `module.` before their names are taken off, and
    floating-point tensors of other precisions become float32.

    Raises:
        CheckpointError: no such file, or one that does not hold named tensors alone.
    """
    if _is_pytorch(path):
        found, notes = _unwrapped(path, _load(path))
    else:
        header = read_header(path)
        if file_kind(header) != "tensors":
            raise CheckpointError(f"{printable(path)} is a file of mascli already; give it to the command as it is")
        found, notes = read_tensors(header, header.tensors), []
    if found and all(name.startswith(PARALLEL) for name in found):
        found = {name.removeprefix(PARALLEL): tensor for name, tensor in found.items()}
        notes.append(f"{printable(path)}: took '{PARALLEL}' off the names of the tensors")
    converted = {str(t.dtype).removeprefix("torch.") for t in found.values() if _needs_float32(t)}
    if converted:
        notes.append(f"{printable(path)}: converted {', '.join(sorted(converted))} to float32")
    return {name: t.float() if _needs_float32(t) else t for name, t in found.items()}, tuple(notes)


def _is_pytorch(path: Path) -> bool:
    """Whether the file is a zip archive or a bare pickle, and not safetensors, whose ninth byte is a brace."""
    try:
        if not path.is_file():  # a pipe would wait for a writer
            return False
        with open(path, "rb") as file:
            start = file.read(9)
    except (OSError, ValueError):
        return False  # read_header says why
    return (start.startswith(b"PK\x03\x04") or start[:1] == b"\x80") and start[8:] != b"{"


def _load(path: Path) -> Any:
    try:
        # A file object: of a path, torch would believe the extension.
        with open(path, "rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{printable(path)} is damaged or holds Python objects, which mascli does not run; save model.state_dict() "
            "and give that"
        ) from error
    except Exception as error:  # damaged archives end in errors of many kinds
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{printable(path)} is damaged: {printable(reason[:200])}") from error


def _unwrapped(path: Path, content: Any) -> tuple[dict[str, Tensor], list[str]]:
    notes: list[str] = []
    while isinstance(content, Mapping):
        if content and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items()):
            return {name: _strided(path, name, tensor) for name, tensor in content.items()}, notes
        key = next((key for key in WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if key is None:
            break
        notes.append(f"{printable(path)}: read the tensors under '{key}'")
        content = content[key]
    raise CheckpointError(f"{printable(path)} does not hold named tensors alone; save model.state_dict() and give that")


def _strided(path: Path, name: str, tensor: Tensor) -> Tensor:
    if tensor.layout != torch.strided or tensor.is_quantized:
        raise CheckpointError(f"{printable(path)}: {printable(name)} is sparse or quantized; convert it first")
    return tensor.detach()


def _needs_float32(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.dtype != torch.float32
