"""`mascli inspect FILE OTHER`: how two omegas differ, or what changed between two checkpoints."""

from __future__ import annotations

from mascli.config import InspectConfig
from mascli.errors import listed, printable
from mascli.files.tensor_file import Header
from mascli.importance.change import Change, changed_tensors, changes
from mascli.importance.comparison import SWEEPS, LeftOut, compare_omegas, layers_of
from mascli.observer import Observer
from mascli.records import CheckpointRecord
from mascli.reports.change import BufferChange, CheckpointPairResult, HeadChange
from mascli.reports.comparison import OmegaPairResult
from mascli.reports.numbers import plural
from mascli.workflows.compare_checks import Checkpoints, Omegas
from mascli.workflows.pair_relations import (
    checkpoint_differences,
    common_images,
    lineage_relation,
    omega_differences,
)
from mascli.workflows.pictures.of_inspection import draw_inspection


def compare_files(
    config: InspectConfig, pair: Omegas | Checkpoints, observer: Observer
) -> OmegaPairResult | CheckpointPairResult:
    """Compare two files that belong together.

    Raises:
        CheckpointError: a file has changed while it was read, or has values of a dtype that numpy lacks.
        UsageError: the picture that `--plot` asks for cannot be written.
    """
    result = _omegas(config, pair, observer) if isinstance(pair, Omegas) else _checkpoints(config, pair, observer)
    for note in result.notes:
        observer.note(note)
    if config.plot is not None:
        draw_inspection(result, config.plot, overwrite=config.overwrite)
    return result


def _omegas(config: InspectConfig, pair: Omegas, observer: Observer) -> OmegaPairResult:
    with observer.progress("compare", SWEEPS * len(layers_of(pair.names)), "layers") as advance:
        found = compare_omegas(pair.first, pair.second, pair.names, advance)
    first, second = pair.records
    return OmegaPairResult(
        files=(str(config.file), str(config.other)),
        model=str(first.model),
        images=common_images(pair.first, pair.second, pair.records),
        differences=omega_differences(first, second),
        comparison=found,
        notes=(
            *_choice_notes(config),
            *_left_out_notes(pair.first, found.first_left_out),
            *_left_out_notes(pair.second, found.second_left_out),
        ),
    )


def _choice_notes(config: InspectConfig) -> tuple[str, ...]:
    chosen = listed(config.layer)
    return (f"all figures are of the layers that match {chosen} alone",) if config.layer else ()


def _left_out_notes(header: Header, left_out: LeftOut) -> tuple[str, ...]:
    counts = ((left_out.not_finite, "not finite"), (left_out.negative, "negative"))
    found = [f"{plural(count, 'value')} {'is' if count == 1 else 'are'} {what}" for count, what in counts if count]
    where = printable(header.path)
    return (f"{where}: {' and '.join(found)}, and left out; no importance is like that",) if found else ()


def _checkpoints(config: InspectConfig, pair: Checkpoints, observer: Observer) -> CheckpointPairResult:
    names, buffers = ({name: name for name in group} for group in (pair.names, pair.buffers))
    steps = len(layers_of(pair.names)) + len(buffers)
    with observer.progress("compare", steps, "layers") as advance:
        found = changes(pair.first, pair.second, names, pair.omega, advance)
        moved = [changes(pair.first, pair.second, {name: name}, None, advance).overall for name in buffers]
    relation, descends = lineage_relation(*pair.records) if pair.records else (None, False)
    return CheckpointPairResult(
        kind="checkpoints" if pair.records else "weights",
        files=(str(config.file), str(config.other)),
        model=str(pair.records[0].model) if pair.records else None,
        relation=relation,
        descends=descends,
        differences=checkpoint_differences(*pair.records) if pair.records else (),
        heads=_heads(pair, *pair.records) if pair.records else None,
        overall=found.overall,
        layers=found.layers,
        buffers=tuple(_buffer(name, change) for name, change in zip(buffers, moved, strict=True)),
        omega=str(config.omega) if pair.omega else None,
        notes=(*_choice_notes(config), *_checkpoint_notes(pair, found.overall, found.odd)),
    )


def _heads(pair: Checkpoints, first: CheckpointRecord, second: CheckpointRecord) -> HeadChange:
    """The tasks that were added, are gone, and whose head or other own tensors differ."""
    changed = []
    for task in (name for name in first.task_names if name in second.task_names):
        one, other = (_own(record, task, {*first.own_names, *second.own_names}) for record in (first, second))
        both = {one[name]: other[name] for name in one if name in other}
        if one.keys() != other.keys() or changed_tensors(pair.first, pair.second, both):
            changed.append(task)
    return HeadChange(
        added=tuple(name for name in second.task_names if name not in first.task_names),
        removed=tuple(name for name in first.task_names if name not in second.task_names),
        changed=tuple(changed),
    )


def _own(record: CheckpointRecord, name: str, own_names: set[str]) -> dict[str, str]:
    """The tensors in the file of the head that a task uses, and of what a task may have of its own, by their names."""
    (task,) = (task for task in record.tasks if task.name == name)
    shared = {tensor: tensor for tensor in own_names.intersection((*record.shared, *record.buffers))}
    return {**shared, **record.heads.get(task.head or name, {}), **record.owned.get(name, {})}


def _buffer(name: str, change: Change) -> BufferChange:
    return BufferChange(name, change.parameters, change.changed, change.relative_l2, change.largest, change.not_finite)


def _checkpoint_notes(pair: Checkpoints, overall: Change, odd: int) -> tuple[str, ...]:
    notes = []
    if pair.own:
        notes.append(
            f"{plural(len(pair.own), 'tensor')} of BatchNorm, shared in one file and each task's own in the other, are "
            f"not compared: {listed(pair.own, 3)}"
        )
    if overall.not_finite:
        notes.append(f"{plural(overall.not_finite, 'value')} not finite in one of the files, and left out")
    if pair.omega is not None:
        lacking = [name for name in pair.names if name not in pair.omega.tensors]
        if lacking:
            notes.append(f"the omega says nothing of {listed(lacking, 3)}: importance 0")
        assert pair.records is not None  # an omega is bound to a checkpoint
        other = pair.omega.tensors.keys() - {*pair.records[0].shared} | pair.omega.tensors.keys() & {*pair.own}
        if other:
            what = f"{plural(len(other), 'tensor')} of the omega ({listed(sorted(other), 3)})"
            notes.append(f"{what}: of heads or each task's own, and left out")
    if odd:
        notes.append(f"{plural(odd, 'value')} of the omega negative or not finite: importance 0")
    return tuple(notes)
