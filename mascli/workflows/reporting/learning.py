"""How each task was learned: loss and validation accuracy, epoch by epoch, where the records hold them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from mascli.errors import DataError, printable
from mascli.pages.content import Block, Cell, Column, DataTable, LineChart, Panels, Prose, Section, Series
from mascli.reports.numbers import number, percent
from mascli.reports.train_task import EpochRow
from mascli.typed import build
from mascli.workflows.reporting.finished import Finished
from mascli.workflows.reporting.methods import chosen
from mascli.workflows.reporting.stored_result import hint


@dataclass(frozen=True)
class _Training:
    label: str
    task: str
    style: int
    epochs: tuple[EpochRow, ...]
    strength: Any
    val_accuracy: Any


def learning_section(finished: Finished) -> Section | None:
    """Curves of each task under the first seed, and what each training found; None where no record holds any."""
    trainings = _trainings(finished)
    blocks: list[Block] = []
    if any(training.epochs for training in trainings):
        blocks += _curves(finished, trainings)
    searched = any(method.lambda_ == "auto" for method in finished.result.methods)
    validated = any(training.val_accuracy is not None for training in trainings)
    if searched or validated:
        blocks.append(_table(finished, trainings, validated=validated))
    if not blocks:
        return None
    return Section("learning", "Learning each task", tuple(blocks))


def _table(finished: Finished, trainings: list[_Training], *, validated: bool) -> DataTable:
    columns = [Column("task"), Column("method"), Column("lambda used", "number")]
    columns += [Column("validation accuracy, %", "number")] if validated else []
    rows = tuple(
        (
            Cell(training.task),
            Cell(training.label),
            _number(training.strength, number),
            *([_number(training.val_accuracy, percent)] if validated else []),
        )
        for training in trainings
    )
    return DataTable(f"What each training found, seed {finished.result.seeds[0]}", tuple(columns), rows)


def _trainings(finished: Finished) -> list[_Training]:
    """The trainings of the first seed, the first task once for all methods."""
    trainings, done = [], set[str]()
    for style, method in chosen(finished.result):
        variant = finished.variant(method, finished.result.seeds[0])
        for task, step in zip(finished.result.tasks, variant.steps, strict=True):
            name = f"{step}.train-task"
            record = finished.records.get(name)
            if record is None or record.found is None or name in done:
                continue
            done.add(name)
            first = step == variant.steps[0]
            label, look = ("all methods", len(finished.result.methods)) if first else (method.label, style)
            epochs = _epochs(record.found.get("epochs"), name)
            found = record.found.get("lambda"), record.found.get("val_accuracy")
            trainings.append(_Training(label, task, look, epochs, *found))
    return trainings


def _epochs(value: Any, name: str) -> tuple[EpochRow, ...]:
    problems: list[str] = []
    entries = value if isinstance(value, list) else []
    known = [
        {key: entry[key] for key in EpochRow.__dataclass_fields__ if key in entry}
        for entry in entries
        if isinstance(entry, dict)
    ]
    epochs = [build(EpochRow, entry, "epochs", problems) for entry in known]
    if problems:
        raise DataError(f"the record of step {printable(name)} is damaged: {problems[0]}; {hint()}")
    return tuple(epoch for epoch in epochs if epoch is not None)


def _curves(finished: Finished, trainings: list[_Training]) -> list[Block]:
    seeds, seed = finished.result.seeds, finished.result.seeds[0]
    told = f"Each pass over the images is one point{f', under seed {seed}' if len(seeds) > 1 else ''}."
    validated = any(epoch.val_accuracy is not None for training in trainings for epoch in training.epochs)
    if any(epoch.phase == "head" for training in trainings for epoch in training.epochs):
        told += " Passes h1, h2, ... come first, and teach the new head alone."
    charts = []
    for task in finished.result.tasks:
        own = [training for training in trainings if training.task == task and training.epochs]
        if own:
            charts.append(_chart(f"{task}: training loss", "loss", own, lambda e: Cell(number(e.loss), e.loss)))
        if own and validated:
            charts.append(_chart(f"{task}: validation accuracy", "percent", own, _validation))
    return [Prose((told,)), Panels(tuple(charts))]


def _validation(epoch: EpochRow) -> Cell | None:
    return None if epoch.val_accuracy is None else Cell(percent(epoch.val_accuracy), epoch.val_accuracy)


def _chart(title: str, unit: str, trainings: list[_Training], point: Any) -> LineChart:
    places = _places(trainings)
    lines = []
    for training in trainings:
        points = {(epoch.phase, epoch.epoch): point(epoch) for epoch in training.epochs}
        lines.append(Series(training.label, tuple(points.get(place) for place in places), training.style))
    ends = ", ".join(f"{line.name} {[p for p in line.points if p][-1].text}" for line in lines if any(line.points))
    told = (
        f"{title} after each of up to {len(places)} passes over the images. At the end: {ends or 'nothing measured'}."
    )
    names = tuple(str(number) if phase == "main" else f"h{number}" for phase, number in places)
    return LineChart(title, told, names, tuple(lines), unit, "pass")


def _places(trainings: list[_Training]) -> list[tuple[str, int]]:
    """Every pass that one of the trainings has made, those of the head alone first."""
    found = {(epoch.phase, epoch.epoch) for training in trainings for epoch in training.epochs}
    return sorted(found, key=lambda place: (place[0] != "head", *place))


def _number(value: Any, form: Any) -> Cell:
    if isinstance(value, str):  # infinity, which JSON does not have
        return Cell(value)
    known = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**63
    return Cell(form(float(value)), float(value)) if known or value == math.inf else Cell("")
