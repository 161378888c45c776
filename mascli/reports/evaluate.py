"""The result of `mascli evaluate`."""

from __future__ import annotations

from dataclasses import dataclass

from mascli.errors import listed
from mascli.reports.numbers import count, percent, plural
from mascli.reports.report import Check, Facts, Lines, Report, Section, Table, plain


@dataclass(frozen=True)
class TaskRow:
    """Accuracy of one task in percent with its 95 % interval (`low` to `high`).

    `baseline` is the checkpoint it is compared with, `forgetting` the baseline's accuracy minus
    this one in percentage points; both None where there is nothing to compare with.
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


@dataclass(frozen=True)
class Gate:
    """A limit that the user set: `name` is its flag without dashes, `task` None for all tasks together."""

    name: str
    task: str | None
    limit: float
    value: float
    passed: bool


@dataclass(frozen=True)
class EvaluateResult:
    """Accuracy of each task, and whether the limits were met; averages are over the tasks evaluated.

    `notes` were told while it ran: baselines that are left out or are no ancestors.
    """

    checkpoint: str
    tasks: tuple[TaskRow, ...]
    average_accuracy: float
    average_forgetting: float | None
    not_evaluated: tuple[str, ...] = ()
    gates: tuple[Gate, ...] = ()
    notes: tuple[str, ...] = ()


def evaluate_report(result: EvaluateResult) -> Report:
    """The report of `mascli evaluate`."""
    facts = [("checkpoint", result.checkpoint)]
    facts += [("baseline", name) for name in dict.fromkeys(row.baseline for row in result.tasks) if name is not None]
    facts.append(("average accuracy", f"{percent(result.average_accuracy)} % over {plural(len(result.tasks), 'task')}"))
    if result.average_forgetting is not None:
        facts.append(("average forgetting", f"{percent(result.average_forgetting)} points"))
    if result.not_evaluated:
        facts.append(("not evaluated", f"{listed(result.not_evaluated)} (no folder given)"))
    unread = sum(row.unreadable for row in result.tasks)
    remarks = (f"{plural(unread, 'file')} could not be read",) if unread else ()
    sections: tuple[Section, ...] = (
        Facts(tuple(facts)),
        _task_table(result.tasks),
        Lines(remarks),
        *_gate_tables(result.gates),
    )
    done = tuple(Check(f"{row.task}: evaluated", True, f"{percent(row.accuracy)} %") for row in result.tasks)
    gates = tuple(Check(_gate_name(gate), gate.passed, gate_text(gate)) for gate in result.gates)
    rows = tuple(plain(row) for row in result.tasks)
    unmet = tuple(gate_text(gate) for gate in result.gates if not gate.passed)
    return Report("evaluate", plain(result), rows, sections, (*done, *gates), unmet, result.notes)


def gate_text(gate: Gate) -> str:
    """One line that says what a gate wanted and what it got."""
    who = f"task {gate.task}" if gate.task is not None else "all tasks"
    about_forgetting = gate.name == "max-forgetting"
    found = f"forgetting {percent(gate.value)} points" if about_forgetting else f"accuracy {percent(gate.value)} %"
    verdict = "meets" if gate.passed else "more than" if about_forgetting else "less than"
    return f"{who}: {found}, {verdict} --{gate.name} {gate.limit:g}"


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
    if any(row.forgetting is not None for row in tasks):
        columns += ("before %", "forgetting")
        before = [(percent(row.baseline_accuracy), percent(row.forgetting)) for row in tasks]
        rows = [cells + more for cells, more in zip(rows, before, strict=True)]
    return Table("accuracy by task", columns, tuple(rows), right=frozenset(columns[1:]))


def _gate_tables(gates: tuple[Gate, ...]) -> tuple[Table, ...]:
    rows = tuple(
        (
            "passed" if gate.passed else "FAILED",
            f"--{gate.name} {gate.limit:g}",
            gate.task or "all",
            percent(gate.value),
        )
        for gate in gates
    )
    return (Table("limits", ("", "limit", "task", "value"), rows, right=frozenset({"value"})),) if gates else ()
