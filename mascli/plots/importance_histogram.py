"""The histogram of importance on logarithmic axes, zeros as a bar of their own."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

from mascli.plots.style import GREY, PALETTE, count_axis, decades

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from mascli.importance.statistics import Histogram


def draw_histogram(axes: Axes, histogram: Histogram, title: str) -> None:
    """Draw how many parameters have which importance.

    Bars of positive values stand over the common logarithms of their edges. To their left, apart,
    stand those of values that have no logarithm: exact zeros, and negative or not finite ones if any.
    """
    axes.set_title(title)
    edges = [math.log10(edge) for edge in histogram.edges]
    special = [("0", histogram.zeros), ("below 0", histogram.negative), ("not finite", histogram.not_finite)]
    special = [(label, many) for label, many in special if many]
    low, high = (edges[0], edges[-1]) if edges else (0.0, 0.0)
    extent = high - low or 1.0
    if edges and low == high:  # all positive values are the same
        edges = [low - 0.05, high + 0.05]
    widths = [right - left for left, right in pairwise(edges)]
    axes.bar(
        edges[:-1], histogram.counts, width=widths, align="edge", color=PALETTE[0], edgecolor="white", linewidth=0.5
    )
    start = edges[0] if edges else extent
    places = [start - (0.1 + 0.16 * index) * extent for index in range(len(special))]
    axes.bar(places, [many for _, many in special], width=0.09 * extent, color=[PALETTE[1], GREY, GREY][: len(special)])
    ticks, labels = decades(low, high) if edges else ([], [])
    axes.set_xticks([*places, *ticks], [*(label.replace(" ", "\n") for label, _ in special), *labels])
    axes.tick_params(axis="x", length=3)
    left = min([*places, *edges[:1]], default=0.0) - 0.08 * extent
    axes.set_xlim(left, max([*places, *edges[-1:]], default=1.0) + 0.08 * extent)
    counts = [*histogram.counts, *(many for _, many in special)]
    count_axis(axes, counts)
    axes.set_xlabel("importance Ω (logarithmic)")
    axes.set_ylabel("parameters (logarithmic)")
    if not any(counts):
        axes.text(0.5, 0.5, "no values", ha="center", va="center", transform=axes.transAxes, color=GREY)
