"""The result of `mascli evaluate`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mascli.errors import listed
from mascli.reports.evaluate_classes import ClassRow, ConfusedPair, absence, class_sections
from mascli.reports.numbers import count, number, percent, plural
from mascli.reports.report import Check, Facts, Lines, Report, Section, Table, plain

NOT_IN_CSV = ("without_images", "per_class", "confusion")
COMPARED = (
    "lost: images right before and wrong now; gained: wrong before and right now; p: the probability of so uneven a "
    "split by chance alone (McNemar's exact test)"
)


@dataclass(frozen=True)
class TaskRow:
    """Accuracy of one task in percent with its 95 % interval (`low` to `high`); `classes` are those of its folder.

    `baseline` is the checkpoint it is compared with on the same images, `forgetting` the baseline's
    accuracy minus this one in percentage points with its paired 95 % interval, `lost` and `gained`
    the images that only the baseline, and only this one, puts into their class, `p_value` that of
    McNemar's exact test; all None where there is nothing to compare with. `known_classes` are the outputs of
    the head, `without_images` those of them that have no image, `no_answer` the images whose outputs hold nan,
    `top5` (percent) whether the own class is among the five greatest outputs; None for fewer than 6 classes.
    `per_class` and `confusion` are None unless they are asked for; so is `feature_drift`, how far the features that
    the head takes have moved since the baseline, as a part of their length, which comes with a picture.
    `baseline_is_ancestor` False: the checkpoint does not descend from the baseline, so the difference is no forgetting.
    """

    task: str
    folder: str
    classes: int
    images: int
    correct: int
    accuracy: float
    low: float
    high: float
    baseline: str | None = None
    baseline_accuracy: float | None = None
    forgetting: float | None = None
    unreadable: int = 0
    known_classes: int | None = None
    top5: float | None = None
    forgetting_low: float | None = None
    forgetting_high: float | None = None
    lost: int | None = None
    gained: int | None = None
    p_value: float | None = None
    no_answer: int = 0
    without_images: tuple[str, ...] = ()
    per_class: tuple[ClassRow, ...] | None = None
    confusion: tuple[ConfusedPair, ...] | None = None
    feature_drift: float | None = None
    baseline_is_ancestor: bool | None = None


@dataclass(frozen=True)
class Gate:
    """A limit that the user set: `name` is its flag without dashes, `task` the one it was measured on."""

    name: str
    task: str | None
    limit: float
    value: float
    passed: bool


@dataclass(frozen=True)
class EvaluateResult:
    """Accuracy of each task, and whether the limits were met; averages are over the tasks evaluated.

    `notes` were told while it ran: baselines that are left out or are no ancestors, a limit that looks like a
    share, outputs that hold nan. `left_out` are those tasks of `not_evaluated` that were not asked for.
    """

    checkpoint: str
    tasks: tuple[TaskRow, ...]
    average_accuracy: float
    average_forgetting: float | None
    not_evaluated: tuple[str, ...] = ()
    gates: tuple[Gate, ...] = ()
    notes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


def evaluate_report(result: EvaluateResult) -> Report:
    """The report of `mascli evaluate`."""
    sections: tuple[Section, ...] = (
        Facts(tuple(_facts(result))),
        _task_table(result.tasks),
        *_comparison(result.tasks),
        Lines(tuple(_remarks(result.tasks))),
        *(section for row in result.tasks for section in _class_sections(row)),
        *_gate_tables(result.gates),
    )
    done = tuple(Check(f"{row.task}: evaluated", True, f"{percent(row.accuracy)} %") for row in result.tasks)
    gates = tuple(Check(_gate_name(gate), gate.passed, gate_text(gate)) for gate in result.gates)
    unmet = tuple(gate_text(gate) for gate in result.gates if not gate.passed)
    rows = tuple(_csv_rows(result.tasks))
    return Report("evaluate", plain(result), rows, sections, (*done, *gates), unmet, result.notes)


def gate_text(gate: Gate) -> str:
    """One line that says what a gate wanted and what it got."""
    who = f"task {gate.task}" if gate.task is not None else "all tasks"
    about_forgetting = gate.name == "max-forgetting"
    found = f"forgetting {percent(gate.value)} points" if about_forgetting else f"accuracy {percent(gate.value)} %"
    verdict = "meets" if gate.passed else "more than" if about_forgetting else "less than"
    return f"{who}: {found}, {verdict} --{gate.name} {limit_text(gate.limit)}"


def limit_text(value: float) -> str:
    """A limit as short as it can be without becoming another number."""
    return f"{value:g}" if float(f"{value:g}") == value else repr(value)


def p_text(p: float | None) -> str:
    """A p with four decimals, and never as 0; an empty string for None."""
    if p is None:
        return ""
    return "<0.0001" if p < 0.0001 else f"{p:.4f}"


def _facts(result: EvaluateResult) -> Iterator[tuple[str, str]]:
    yield "checkpoint", result.checkpoint
    for name in dict.fromkeys(row.baseline for row in result.tasks):
        if name is not None:
            yield "baseline", name
    yield "average accuracy", f"{percent(result.average_accuracy)} % over {plural(len(result.tasks), 'task')}"
    if result.average_forgetting is not None:
        yield "average forgetting", f"{percent(result.average_forgetting)} points"
    if result.not_evaluated:
        lacking = [name for name in result.not_evaluated if name not in result.left_out]
        parts = [f"{listed(lacking)} (no folder given)"] * bool(lacking)
        parts += [f"{listed(result.left_out)} (left out by --task)"] * bool(result.left_out)
        yield "not evaluated", "; ".join(parts)
    if result.gates:
        unmet = sum(not gate.passed for gate in result.gates)
        total = len(result.gates)
        yield "limits", f"FAILED: {unmet} of {total} not met" if unmet else f"passed: {plural(total, 'limit')} met"


def _remarks(tasks: tuple[TaskRow, ...]) -> Iterator[str]:
    unread = sum(row.unreadable for row in tasks)
    if unread:
        yield f"{plural(unread, 'file')} could not be read"
    for row in tasks:
        if row.without_images and row.known_classes:
            yield absence(row.task, row.without_images, row.known_classes)
        if row.feature_drift is not None:
            yield f"{row.task}: features moved by {number(row.feature_drift)} times their length since the baseline"


def _class_sections(row: TaskRow) -> Iterator[Section]:
    if row.per_class is not None:
        yield from class_sections(row.task, row.per_class, row.confusion or ())


def _csv_rows(tasks: tuple[TaskRow, ...]) -> Iterator[dict[str, Any]]:
    """One row a task; with classes, also one a class, in the same columns under its name."""
    by_class = any(row.per_class is not None for row in tasks)
    for row in tasks:
        whole = {key: value for key, value in plain(row).items() if key not in NOT_IN_CSV}
        header = {"task": row.task, "class": None, **whole, "predicted": None} if by_class else whole
        yield header
        same = {key: whole[key] for key in ("task", "folder", "baseline")}
        for each in row.per_class or ():
            yield {**dict.fromkeys(header), **plain(each), **same}


def _gate_name(gate: Gate) -> str:
    return f"{gate.task}: {gate.name}" if gate.task is not None else gate.name


def _task_table(tasks: tuple[TaskRow, ...]) -> Table:
    columns: tuple[str, ...] = ("task", "classes", "images", "accuracy %", "95 % interval")
    rows: list[tuple[str, ...]] = [
        (
            row.task,
            count(row.classes),
            count(row.images),
            percent(row.accuracy),
            f"{percent(row.low)} to {percent(row.high)}",
        )
        for row in tasks
    ]
    if any(row.top5 is not None for row in tasks):
        columns += ("top-5 %",)
        rows = [(*cells, percent(row.top5)) for cells, row in zip(rows, tasks, strict=True)]
    return Table("accuracy by task", columns, tuple(rows), right=frozenset(columns[1:]))


def _comparison(tasks: tuple[TaskRow, ...]) -> Iterator[Section]:
    """What changed on the same images since the baseline; nothing without one."""
    compared = [row for row in tasks if row.forgetting is not None]
    since = _since(compared)
    columns = ("task", *(("since",) if since else ()), "before %", "forgetting", "95 % interval", "lost", "gained", "p")
    rows = tuple(
        (
            row.task,
            *([since[row.task]] if since else []),
            percent(row.baseline_accuracy),
            percent(row.forgetting),
            f"{percent(row.forgetting_low)} to {percent(row.forgetting_high)}" if row.lost is not None else "",
            count(row.lost) if row.lost is not None else "",
            count(row.gained) if row.gained is not None else "",
            p_text(row.p_value),
        )
        for row in compared
    )
    if rows:
        yield Table("forgetting since the baseline", columns, rows, right=frozenset(columns[1:]) - {"since"})
        yield Lines((COMPARED,))


def _since(compared: list[TaskRow]) -> dict[str, str]:
    """The baseline of each task, marked where it is no ancestor; nothing where one ancestor serves all."""
    names = {row.baseline for row in compared}
    foreign = any(row.baseline_is_ancestor is False for row in compared)
    if len(names) < 2 and not foreign:
        return {}
    return {
        row.task: f"{row.baseline}{' (no ancestor)' if row.baseline_is_ancestor is False else ''}" for row in compared
    }


def _gate_tables(gates: tuple[Gate, ...]) -> tuple[Table, ...]:
    rows = tuple(
        (
            "passed" if gate.passed else "FAILED",
            f"--{gate.name} {limit_text(gate.limit)}",
            gate.task or "all",
            percent(gate.value),
        )
        for gate in gates
    )
    return (Table("limits", ("", "limit", "task", "value"), rows, right=frozenset({"value"})),) if gates else ()
