"""The picture of a whole run: the accuracy matrix of each method, and accuracy over the sequence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mascli.plots.accuracy_matrix import MethodMatrix, colour_floor, draw_matrix, matrix_side
from mascli.plots.accuracy_sequence import Course, draw_courses
from mascli.plots.picture import Picture
from mascli.plots.style import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import SubFigure

MOST_MATRICES, MOST_TASKS = 12, 35
ACROSS = 11.0  # inches that panels may take side by side, before a new row begins


def run_picture(
    title: str,
    tasks: Sequence[str],
    matrices: Sequence[MethodMatrix],
    average: Sequence[Course],
    by_task: Mapping[str, Sequence[Course]],
    seeds: int,
) -> Picture:
    """Matrices above, lines below: the average of the tasks learned so far, and every task by itself.

    Args:
        tasks: all tasks, in the order learned.
        matrices: one a method, the mean over seeds.
        average: one line a method.
        by_task: task -> one line a method, from the moment it is learned.
    """
    shown, drawn = matrices[:MOST_MATRICES], dict(list(by_task.items())[:MOST_TASKS])
    side = matrix_side(len(tasks))
    matrix_columns = min(len(shown), max(2, int(ACROSS // (side + 1.2))))
    line_columns = min(1 + len(drawn), 4 if side < 5 else 6)
    width = max(matrix_columns * (side + 1.4) + 0.9, 2.9 * line_columns, 5.2)
    above = math.ceil(len(shown) / matrix_columns) * (side + 1.35) + 0.3
    below = math.ceil((1 + len(drawn)) / line_columns) * 2.1 + 0.75 + 0.2 * math.ceil(len(average) / 3)
    figure = new_figure(width, above + below + 0.4)
    title += f", the first {len(shown)} of {len(matrices)} methods as matrices" if len(shown) < len(matrices) else ""
    title += f", lines of the first {len(drawn)} tasks" if len(drawn) < len(by_task) else ""
    figure.suptitle(title, x=0.01, ha="left")
    panels = figure.subfigures(2, 1, squeeze=False, height_ratios=(above, below))
    _draw_matrices(panels[0, 0], tasks, shown, matrix_columns)
    _draw_lines(panels[1, 0], tasks, average, drawn, line_columns, seeds)
    return Picture(figure, title, _described(tasks, average, seeds))


def _draw_matrices(panel: SubFigure, tasks: Sequence[str], methods: Sequence[MethodMatrix], columns: int) -> None:
    grid = panel.subplots(math.ceil(len(methods) / columns), columns, squeeze=False)
    floor = colour_floor(methods)
    for axes, method in zip(grid.flat, methods, strict=False):
        draw_matrix(axes, method, tasks, floor)
    for axes in list(grid.flat)[len(methods) :]:
        axes.set_visible(False)
    images = [image for axes in grid.flat for image in axes.images]
    panel.colorbar(images[0], ax=list(grid.flat), label="accuracy (%)", shrink=0.8, aspect=25, pad=0.02)


def _draw_lines(
    panel: SubFigure,
    tasks: Sequence[str],
    average: Sequence[Course],
    by_task: Mapping[str, Sequence[Course]],
    columns: int,
    seeds: int,
) -> None:
    panels = {"average of the tasks so far": average, **by_task}
    grid = panel.subplots(math.ceil(len(panels) / columns), columns, squeeze=False, sharex=True, sharey=True)
    low = _lowest(panels)
    for axes, (name, courses) in zip(grid.flat, panels.items(), strict=False):
        draw_courses(axes, courses, len(tasks), name, low)
        axes.tick_params(labelbottom=True)
    for axes in list(grid.flat)[len(panels) :]:
        axes.set_visible(False)
    spread = ", bars: 95 % interval of the mean over seeds" if seeds > 1 else ""
    panel.supxlabel(f"tasks learned{spread}", fontsize=9)
    panel.supylabel("accuracy (%)", fontsize=9)
    handles, labels = grid.flat[0].get_legend_handles_labels()
    panel.legend(handles, labels, loc="outside upper left", ncols=min(3, len(labels)), fontsize=8)


def _lowest(panels: Mapping[str, Sequence[Course]]) -> float:
    """Where the axes of accuracy begin: below all that is drawn, at a multiple of ten, never below 0."""
    courses = [course for group in panels.values() for course in group]
    lows = [value for course in courses for value in course.means]
    lows += [span[0] for course in courses for span in course.intervals if span is not None]
    finite = [value for value in lows if math.isfinite(value)]
    return min(max(10.0 * math.floor((min(finite, default=0.0) - 1) / 10), 0.0), 80.0)


def _described(tasks: Sequence[str], average: Sequence[Course], seeds: int) -> str:
    ends = "; ".join(f"{course.label}: {course.means[-1]:.2f} %" for course in average)
    text = f"Accuracy matrices and accuracy over the sequence {', '.join(tasks)}. Average after the last task: {ends}."
    return f"{text} Means over {seeds} seeds." if seeds > 1 else text
