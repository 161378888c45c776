"""Writes omega files: the importance of each shared parameter, under that parameter's name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mascli.files.records_json import omega_metadata
from mascli.files.tensor_file import Source, write_tensor_file
from mascli.records import OmegaRecord


def write_omega(
    path: Path, record: OmegaRecord, values: Mapping[str, Source], *, foreign: Mapping[str, str], overwrite: bool
) -> None:
    """Write an omega file: one float32 tensor for each shared parameter.

    Raises:
        UsageError: `path` cannot be written, or exists and `overwrite` is False.
    """
    other = [name for name, source in values.items() if source.dtype != "F32"]
    if other:
        raise ValueError(f"importance must be float32: {other}")
    write_tensor_file(path, values, omega_metadata(record, foreign), overwrite=overwrite)
