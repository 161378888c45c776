"""Reads an omega that has to belong to a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from mascli.errors import CheckpointError, printable
from mascli.files.binding import check_binding, check_heads
from mascli.files.records_json import foreign_metadata, omega_record
from mascli.files.tensor_file import read_header
from mascli.files.tensors import read_tensors
from mascli.records import OmegaRecord
from mascli.reports.numbers import plural
from mascli.workflows.loading import Opened
from mascli.workflows.preflight import omega_shapes


@dataclass(frozen=True)
class BoundOmega:
    """An omega measured on a checkpoint or an ancestor of it; `lacking` parameters have importance zero.

    `ignored` parameters have been each task's own since: what the omega says of them is not in `values`.
    """

    where: str
    record: OmegaRecord
    values: dict[str, Tensor]
    lacking: tuple[str, ...]
    foreign: dict[str, str]
    ignored: tuple[str, ...] = ()

    def note(self) -> str | None:
        """What to tell the user of the tensors that are ignored."""
        if not self.ignored:
            return None
        return f"per-task BatchNorm: {self.where} has {plural(len(self.ignored), 'tensor')} for it, which are ignored"


def read_bound_omega(path: Path, opened: Opened, parameters: Mapping[str, Tensor] | None = None) -> BoundOmega:
    """Read the omega at `path` and bind it to the checkpoint.

    Args:
        parameters: the shared parameters that it is for, by name; all without them.

    Raises:
        CheckpointError: another model, other weights, or importance that is negative or not finite.
    """
    header = read_header(path)
    record = omega_record(header)
    where = printable(path)
    asked = opened.model.shared_parameters() if parameters is None else parameters
    shapes = {name: tuple(parameter.shape) for name, parameter in asked.items()}
    owned, heads = opened.own_shapes(), opened.head_shapes()
    every = {name: shape for table in heads.values() for name, shape in table.items()}
    lacking = check_binding(record, omega_shapes(header), opened.ancestry, shapes, where, {**owned, **every})
    used = shapes.keys() & header.tensors.keys()
    check_heads(record, [task for task, table in heads.items() if used & table.keys()], opened.known_heads, where)
    values = read_tensors(header, (name for name in header.tensors if name in shapes))
    for name, value in values.items():
        if not (value.isfinite() & (value >= 0)).all():
            raise CheckpointError(
                f"{where}: importance of {printable(name)} is negative or not finite; estimate it anew"
            )
    ignored = tuple(sorted(header.tensors.keys() & owned.keys()))
    return BoundOmega(where, record, values, lacking, foreign_metadata(header), ignored)
