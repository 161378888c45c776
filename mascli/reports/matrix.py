"""The accuracy matrix: how well each task is known after each task learned."""

from __future__ import annotations

from collections.abc import Sequence

from mascli.reports.numbers import percent
from mascli.reports.report import Table


def accuracy_matrix(
    title: str, tasks: Sequence[str], counts: Sequence[int], matrix: Sequence[Sequence[float]]
) -> Table:
    """Rows: after learning a task; columns: the tasks with their number of test images; percent."""
    columns = tuple(f"{task}\nn={images}" for task, images in zip(tasks, counts, strict=True))
    rows = tuple(
        (task, *(percent(value) for value in row), *("" for _ in range(len(tasks) - len(row))))
        for task, row in zip(tasks, matrix, strict=True)
    )
    return Table(title, ("after\nlearning", *columns), rows, right=frozenset(columns))
