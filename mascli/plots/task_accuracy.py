"""The accuracy of each task with its interval, and which classes are taken for which."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mascli.plots.picture import Picture
from mascli.plots.style import GREY, INK, PALETTE, beside, new_figure, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_TASKS, MOST_MATRICES = 60, 12
NUMBERED, NAMED = 20, 40  # classes up to which cells have numbers, and rows names


@dataclass(frozen=True)
class TaskAccuracy:
    """Accuracy of a task in percent, its 95 % interval, and its accuracy before, if that is known."""

    task: str
    accuracy: float
    low: float
    high: float
    before: float | None = None


@dataclass(frozen=True)
class Confusion:
    """Row i, column j: how many images of class i were taken for class j."""

    task: str
    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


def accuracy_picture(title: str, tasks: Sequence[TaskAccuracy], confusions: Sequence[Confusion] = ()) -> Picture:
    """One line a task; under them a matrix of classes for each of `confusions`."""
    shown, matrices = tasks[:MOST_TASKS], confusions[:MOST_MATRICES]
    above = 0.26 * len(shown) + 1.2
    sides = [_side(len(matrix.classes)) + 1.3 for matrix in matrices]
    columns = max(1, min(len(matrices), int(12 / max(sides, default=1))))
    rows = math.ceil(len(matrices) / columns)
    heights = [max(sides[row * columns : (row + 1) * columns]) for row in range(rows)]
    below = sum(heights) + 0.2 * rows
    figure = new_figure(max(7.0, columns * max(sides, default=0) + 0.6), above + below + 0.4)
    figure.suptitle(shortened(title, 76), x=0.01, ha="left")
    panels = figure.subfigures(
        2 if matrices else 1, 1, squeeze=False, height_ratios=(above, below)[: 1 + bool(matrices)]
    )
    if matrices:
        grid = panels[1, 0].subplots(rows, columns, squeeze=False, height_ratios=heights)
        for axes, matrix in zip(grid.flat, matrices, strict=False):
            draw_confusion(axes, matrix)
        for axes in list(grid.flat)[len(matrices) :]:
            axes.set_visible(False)
    draw_accuracies(panels[0, 0].subplots(), shown)
    ends = "; ".join(f"{t.task}: {t.accuracy:.2f} % ({t.low:.2f} to {t.high:.2f})" for t in shown)
    left_out = f" {len(tasks) - len(shown)} more tasks are not drawn." if len(tasks) > len(shown) else ""
    if len(confusions) > len(matrices):
        left_out += f" The matrices of {len(confusions) - len(matrices)} more tasks are not drawn."
    return Picture(figure, title, f"Accuracy by task with 95 % intervals. {ends}.{left_out}")


def draw_accuracies(axes: Axes, tasks: Sequence[TaskAccuracy]) -> None:
    """Draw a point and its interval for each task, from top to bottom; a hollow one for the accuracy before."""
    axes.set_title("accuracy by task")
    places = range(len(tasks))
    axes.hlines(places, [t.low for t in tasks], [t.high for t in tasks], color=PALETTE[0], linewidth=2)
    axes.plot(
        [t.accuracy for t in tasks],
        places,
        linestyle="none",
        marker="o",
        color=PALETTE[0],
        label="accuracy, 95 % interval",
    )
    earlier = [(t.before, place) for place, t in zip(places, tasks, strict=True) if t.before is not None]
    if earlier:
        axes.plot(
            [before for before, _ in earlier],
            [place for _, place in earlier],
            linestyle="none",
            marker="D",
            markerfacecolor="none",
            markeredgecolor=PALETTE[1],
            label="baseline",
        )
    for place, task in zip(places, tasks, strict=True):
        beside(axes, place, f"{task.accuracy:.2f} %", 6)
    lowest = min([t.low for t in tasks] + [before for before, _ in earlier], default=0.0)
    axes.set_xlim(max(10.0 * math.floor(lowest / 10), 0.0) - 1, 101)
    axes.set_yticks(places, [shortened(t.task, 30) for t in tasks])
    axes.set_ylim(max(len(tasks), 1) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("accuracy (%)")
    axes.grid(axis="x")
    if earlier:
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), borderpad=0, fontsize=8, ncols=2)


def draw_confusion(axes: Axes, matrix: Confusion) -> None:
    """Draw what part of each class (a row) was taken for each class (a column), with the numbers of images."""
    count = len(matrix.classes)
    axes.set_title(shortened(matrix.task, 40))
    totals = [sum(row) for row in matrix.counts]
    parts = [[100 * many / (total or 1) for many in row] for row, total in zip(matrix.counts, totals, strict=True)]
    axes.imshow(parts, cmap="Blues", vmin=0, vmax=100, aspect="equal", interpolation="nearest")
    step = math.ceil(count / NAMED)
    names = [shortened(name, 18) for name in matrix.classes][::step]
    size = 8 if count <= NUMBERED else 6
    upright = max(len(name) for name in names) * len(names) > 8 * _side(count)
    axes.set_xticks(range(0, count, step), names, rotation=90 if upright else 0, fontsize=size)
    axes.set_yticks(range(0, count, step), names, fontsize=size)
    axes.tick_params(length=0)
    axes.spines[:].set_color(GREY)
    axes.set_xlabel("taken for")
    axes.set_ylabel("class")
    for own, row in enumerate(matrix.counts if count <= NUMBERED else ()):
        for guess, many in enumerate(row):
            if many:
                colour = "white" if parts[own][guess] > 55 else INK
                axes.text(guess, own, f"{many:,}", ha="center", va="center", fontsize=7, color=colour)


def _side(classes: int) -> float:
    """The inches that the square of a matrix of so many classes takes."""
    return min(max(1.6, 0.3 * classes if classes <= NUMBERED else 0.17 * classes), 7.0)
