"""The result of `mascli demo`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mascli.reports.matrix import accuracy_matrix
from mascli.reports.numbers import duration, percent
from mascli.reports.report import Chart, Check, Facts, Lines, Report, Section, Table, plain

if TYPE_CHECKING:
    from mascli.importance.statistics import Histogram


@dataclass(frozen=True)
class MethodResult:
    """How one method fared: percent; row i of `accuracy_matrix` is after task i, with i + 1 entries.

    `counts` is the number of test images of each task.
    """

    accuracy_matrix: tuple[tuple[float, ...], ...]
    counts: tuple[int, ...]
    average_accuracy: float
    learning_accuracy: float
    forgetting: float


@dataclass(frozen=True)
class DemoResult:
    """The demo's methods by name ("finetune", "mas"), and the omega that told them apart."""

    out: str
    tasks: tuple[str, ...]
    methods: dict[str, MethodResult]
    histogram: Histogram
    omega: str
    seed: int
    seconds: float
    next_steps: tuple[str, ...] = ()


TITLES = {"finetune": "plain fine-tuning", "mas": "with importance (MAS)"}


def demo_report(result: DemoResult) -> Report:
    """The report of `mascli demo`."""
    sections: list[Section] = [
        accuracy_matrix(f"{TITLES.get(name, name)}: accuracy in %", result.tasks, method.counts, method.accuracy_matrix)
        for name, method in result.methods.items()
    ]
    sections.append(_summary(result.methods))
    sections.append(Chart("importance with which the last task was learned, on logarithmic scales", result.histogram))
    sections.append(
        Facts(
            (
                ("files", f"{result.out} (the last omega: {result.omega})"),
                ("took", f"{duration(result.seconds)}, seed {result.seed}"),
            )
        )
    )
    sections.append(Lines(tuple(f"  {step}" for step in result.next_steps), "what to try next"))
    payload = {name: _numbers(method) for name, method in result.methods.items()}
    rows = tuple(
        {
            "method": name,
            "after": result.tasks[i],
            "task": task,
            "images": method.counts[j],
            "accuracy": row[j],
        }
        for name, method in result.methods.items()
        for i, row in enumerate(method.accuracy_matrix)
        for j, task in enumerate(result.tasks[: len(row)])
    )
    checks = tuple(Check(f"demo: {name}", True) for name in result.methods)
    return Report("demo", {"methods": payload}, rows, tuple(sections), checks)


def _summary(methods: Mapping[str, MethodResult]) -> Table:
    rows = tuple(
        (
            TITLES.get(name, name),
            percent(method.average_accuracy),
            percent(method.learning_accuracy),
            percent(method.forgetting),
        )
        for name, method in methods.items()
    )
    columns = ("method", "average\naccuracy %", "right after\nlearning %", "forgetting\n(points)")
    return Table("after all tasks", columns, rows, right=frozenset(columns[1:]))


def _numbers(method: MethodResult) -> dict[str, Any]:
    names = ("average_accuracy", "learning_accuracy", "forgetting", "accuracy_matrix")
    return {name: plain(getattr(method, name)) for name in names}
