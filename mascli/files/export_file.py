"""Writes one task as plain weights, for programs that know nothing of mascli."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mascli.files.atomic import replacing
from mascli.files.records_json import EXPORT, canonical_json
from mascli.files.tensor_file import write_tensor_file
from mascli.files.tensors import to_source

PICKLED = (".pth", ".pt")


def is_pickled(path: Path) -> bool:
    """Whether the name asks for PyTorch's own format; any other is a safetensors file."""
    return path.suffix.lower() in PICKLED


def write_state_dict(
    path: Path, state: Mapping[str, Tensor], facts: Mapping[str, Any], *, foreign: Mapping[str, str], overwrite: bool
) -> None:
    """Write a state dict under the names it has: tensors alone, that load without running code.

    A safetensors file holds `facts` as JSON under the key `mascli.export`, and the metadata `foreign`.

    Raises:
        CheckpointError: a dtype that has no place in a safetensors file.
        UsageError: `path` cannot be written, or exists and `overwrite` is False.
    """
    if not is_pickled(path):
        sources = {name: to_source(tensor) for name, tensor in state.items()}
        write_tensor_file(path, sources, {**foreign, EXPORT: canonical_json(facts)}, overwrite=overwrite)
        return
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    with replacing(path, overwrite=overwrite) as file:
        torch.save(plain, file)
