"""`mascli inspect`: what a checkpoint, an omega or any other tensor file holds.

What a header tells is told without numpy, which would take longer to load than the header to read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from mascli.config import InspectConfig
from mascli.errors import CheckpointError, UsageError, printable
from mascli.files.header import Header, read_header, strict_json
from mascli.files.records_json import EXPORT, PREFIX, ROUNDED, VERSION, checkpoint_record, file_kind, omega_record
from mascli.importance.layer_names import by_layer, matching
from mascli.models.known_networks import known_network
from mascli.records import CheckpointRecord, OmegaRecord
from mascli.reports.inspect_result import InspectResult, LayerShapes
from mascli.workflows.checked_paths import check_paths


def check_inspect(config: InspectConfig) -> None:
    """Check `mascli inspect` before anything is read."""
    check_paths(config, {"FILE": config.file}, {})
    if config.omega is not None:
        raise UsageError("--omega weighs what changed between two checkpoints: give a second file")


def inspect_file(config: InspectConfig) -> InspectResult:
    """Describe a tensor file from its header; the values are read of an omega only.

    Raises:
        CheckpointError: not a tensor file, a damaged one, or unfinished work.
        UsageError: a layer that is not there, importance asked of a file that has none, or a picture that cannot
            be written.
    """
    header = read_header(config.file)
    _refuse_unfinished(header)
    kind = file_kind(header)
    dtypes: dict[str, int] = {}
    for info in header.tensors.values():
        dtypes[info.dtype] = dtypes.get(info.dtype, 0) + info.count
    result = InspectResult(
        file=str(config.file),
        kind=kind,
        bytes=header.data_start + sum(info.nbytes for info in header.tensors.values()),
        parameters=sum(info.count for info in header.tensors.values()),
        dtypes=dict(sorted(dtypes.items())),
    )
    layers = matching(config.layer, by_layer(header.tensors))
    if kind == "omega":
        return _with_importance(result, header, config, layers)
    _refuse_importance(config, kind)
    result = dataclasses.replace(result, shapes=_layer_shapes(header, layers))
    record = checkpoint_record(header)
    if record is not None:
        return _with_record(result, header, record)
    shapes = {name: info.shape for name, info in header.tensors.items()}
    return dataclasses.replace(result, network=known_network(shapes), exported=_exported(header))


def _refuse_unfinished(header: Header) -> None:
    if VERSION in header.metadata or not any(key.startswith(PREFIX) for key in header.metadata):
        return
    from mascli.files.partial_file import KEY

    if KEY in header.metadata:
        raise CheckpointError(
            f"{printable(header.path)} is unfinished work of train-task or estimate: the same command with --resume "
            "goes on, with --overwrite it starts anew; within a folder of mascli run, the same mascli run goes on"
        )


def _refuse_importance(config: InspectConfig, kind: str) -> None:
    given = {"--histogram": config.histogram, "--top": config.top is not None, "--map": config.map_ is not None}
    given["--plot"] = config.plot is not None
    asked = [flag for flag, is_given in given.items() if is_given]
    if asked:
        what = "a checkpoint" if kind == "checkpoint" else "a file of plain tensors"
        raise UsageError(
            f"{', '.join(asked)}: these show importance, and {printable(config.file)} is {what}; give an omega, which "
            "mascli estimate makes of it"
        )


def _with_importance(
    result: InspectResult, header: Header, config: InspectConfig, layers: tuple[str, ...]
) -> InspectResult:
    """The result with what an omega's values are like."""
    record = _omega_record(header)
    from mascli.importance.filters import layer_map, map_tensor
    from mascli.importance.statistics import file_summary
    from mascli.importance.top import most_important, not_ranked

    if config.map_ is not None:
        map_tensor(header, config.map_)  # a mistake is told at once
    summary, shown = file_summary(header, config.bins), set(layers)
    names = [name for layer, names in by_layer(header.tensors).items() if layer in shown for name in names]
    ranked = most_important(header, names, config.top, config.by, summary.total) if config.top is not None else None
    left_out = not_ranked(header, names, config.by) if ranked is not None and summary.overall.not_finite else 0
    result = dataclasses.replace(
        result,
        omega=record,
        layers=tuple(layer for layer in summary.layers if layer.name in shown),
        statistics=summary.statistics,
        histogram=summary.histogram,
        overall=summary.overall,
        histograms={name: histogram for name, histogram in summary.histograms.items() if name in shown},
        each_histogram=config.histogram,
        top=ranked,
        by=config.by if ranked is not None else None,
        top_left_out=left_out if ranked is not None else None,
        map_=layer_map(header, config.map_) if config.map_ is not None else None,
    )
    if config.plot is not None:
        from mascli.workflows.pictures.of_inspection import draw_inspection

        draw_inspection(result, config.plot, overwrite=config.overwrite)
    return result


def _omega_record(header: Header) -> OmegaRecord:
    """The record of an omega, also of one whose values another tool has rounded."""
    tensors = {
        name: dataclasses.replace(info, dtype="F32") if info.dtype in ROUNDED else info
        for name, info in header.tensors.items()
    }
    return omega_record(dataclasses.replace(header, tensors=tensors))


def _with_record(result: InspectResult, header: Header, record: CheckpointRecord) -> InspectResult:
    """The result with what a checkpoint says about itself."""

    def counted(names: Any) -> int:
        return sum(header.tensors[name].count for name in set(names))

    heads = {task: tensors.values() for task, tensors in record.heads.items()}
    return dataclasses.replace(
        result,
        checkpoint=record,
        parts={
            "shared": counted(record.shared),
            "buffers": counted(record.buffers),
            "heads": counted(name for names in heads.values() for name in names),
            "owned": counted(name for tensors in record.owned.values() for name in tensors.values()),
        },
        heads={
            task.name: {name: header.tensors[its].shape for name, its in record.heads[task.head or task.name].items()}
            for task in record.tasks
        },
    )


def _layer_shapes(header: Header, layers: tuple[str, ...]) -> tuple[LayerShapes, ...]:
    """The tensors of the file by the module that owns them."""
    members = by_layer(header.tensors)
    return tuple(
        LayerShapes(
            name=layer,
            parameters=sum(header.tensors[name].count for name in members[layer]),
            dtypes=tuple(sorted({header.tensors[name].dtype for name in members[layer]})),
            shapes={name.rpartition(".")[2]: header.tensors[name].shape for name in members[layer]},
        )
        for layer in layers
    )


def _exported(header: Header) -> dict[str, Any] | None:
    """What mascli has said of weights that it exported; None of other files, or where it cannot be read any more."""
    try:
        facts = strict_json(header.metadata.get(EXPORT, "null"))
    except ValueError:
        return None
    return dict(facts) if isinstance(facts, Mapping) else None
