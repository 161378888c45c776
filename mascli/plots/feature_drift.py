"""How the learned features of the same images have moved: before and after, on the same two axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mascli.plots.picture import Picture
from mascli.plots.style import GREY, MARKERS, PALETTE, new_figure, number_text, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

    Points = NDArray[np.float64]

MOST_TASKS, MOST_CLASSES, MOST_POINTS = 30, 14, 3000


@dataclass(frozen=True)
class FeatureMove:
    """The features of the images of a task before and after, each [N, 2], and what class [N] each image is of.

    `drift` is the mean distance moved as a part of the mean length, in all dimensions; `shown` are the
    parts (0 to 1) of the variance before that the two axes show.
    """

    task: str
    before: Points
    after: Points
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    drift: float
    shown: tuple[float, float]


def drift_picture(title: str, moves: Sequence[FeatureMove]) -> Picture:
    """Two panels a task, side by side: before and after."""
    drawn = moves[:MOST_TASKS]
    pairs = 1 if len(drawn) <= 3 else 2 if len(drawn) <= 12 else 3
    rows = math.ceil(len(drawn) / pairs)
    figure = new_figure(7.6 * pairs, 3.4 * rows + 0.5)
    figure.suptitle(shortened(title, 76), x=0.01, ha="left")
    panels = figure.subfigures(rows, pairs, squeeze=False)
    for panel, move in zip(panels.flat, drawn, strict=False):
        draw_move(panel, move)
    text = "; ".join(f"{move.task}: features {drift_text(move.drift)}" for move in drawn)
    left_out = f" {len(moves) - len(drawn)} more tasks are not drawn." if len(moves) > len(drawn) else ""
    return Picture(
        figure, title, f"Features of the same images before and after, projected to two axes. {text}.{left_out}"
    )


def drift_text(drift: float) -> str:
    """What is told of the distance moved."""
    return "not finite" if math.isnan(drift) else f"moved by {number_text(drift)} times their length"


def draw_move(panel: SubFigure, move: FeatureMove) -> None:
    """Draw the points before and after on the same axes, one colour and marker a class."""
    panel.suptitle(f"{shortened(move.task, 30)}: {drift_text(move.drift)}", fontsize=10, x=0.02, ha="left")
    left, right = panel.subplots(1, 2, sharex=True, sharey=True)
    chosen = np.linspace(0, len(move.labels) - 1, min(len(move.labels), MOST_POINTS)).astype(int)
    groups = class_groups(move.labels, move.classes)
    for axes, points, name in ((left, move.before, "before"), (right, move.after, "after")):
        axes.set_title(name)
        _draw_points(axes, points[chosen], move.labels[chosen], groups)
        axes.set_xlabel(f"1st axis ({100 * move.shown[0]:.0f} % of variance before)", fontsize=8)
        axes.grid()
    left.set_ylabel(f"2nd axis ({100 * move.shown[1]:.0f} %)", fontsize=8)
    handles, labels = left.get_legend_handles_labels()
    if handles:
        panel.legend(handles, labels, loc="outside right center", fontsize=7, title="class", title_fontsize=8)


def class_groups(labels: NDArray[np.int64], classes: Sequence[str]) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """The classes that get a colour of their own, those with most images; the others are one group at the end."""
    counts = np.bincount(labels, minlength=len(classes))
    present = [number for number in range(len(classes)) if counts[number]]
    if len(present) <= MOST_CLASSES:
        return tuple((classes[number], (number,)) for number in present)
    chosen = sorted(sorted(present, key=lambda number: (-counts[number], number))[: MOST_CLASSES - 1])
    rest = tuple(number for number in present if number not in chosen)
    return (*((classes[number], (number,)) for number in chosen), (f"{len(rest):,} others", rest))


def _draw_points(
    axes: Axes, points: Points, labels: NDArray[np.int64], groups: Sequence[tuple[str, tuple[int, ...]]]
) -> None:
    for index, (name, members) in enumerate(groups):
        own = points[np.isin(labels, members)]
        # seven colours, then the same again with hollow points
        colour = GREY if len(members) > 1 else PALETTE[index % 7]
        hollow = index >= 7 and len(members) == 1
        axes.scatter(
            own[:, 0],
            own[:, 1],
            s=14,
            marker="." if len(members) > 1 else MARKERS[index % 7],
            facecolors="none" if hollow else colour,
            edgecolors=colour if hollow else "none",
            linewidths=0.9,
            alpha=0.8,
            label=shortened(name, 18),
            rasterized=len(points) > 1000,
            zorder=1 if len(members) > 1 else 2,
        )
