"""The pictures of `mascli inspect`: an omega, two omegas, and what changed between two checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mascli.plots.filter_map import draw_filter_map, map_height
from mascli.plots.importance_histogram import draw_histogram
from mascli.plots.importance_scatter import draw_scatter
from mascli.plots.layer_bars import LayerPart, bar_decimals, bars_height, draw_layer_bars, largest
from mascli.plots.picture import Picture
from mascli.plots.style import new_figure, percent_text, shortened

if TYPE_CHECKING:
    from mascli.importance.density import Density
    from mascli.importance.statistics import Histogram


@dataclass(frozen=True)
class FilterMap:
    """The importance of each filter of one layer, summed over its parameters; None: not finite."""

    layer: str
    importance: tuple[float | None, ...]


def omega_picture(
    title: str, histogram: Histogram, layers: Sequence[LayerPart], filter_map: FilterMap | None = None
) -> Picture:
    """The histogram of all importance, the part of each layer, and under them the map of one layer if it is given."""
    bars = largest(layers)
    above = max(bars_height(len(bars)), 3.4)
    below = 0.0 if filter_map is None else map_height(len(filter_map.importance))
    figure = new_figure(11, above + below + 0.4)
    figure.suptitle(shortened(title, 100), x=0.01, ha="left")
    heights = (above,) if filter_map is None else (above, below)
    panels = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)
    left, right = panels[0, 0].subplots(1, 2)
    draw_histogram(left, histogram, "how many parameters have which importance")
    draw_layer_bars(right, bars, "importance by layer", "part of all importance (%)")
    text = f"Exactly 0: {histogram.zeros:,} parameters. Largest layers: {_listed(bars)}."
    if filter_map is not None:
        name = f"{shortened(filter_map.layer, 60)}: importance of each of {len(filter_map.importance):,} filters"
        draw_filter_map(panels[1, 0].subplots(), filter_map.importance, name)
        text += f" Map of the filters of {filter_map.layer}."
    return Picture(figure, title, f"Histogram of importance, and its parts by layer. {text}")


def scatter_picture(title: str, names: tuple[str, str], density: Density, facts: Sequence[tuple[str, str]]) -> Picture:
    """The importance of the same parameters in two omegas, and beside it what was measured of the two."""
    figure = new_figure(7.6, 6.0)
    figure.suptitle(shortened(title, 76), x=0.01, ha="left")
    said = [f"{label} {value}" for label, value in facts]
    lines = ["   ".join(said[start : start + 3]) for start in range(0, len(said), 3)]
    draw_scatter(figure.subplots(), density, names, "\n".join(lines))
    text = f"Importance in {names[0]} (across) against {names[1]} (up)."
    return Picture(figure, title, f"{text} {'; '.join(said)}.")


def change_picture(
    title: str, changed: Sequence[LayerPart], weighed: Sequence[LayerPart], facts: Sequence[tuple[str, str]]
) -> Picture:
    """How much each layer changed, and, where `weighed` has layers, its part of the change weighed by importance."""
    panels = [
        (largest(changed, summed=False), _most(changed, "change of each layer"), "length of the change / length (%)")
    ]
    if weighed:
        panels.append((largest(weighed), "change weighed by importance", "part of all weighed change (%)"))
    height = max(bars_height(len(bars)) for bars, _, _ in panels)
    figure = new_figure(7 * len(panels), max(height, 2.0) + 0.2 * len(facts) + 0.5)
    said = [f"{label}: {value}" for label, value in facts]
    figure.suptitle("\n".join([shortened(title, 76), *said]), x=0.01, ha="left", fontsize=10)
    for axes, (bars, name, label) in zip(figure.subplots(1, len(panels), squeeze=False).flat, panels, strict=True):
        draw_layer_bars(axes, bars, name, label)
    text = " ".join(f"{name[0].upper()}{name[1:]}: {_listed(bars)}." for bars, name, _ in panels)
    return Picture(figure, title, f"{text} {'; '.join(said)}.")


def _most(layers: Sequence[LayerPart], title: str) -> str:
    shown = len(largest(layers, summed=False))
    return title if shown == len(layers) else f"{title} ({shown} of {len(layers):,})"


def _listed(bars: Sequence[LayerPart]) -> str:
    decimals = bar_decimals(bars)
    return ", ".join(f"{bar.name} {percent_text(bar.size / 100, decimals)}" for bar in bars[:5])
