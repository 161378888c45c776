"""Where the numbers come from: the model, the settings, the file that each file came from, and the versions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from mascli import __version__
from mascli.errors import CheckpointError, listed, printable
from mascli.files.records_json import checkpoint_record
from mascli.files.tensor_file import read_header
from mascli.pages.content import Block, Cell, Column, DataTable, Facts, Folded, Listing, Prose, Section
from mascli.records import CheckpointRecord, Preprocessing
from mascli.reports.numbers import count
from mascli.workflows.reporting.finished import Finished
from mascli.workflows.reporting.importance import omegas_of
from mascli.workflows.reporting.written_files import WrittenFile, WrittenFiles

SHOWN_CLASSES, SHOWN_VALUES = 12, 4


def settings_section(finished: Finished, files: WrittenFiles) -> Section:
    """The model, the tasks with their classes, the settings of every training as they were settled, and the file.

    Raises:
        CheckpointError: a checkpoint is damaged.
    """
    records = dict(_trained(finished, files))
    blocks: list[Block] = [Facts(tuple(_facts(finished, list(records.values()))))]
    if records:
        blocks += [_tasks(finished, records), _trainings(records)]
    else:
        blocks.append(Prose(("The checkpoints are not in the folder any more, so their settings are not known.",)))
    if finished.sequence_text is not None:
        blocks.append(Folded("The sequence, as mascli run was given it", (Listing(finished.sequence_text),)))
    return Section("settings", "Settings", tuple(blocks))


def lineage_section(finished: Finished, files: WrittenFiles) -> Section:
    """A row for each file that the steps have written: what it came from, and the importance that was used."""
    columns = (
        Column("file", "code"),
        Column("made by", "code"),
        Column("from", "code"),
        Column("importance used", "code"),
        Column("sha256", "hash"),
        Column("images", "hash"),
    )
    rows = tuple(_row(finished, files, file) for file in files)
    told = (
        "Files are named by their place in the folder, and known by the sha256 of their content when they were "
        "written. The column images has a hash over all images that a step read; it does not change with their place."
    )
    return Section("lineage", "Lineage", (Prose((told,)), DataTable("Files, and what they came from", columns, rows)))


def versions_section(finished: Finished) -> Section:
    """Which versions of mascli have made what is shown."""
    known = sorted({record.version for record in finished.records.values() if record.version})
    rows = (
        ("steps", ", ".join(f"mascli {version}" for version in known) or "not known"),
        ("this page", f"mascli {__version__}"),
    )
    return Section("versions", "Versions", (Facts(rows),))


def _trained(finished: Finished, files: WrittenFiles) -> Iterator[tuple[str, CheckpointRecord]]:
    """What the checkpoints that are still there say about themselves, by the step that wrote them."""
    for file in files:
        if not file.step.endswith(".train-task") or not files.is_there(file) or file.place.endswith(".omega"):
            continue
        path = files.path(file)
        record = checkpoint_record(read_header(path))
        if record is None:
            raise CheckpointError(
                f"{printable(path)} is no checkpoint of mascli, though step {printable(file.step)} wrote one"
            )
        yield file.step.removesuffix(".train-task"), record


def _facts(finished: Finished, records: list[CheckpointRecord]) -> Iterator[tuple[str, str]]:
    result = finished.result
    if records:
        model = records[0].model
        arguments = ", ".join(f"{key}={_shown(value)}" for key, value in model.arguments.items())
        yield "model", f"{model}{f' ({arguments})' if arguments else ''}"
        yield "images", _prepared(records[0].preprocessing)
    yield "methods", "; ".join(method.label for method in result.methods)
    yield "seeds", ", ".join(map(str, result.seeds))
    yield "steps", count(len(finished.records))


def _prepared(prepared: Preprocessing) -> str:
    height, width = prepared.size
    ways = {"none": "as they are", "squash": "whatever their proportions", "shorter": "the middle of them"}
    colours = "grey" if prepared.channels == 1 else "colour"
    return f"{height} x {width} pixels, {ways[prepared.resize]}, {colours}, {prepared.interpolation}"


def _tasks(finished: Finished, records: dict[str, CheckpointRecord]) -> DataTable:
    classes = {task.name: task.classes for record in records.values() for task in record.tasks}
    rows = tuple(
        (Cell(task), Cell(count(images), float(images)), Cell(listed(classes.get(task, ()), SHOWN_CLASSES)))
        for task, images in zip(finished.result.tasks, finished.result.images, strict=True)
    )
    return DataTable(
        "Tasks, in the order learned", (Column("task"), Column("test images", "number"), Column("classes")), rows
    )


def _trainings(records: dict[str, CheckpointRecord]) -> DataTable:
    """A row for each setting of the trainings, with its value; where they differ, each value with its steps."""
    settings = {step: record.lineage[-1].settings for step, record in records.items()}
    names = sorted({name for found in settings.values() for name in found})
    rows = []
    for name in names:
        values: dict[str, list[str]] = {}
        for step, found in settings.items():
            values.setdefault(_shown(found[name]) if name in found else "not set", []).append(step)
        rows.append((Cell(name.replace("_", "-")), Cell(_told(values))))
    caption = f"Settings of all {len(settings)} trainings, as they were settled"
    return DataTable(caption, (Column("setting"), Column("value")), tuple(rows))


def _told(values: dict[str, list[str]]) -> str:
    """The value of all trainings; where they differ, the commonest ones, each with its trainings."""
    if len(values) == 1:
        return next(iter(values))
    common = sorted(values.items(), key=lambda item: -len(item[1]))
    told = "; ".join(f"{value} in {len(steps)} ({listed(steps, 2)})" for value, steps in common[:SHOWN_VALUES])
    return told + (f"; and {len(common) - SHOWN_VALUES} other values" if len(common) > SHOWN_VALUES else "")


def _row(finished: Finished, files: WrittenFiles, file: WrittenFile) -> tuple[Cell, ...]:
    record = finished.records[file.step]
    gone = "" if files.is_there(file) else " (not there any more)"
    used = [*omegas_of(record), record.read.get("previous")]
    used += [sha for key, sha in record.read.items() if key.startswith("omegas.")]
    images = [sha for key, sha in record.read.items() if key == "data" or key.startswith("data.")]
    command = record.settings.get("command")
    return (
        Cell(file.place + gone),
        Cell(command if isinstance(command, str) else ""),
        Cell(_place(files, record.read.get("checkpoint") or record.read.get("weights"), file.step)),
        Cell(", ".join(_place(files, sha, file.step) for sha in used if sha) or _uniform(record.settings)),
        Cell(file.sha256),
        Cell(", ".join(sha for sha in images if sha)),
    )


def _place(files: WrittenFiles, sha256: str | None, near: str) -> str:
    """The file of this content, or its hash where no step has written it."""
    if sha256 is None:
        return ""
    found = files.of(sha256, near)
    return found.place if found is not None else f"{sha256[:12]}, from outside"


def _uniform(settings: dict[str, Any]) -> str:
    return "uniform" if settings.get("omega") == "uniform" else ""


def _shown(value: Any) -> str:
    """A setting as a user would write it."""
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)
