"""The accuracy matrix of a method as a heat map with numbers: row i after learning task i, one column a task."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mascli.plots.style import INK, SCALE, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DETAILED, NUMBERED = 8, 40  # tasks up to which a cell has room for a decimal, and for a number at all


@dataclass(frozen=True)
class MethodMatrix:
    """The accuracies (percent) of a method: row i has those of tasks 0 to i after learning task i."""

    label: str
    rows: tuple[tuple[float, ...], ...]


def matrix_side(tasks: int) -> float:
    """The inches that the square of a matrix of so many tasks takes."""
    return min(max(1.3, 0.46 * min(tasks, DETAILED), 0.21 * tasks), 0.21 * NUMBERED)


def draw_matrix(axes: Axes, method: MethodMatrix, tasks: Sequence[str], low: float) -> None:
    """Draw one matrix on a scale of colours from `low` to 100 %; a task not learned yet has an empty cell."""
    axes.set_title(shortened(method.label, 40))
    count = len(tasks)
    values = [[*row, *(math.nan for _ in range(count - len(row)))] for row in method.rows]
    axes.imshow(values, cmap=SCALE, vmin=low, vmax=100, aspect="equal", interpolation="nearest")
    names = [shortened(task, 16) for task in tasks]
    step = math.ceil(count / NUMBERED)
    size = 9 if count <= DETAILED else 7
    axes.set_xticks(range(0, count, step), names[::step], rotation=90 if _crowded(names) else 0, fontsize=size)
    axes.set_yticks(range(0, count, step), names[::step], fontsize=size)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("task")
    axes.set_ylabel("after learning")
    for after, row in enumerate(method.rows if count <= NUMBERED else ()):
        for task, value in enumerate(row):
            axes.text(
                task,
                after,
                _cell(value, count),
                ha="center",
                va="center",
                fontsize=8 if count <= DETAILED else 6.5,
                color="white" if value < (low + 100) / 2 else INK,
            )


def colour_floor(methods: Sequence[MethodMatrix]) -> float:
    """Where the scale of colours begins: the lowest accuracy of all, down to the next ten, and 10 points at least."""
    values = [value for method in methods for row in method.rows for value in row if math.isfinite(value)]
    return min(max(10.0 * math.floor(min(values, default=0.0) / 10), 0.0), 90.0)


def _cell(value: float, tasks: int) -> str:
    return f"{value:.1f}" if tasks <= DETAILED else f"{value:.0f}"


def _crowded(names: Sequence[str]) -> bool:
    """Whether names would touch each other if they stood side by side."""
    return len(names) > DETAILED or max(len(name) for name in names) * len(names) > 30
