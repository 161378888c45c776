"""From what a run has found to its picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from mascli.errors import printable
from mascli.evaluation.metrics import mean_interval
from mascli.plots.accuracy_matrix import MethodMatrix
from mascli.plots.accuracy_sequence import Course
from mascli.plots.picture import Picture, write_picture
from mascli.plots.run_picture import run_picture
from mascli.reports.run import MethodRun, RunResult


def draw_run(result: RunResult, path: Path, *, overwrite: bool) -> None:
    """Draw the accuracy matrix of each method, and accuracy over the sequence.

    Of a method with several strengths, the one that stands for it is drawn, as in the report.

    Raises:
        UsageError: `path` is taken or cannot be written.
    """
    write_picture(lambda: picture_of_run(result), path, overwrite=overwrite)


def picture_of_run(result: RunResult) -> Picture:
    """The picture of a run: it depends on accuracies, names and seeds only."""
    methods = [method for method in result.methods if method.chosen]
    seeds = f", mean over {len(result.seeds)} seeds" if len(result.seeds) > 1 else ""
    return run_picture(
        f"accuracy over {len(result.tasks)} task{'s' if len(result.tasks) > 1 else ''}{seeds}",
        tuple(printable(task) for task in result.tasks),
        [MethodMatrix(method.title, method.accuracy_matrix) for method in methods],
        [average_course(method) for method in methods],
        {task: [task_course(method, number) for method in methods] for number, task in enumerate(result.tasks)},
        len(result.seeds),
    )


def average_course(method: MethodRun) -> Course:
    """The average accuracy over the tasks learned so far, after each of them, with its interval over seeds."""
    rows = range(len(method.accuracy_matrix))
    return _course(method.title, 0, [[fmean(run.accuracy_matrix[row]) for run in method.seeds] for row in rows])


def task_course(method: MethodRun, task: int) -> Course:
    """The accuracy on one task from the moment it was learned, with its interval over seeds."""
    rows = range(task, len(method.accuracy_matrix))
    return _course(method.title, task, [[run.accuracy_matrix[row][task] for run in method.seeds] for row in rows])


def _course(label: str, first: int, values: Sequence[Sequence[float]]) -> Course:
    """A line through the means of `values`, which has the value of each seed for each point."""
    return Course(label, first, tuple(fmean(v) for v in values), tuple(mean_interval(v) for v in values))
