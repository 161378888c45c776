"""Horizontal bars, one a layer, the largest first: parts of a whole with the rest summed, or sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mascli.plots.style import GREY, PALETTE, beside, percent_decimals, percent_text, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST = 20


@dataclass(frozen=True)
class LayerPart:
    """A share (0 to 1) that belongs to a layer, None or NaN if it is unknown, and its part of all parameters.

    `is_rest`: this bar stands for many layers.
    """

    name: str
    part: float | None
    parameters: float | None = None
    is_rest: bool = False

    @property
    def size(self) -> float:
        """The length of the bar, in percent; unknown: 0."""
        return 100 * self.part if self.part is not None and math.isfinite(self.part) else 0.0


def largest(layers: Sequence[LayerPart], most: int = MOST, *, summed: bool = True) -> tuple[LayerPart, ...]:
    """The `most` bars with the largest parts, by falling part; `summed`: the last one is the sum of all others."""
    ordered = sorted(layers, key=lambda layer: -layer.size)
    if len(ordered) <= most or not summed:
        return tuple(ordered[:most])
    rest = ordered[most - 1 :]
    name = f"{len(rest):,} other layers"
    size, parameters = math.fsum(layer.size for layer in rest), math.fsum(layer.parameters or 0.0 for layer in rest)
    return (*ordered[: most - 1], LayerPart(name, size / 100, parameters, is_rest=True))


def bar_decimals(bars: Sequence[LayerPart]) -> int:
    """The decimals of the percent that the longest bar needs."""
    return percent_decimals(max((bar.size for bar in bars), default=0.0) / 100)


def bars_height(bars: int) -> float:
    """The inches that so many bars take, with title and axis."""
    return 0.22 * bars + 1.2


def draw_layer_bars(axes: Axes, bars: Sequence[LayerPart], title: str, label: str) -> None:
    """Draw the parts as bars from top to bottom, each with its number; a tick shows the part of the parameters."""
    axes.set_title(title)
    places = range(len(bars))
    colours = [GREY if bar.is_rest else PALETTE[0] for bar in bars]
    axes.barh(places, [bar.size for bar in bars], height=0.72, color=colours)
    known = [(100 * bar.parameters, place) for place, bar in enumerate(bars) if bar.parameters is not None]
    if known:
        sizes, where = zip(*known, strict=True)
        axes.plot(
            sizes,
            where,
            linestyle="none",
            marker="|",
            markersize=9,
            markeredgewidth=2,
            color=PALETTE[1],
            label="part of the parameters",
        )
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), borderpad=0, fontsize=8, handletextpad=0.2)
    widest = max([*(max(bar.size, 100 * (bar.parameters or 0.0)) for bar in bars), 1e-9])
    decimals = bar_decimals(bars)
    for place, bar in enumerate(bars):
        told = percent_text(bar.part, decimals) if bar.part is not None and math.isfinite(bar.part) else "unknown"
        beside(axes, place, told, 4)
    axes.set_yticks(places, [shortened(bar.name) for bar in bars])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(max(len(bars), 5) - 0.4, -0.6)
    axes.set_xlim(0, 1.04 * widest)
    axes.set_xlabel(label)
    axes.grid(axis="x")
