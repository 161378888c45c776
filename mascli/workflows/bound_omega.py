"""Reads an omega that has to belong to a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from mascli.errors import CheckpointError, printable
from mascli.files.binding import check_binding
from mascli.files.records_json import foreign_metadata, omega_record
from mascli.files.tensor_file import read_header
from mascli.files.tensors import read_tensors
from mascli.records import OmegaRecord
from mascli.workflows.loading import Opened
from mascli.workflows.preflight import omega_shapes


@dataclass(frozen=True)
class BoundOmega:
    """An omega measured on a checkpoint or an ancestor of it; `lacking` parameters have importance zero."""

    where: str
    record: OmegaRecord
    values: dict[str, Tensor]
    lacking: tuple[str, ...]
    foreign: dict[str, str]


def read_bound_omega(path: Path, opened: Opened) -> BoundOmega:
    """Read the omega at `path` and bind it to the checkpoint.

    Raises:
        CheckpointError: another model, other weights, or importance that is negative or not finite.
    """
    header = read_header(path)
    record = omega_record(header)
    where = printable(path)
    lacking = check_binding(record, omega_shapes(header), opened.ancestry, opened.shapes(), where)
    values = read_tensors(header, header.tensors)
    for name, value in values.items():
        if not (value.isfinite() & (value >= 0)).all():
            raise CheckpointError(
                f"{where}: importance of {printable(name)} is negative or not finite; estimate it anew"
            )
    return BoundOmega(where, record, values, lacking, foreign_metadata(header))
