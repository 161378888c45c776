"""The result of `mascli average`."""

from __future__ import annotations

from dataclasses import dataclass

from mascli.errors import listed
from mascli.reports.numbers import count, number, percent
from mascli.reports.report import Check, Facts, Report, Section, Table, plain


@dataclass(frozen=True)
class TaskSource:
    """A task of the new checkpoint, and the checkpoint that its head came from.

    A head that several tasks use is `averaged` as shared parameters are, and `file` is the newest that has it.
    """

    task: str
    file: str
    averaged: bool = False


@dataclass(frozen=True)
class AverageResult:
    """A checkpoint made from others, by their `weights`, which are together 1.

    `parameters` counts the shared ones. `unweighed` is the share of them (0 to 1) that no omega has an
    importance for, so that they are the plain mean; None where no omega is used.
    """

    out: str
    mode: str
    files: tuple[str, ...]
    omegas: tuple[str, ...]
    weights: tuple[float, ...]
    tasks: tuple[TaskSource, ...]
    parameters: int
    unweighed: float | None = None


def _own_heads(result: AverageResult, file: str) -> list[str]:
    """The tasks whose heads came from `file` as they were."""
    return [task.task for task in result.tasks if task.file == file and not task.averaged]


def average_report(result: AverageResult) -> Report:
    """The report of `mascli average`."""
    rule = "mode, weighed by importance" if result.mode == "mode" else result.mode
    facts = [
        ("checkpoint", result.out),
        ("made from", f"{rule} of {len(result.files)} checkpoints"),
        ("shared parameters", count(result.parameters)),
        ("tasks", listed(task.task for task in result.tasks)),
    ]
    averaged = [task.task for task in result.tasks if task.averaged]
    if averaged:
        facts.append(("averaged heads", f"of {listed(averaged)}"))
    if result.unweighed is not None:
        facts.append(
            ("without importance", f"{percent(100 * result.unweighed)} % of the parameters, which are the mean")
        )
    columns: tuple[str, ...] = ("checkpoint", "weight", "heads of")
    rows: list[tuple[str, ...]] = [
        (file, number(weight), listed(_own_heads(result, file)) or "-")
        for file, weight in zip(result.files, result.weights, strict=True)
    ]
    if result.omegas:
        columns = (*columns, "omega")
        rows = [(*cells, omega) for cells, omega in zip(rows, result.omegas, strict=True)]
    sections: tuple[Section, ...] = (
        Facts(tuple(facts)),
        Table("checkpoints", columns, tuple(rows), right=frozenset({"weight"})),
    )
    payload = plain(result)
    row = {name: payload[name] for name in ("out", "mode", "parameters", "unweighed")}
    row["tasks"] = " ".join(task.task for task in result.tasks)
    return Report("average", payload, (row,), sections, (Check("average", True),))
