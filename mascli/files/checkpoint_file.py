"""Writes and reads checkpoints: the network under its own names, and the head and own tensors of each task."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from mascli.errors import CheckpointError, listed, printable
from mascli.files.records_json import checkpoint_metadata
from mascli.files.tensor_file import Header, write_tensor_file
from mascli.files.tensors import read_tensors, to_source
from mascli.records import CheckpointRecord

ByTask = dict[str, dict[str, Tensor]]


class StoredTensors(NamedTuple):
    """The tensors of a checkpoint: shared parameters and buffers by name, heads and own tensors by task and name."""

    shared: dict[str, Tensor]
    buffers: dict[str, Tensor]
    heads: ByTask
    owned: ByTask


def write_checkpoint(
    path: Path,
    record: CheckpointRecord,
    shared: Mapping[str, Tensor],
    buffers: Mapping[str, Tensor],
    heads: Mapping[str, Mapping[str, Tensor]],
    owned: Mapping[str, Mapping[str, Tensor]] | None = None,
    *,
    foreign: Mapping[str, str],
    overwrite: bool,
) -> None:
    """Write a checkpoint: shared parameters and buffers by name, heads and own tensors by task and name.

    The name table of `record` says what each tensor is called in the file: shared parameters and
    buffers keep their names, heads are found under `record.heads[task][name]`, what a task has of
    its own under `record.owned[task][name]`.

    Raises:
        CheckpointError: a name of the network is also that of a task's tensor.
        UsageError: `path` cannot be written, or exists and `overwrite` is False.
    """
    stored = {
        table[task][name]: tensor
        for table, tasks in ((record.heads, heads), (record.owned, owned or {}))
        for task, tensors in tasks.items()
        for name, tensor in tensors.items()
    }
    taken = stored.keys() & (shared.keys() | buffers.keys())
    if taken:
        raise CheckpointError(
            f"{printable(path)}: the model has its own tensors {listed(sorted(taken), 3)}; rename the task"
        )
    sources = {name: to_source(tensor) for name, tensor in {**shared, **buffers, **stored}.items()}
    write_tensor_file(path, sources, checkpoint_metadata(record, foreign), overwrite=overwrite)


def read_checkpoint(header: Header, record: CheckpointRecord) -> StoredTensors:
    """The tensors of a checkpoint, named as they were written; tasks in the order learned.

    Raises:
        CheckpointError: the file has changed since its header was read.
    """
    tensors = read_tensors(header, header.tensors)

    def of_tasks(table: Mapping[str, Mapping[str, str]]) -> ByTask:
        order = [task for task in record.task_names if task in table]
        return {task: {name: tensors[stored] for name, stored in table[task].items()} for task in order}

    return StoredTensors(
        {name: tensors[name] for name in record.shared},
        {name: tensors[name] for name in record.buffers},
        of_tasks(record.heads),
        of_tasks(record.owned),
    )
