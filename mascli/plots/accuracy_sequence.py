"""Accuracy over the sequence: the average of the tasks learned so far, and each task, one line a method."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mascli.plots.style import series_style, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Course:
    """An accuracy (percent) of one method from task `first` (0 is the first) on: after each task learned.

    `intervals` are those of the mean over seeds (low, high); None: there is one seed.
    """

    label: str
    first: int
    means: tuple[float, ...]
    intervals: tuple[tuple[float, float] | None, ...]


def draw_courses(axes: Axes, courses: Sequence[Course], tasks: int, title: str, low: float) -> None:
    """Draw one line a method over 1 to `tasks` tasks learned, with a bar at each point from low to high.

    Lines of different methods are shifted a little, so that their bars stand beside each other.
    """
    axes.set_title(shortened(title, 28))
    for index, course in enumerate(courses):
        colour, marker, dash = series_style(index)
        shift = 0.0 if tasks == 1 else 0.05 * (index - (len(courses) - 1) / 2) / max(len(courses) / 4, 1)
        places = [course.first + 1 + number + shift for number in range(len(course.means))]
        axes.plot(
            places,
            course.means,
            color=colour,
            marker=marker,
            linestyle=dash,
            markersize=4,
            linewidth=1.4,
            label=shortened(course.label, 40),
        )
        ends = [(place, *span) for place, span in zip(places, course.intervals, strict=True) if span is not None]
        if ends:
            where, lows, highs = zip(*ends, strict=True)
            axes.vlines(where, lows, highs, color=colour, linewidth=1.2)
    axes.set_xlim(0.6, tasks + 0.4)
    axes.set_ylim(low, 101.5)
    step = math.ceil(tasks / 10)
    axes.set_xticks(range(1, tasks + 1, step))
    axes.grid(axis="y")
