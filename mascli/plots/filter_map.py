"""The importance of each filter of one layer, as a block of colour: row by row, in the order of the filters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mascli.plots.style import GREY, SCALE, number_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDEST = 64  # filters in a row


def row_length(filters: int) -> int:
    """How many filters stand in a row: a multiple of 8 that makes the map about four times as wide as it is high."""
    return min(max(8 * math.ceil(math.sqrt(4 * filters) / 8), 8), WIDEST)


def map_height(filters: int) -> float:
    """The inches that the map of so many filters takes, with title and axis."""
    return min(max(0.22 * math.ceil(filters / row_length(filters)), 0.4), 12.0) + 1.1


def draw_filter_map(axes: Axes, importance: Sequence[float | None], title: str) -> None:
    """Draw the filters on a logarithmic scale of colours; zeros have the darkest colour.

    The scale begins at the smallest positive value, or at a millionth of the largest. Filters whose
    importance is None or not finite are empty, with a cross.
    """
    from matplotlib.colors import LogNorm, Normalize

    axes.set_title(title)
    columns = row_length(len(importance))
    rows = max(math.ceil(len(importance) / columns), 1)
    values = np.array(importance, np.float64)  # None is NaN
    positive = values[np.isfinite(values) & (values > 0)]
    norm = Normalize(0, 1)
    if positive.size:
        high = float(positive.max())
        norm = LogNorm(min(max(float(positive.min()), high * 1e-6), high / 2), high)
    cells = np.full(rows * columns, np.nan)
    cells[: values.size] = np.where(np.isfinite(values), np.maximum(values, norm.vmin or 0.0), np.nan)
    image = axes.imshow(cells.reshape(rows, columns), cmap=SCALE, norm=norm, aspect="auto", interpolation="nearest")
    odd = np.flatnonzero(~np.isfinite(values))
    axes.plot(odd % columns, odd // columns, linestyle="none", marker="x", color=GREY, markersize=5)
    axes.set_xticks(range(0, columns, max(columns // 8, 1)))
    starts = range(0, rows, math.ceil(rows / 12))
    axes.set_yticks(starts, [f"{columns * row:,}" for row in starts])
    axes.set_xticks([column - 0.5 for column in range(1, columns)], minor=True)
    axes.set_yticks([row - 0.5 for row in range(1, rows)], minor=True)
    axes.grid(which="minor", color="white", linewidth=0.6)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("filter: number at the left plus this")
    axes.set_ylabel("first filter of the row")
    bar = axes.figure.colorbar(image, ax=axes, label="importance", pad=0.02)
    bar.minorticks_off()
    ticks = np.geomspace(norm.vmin or 1.0, norm.vmax or 1.0, 3).tolist() if positive.size else [0.0]
    bar.set_ticks(ticks, labels=[number_text(tick) for tick in ticks])
