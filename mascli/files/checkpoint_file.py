"""Writes and reads checkpoints: the network under its own names, and the head of each task."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from mascli.errors import CheckpointError, listed, printable
from mascli.files.records_json import checkpoint_metadata
from mascli.files.tensor_file import Header, write_tensor_file
from mascli.files.tensors import read_tensors, to_source
from mascli.records import CheckpointRecord

Heads = dict[str, dict[str, Tensor]]


def write_checkpoint(
    path: Path,
    record: CheckpointRecord,
    shared: Mapping[str, Tensor],
    buffers: Mapping[str, Tensor],
    heads: Mapping[str, Mapping[str, Tensor]],
    *,
    foreign: Mapping[str, str],
    overwrite: bool,
) -> None:
    """Write a checkpoint: shared parameters and buffers by name, heads by task and name.

    The name table of `record` says what each tensor is called in the file: shared parameters and
    buffers keep their names, heads are found under `record.heads[task][name]`.

    Raises:
        CheckpointError: a name of the network is also that of a head's tensor.
        UsageError: `path` cannot be written, or exists and `overwrite` is False.
    """
    stored = {record.heads[task][name]: tensor for task, head in heads.items() for name, tensor in head.items()}
    taken = stored.keys() & (shared.keys() | buffers.keys())
    if taken:
        raise CheckpointError(
            f"{printable(path)}: the model has its own tensors {listed(sorted(taken), 3)}; rename the task"
        )
    sources = {name: to_source(tensor) for name, tensor in {**shared, **buffers, **stored}.items()}
    write_tensor_file(path, sources, checkpoint_metadata(record, foreign), overwrite=overwrite)


def read_checkpoint(header: Header, record: CheckpointRecord) -> tuple[dict[str, Tensor], dict[str, Tensor], Heads]:
    """The shared parameters, the buffers and the heads of a checkpoint, named as they were written.

    Raises:
        CheckpointError: the file has changed since its header was read.
    """
    tensors = read_tensors(header, header.tensors)
    heads = {task: {name: tensors[stored] for name, stored in table.items()} for task, table in record.heads.items()}
    return {name: tensors[name] for name in record.shared}, {name: tensors[name] for name in record.buffers}, heads
