"""The importance of the same parameters in two files: how many pairs lie where, on logarithmic axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mascli.plots.style import GREY, decades, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from mascli.importance.density import Density

GAP, BAND = 0.03, 0.05  # of an axis: between zeros and the smallest positive value, and what zeros take


def draw_scatter(axes: Axes, density: Density, names: tuple[str, str], title: str) -> None:
    """Draw the counts of `density` as colours, with zeros as a band of their own along each axis.

    The axes are common logarithms of importance in the first file (across) and the second (up); the
    line is where both are the same.
    """
    from matplotlib.colors import LogNorm

    axes.set_title(title)
    counts = np.array(density.counts, np.float64)
    across, up = axis_edges(density.first_edges), axis_edges(density.second_edges)
    if not counts.any():
        axes.text(0.5, 0.5, "no values", ha="center", va="center", transform=axes.transAxes, color=GREY)
        return
    mesh = axes.pcolormesh(
        across,
        up,
        np.ma.masked_equal(_with_gaps(counts), 0),
        cmap="viridis_r",
        norm=LogNorm(1, max(counts.max(), 10)),
        rasterized=True,
    )
    bar = axes.figure.colorbar(mesh, ax=axes, label="parameters (logarithmic)", pad=0.02)
    bar.minorticks_off()
    most = math.floor(math.log10(max(counts.max(), 10)))
    ticks, labels = decades(0, most) if most > 1 else ([0.0, 1.0], ["1", "10"])
    bar.set_ticks(
        [10**tick for tick in ticks],
        labels=["1" if tick == 0 else label for tick, label in zip(ticks, labels, strict=True)],
    )
    _axis(axes, "x", density.first_edges, across, f"importance in {shortened(names[0], 40)}")
    _axis(axes, "y", density.second_edges, up, f"importance in {shortened(names[1], 40)}")
    if density.first_edges and density.second_edges:
        low = max(across[2], up[2])
        high = min(across[-1], up[-1])
        if low < high:
            axes.plot([low, high], [low, high], color=GREY, linewidth=1, linestyle="--", label="the same in both")
            axes.legend(loc="upper left", fontsize=8)


def axis_edges(edges: Sequence[float]) -> NDArray[np.float64]:
    """Where the cells of an axis begin and end: the band of zeros, a gap, then the common logarithms of `edges`."""
    if not edges:
        return np.array([0.0, 1.0])
    logs = np.log10(np.array(edges, np.float64))
    if len(edges) == 1:
        logs = np.array([logs[0], logs[0] + 0.1])
    extent = logs[-1] - logs[0]
    return np.concatenate(([logs[0] - (GAP + BAND) * extent, logs[0] - GAP * extent], logs))


def _with_gaps(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """The counts with an empty row and column after those of zeros."""
    for axis in (0, 1):
        if counts.shape[axis] > 1:
            counts = np.insert(counts, 1, 0.0, axis=axis)
    return counts


def _axis(axes: Axes, which: str, edges: Sequence[float], places: NDArray[np.float64], label: str) -> None:
    """Ticks at 0 and at powers of ten."""
    zero = (places[0] + places[1]) / 2
    ticks, labels = decades(float(places[2]), float(places[-1])) if edges else ([], [])
    axes.set(**{f"{which}ticks": [zero, *ticks], f"{which}ticklabels": ["0", *labels], f"{which}label": label})
