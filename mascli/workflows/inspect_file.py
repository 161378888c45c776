"""`mascli inspect`: what a checkpoint, an omega or any other tensor file holds."""

from __future__ import annotations

from mascli.config import InspectConfig
from mascli.errors import CheckpointError, printable
from mascli.files.partial_file import KEY
from mascli.files.records_json import checkpoint_record, file_kind, omega_record
from mascli.files.tensor_file import Header, read_array, read_header
from mascli.importance.statistics import file_histogram, layer_of, layer_summaries, natural_order, statistics
from mascli.reports.inspect_file import InspectResult, LayerShapes


def inspect_file(config: InspectConfig) -> InspectResult:
    """Describe a tensor file from its header; the values are read of an omega only.

    Raises:
        CheckpointError: not a tensor file, a damaged one, or unfinished work.
    """
    header = read_header(config.file)
    if KEY in header.metadata:
        raise CheckpointError(
            f"{printable(config.file)} is unfinished work of train-task or estimate: the same command with --resume "
            "goes on, with --overwrite it starts anew; within a folder of mascli run, the same mascli run goes on"
        )
    kind = file_kind(header)
    omega = omega_record(header) if kind == "omega" else None
    return InspectResult(
        file=str(config.file),
        kind=kind,
        bytes=header.data_start + sum(info.nbytes for info in header.tensors.values()),
        parameters=sum(info.count for info in header.tensors.values()),
        checkpoint=checkpoint_record(header) if kind == "checkpoint" else None,
        omega=omega,
        layers=layer_summaries(header) if omega else (),
        shapes=() if omega else _layer_shapes(header),
        statistics=statistics(read_array(header, name) for name in header.tensors) if omega else None,
        histogram=file_histogram(header, config.bins) if omega else None,
    )


def _layer_shapes(header: Header) -> tuple[LayerShapes, ...]:
    """The tensors of the file by the module that owns them."""
    layers: dict[str, list[str]] = {}
    for name in natural_order(header.tensors):
        layers.setdefault(layer_of(name), []).append(name)
    return tuple(
        LayerShapes(
            name=layer,
            parameters=sum(header.tensors[name].count for name in names),
            dtypes=tuple(sorted({header.tensors[name].dtype for name in names})),
            shapes={name.rpartition(".")[2]: header.tensors[name].shape for name in names},
        )
        for layer, names in layers.items()
    )
