"""Line charts as SVG, each with its numbers as a table, and one legend for those that stand together."""

from __future__ import annotations

import math
from collections.abc import Iterator

from mascli.pages.content import Cell, Column, DataTable, LineChart, Panels, Series
from mascli.pages.markup import Markup, element
from mascli.pages.tables import data_table

WIDTH, HEIGHT = 420.0, 250.0
LEFT, RIGHT, TOP, BOTTOM = 44.0, 14.0, 12.0, 40.0
LETTER = 6.6  # how wide a letter of an axis is, at most
COLOURS, SHAPES = 8, 4  # as page.css has them; the next round of colours has dashed lines


def panels(block: Panels, ids: Iterator[int]) -> Markup:
    """Charts beside each other, with one legend."""
    styles = {series.style: series.name for chart in block.charts for series in chart.series}
    figures = [_figure(chart, f"chart-{next(ids)}") for chart in block.charts]
    return element("div", _legend(styles), element("div", *figures, class_="panels"))


def scale(low: float, high: float, steps: int = 4) -> tuple[float, ...]:
    """Round numbers from at most `low` to at least `high`, in equal steps, about `steps` of them."""
    top = max(abs(low), abs(high))
    span = high - low if high - low > 1e-9 * top else (0.1 * top or 1.0)
    raw = span / steps
    power = 10.0 ** math.floor(math.log10(raw))
    step = power * next(factor for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return tuple(float(f"{number * step:.12g}") for number in range(first, max(last, first + 1) + 1))


def _legend(styles: dict[int, str]) -> Markup:
    items = []
    for style in sorted(styles):
        line = element("line", x1=1.0, x2=27.0, y1=7.0, y2=7.0, class_=_class("line", style))
        swatch = element("svg", line, _marker(14.0, 7.0, style), viewBox="0 0 28 14", aria_hidden="true")
        items.append(element("li", swatch, styles[style]))
    return element("ul", *items, class_="legend")


def _figure(chart: LineChart, name: str) -> Markup:
    columns = (Column(chart.across), *(Column(series.name, "number") for series in chart.series))
    rows = tuple(
        (Cell(place), *(series.points[index] or Cell("") for series in chart.series))
        for index, place in enumerate(chart.places)
    )
    numbers = element("details", element("summary", "The numbers"), data_table(DataTable(chart.title, columns, rows)))
    return element("figure", element("figcaption", chart.title), _drawing(chart, name), numbers)


def _drawing(chart: LineChart, name: str) -> Markup:
    values = [p.value for series in chart.series for p in series.points if p and p.value is not None]
    finite = [value for value in values if math.isfinite(value)] or [0.0]
    ticks = scale(min(finite), max(finite))

    def x(index: int) -> float:
        steps = max(len(chart.places) - 1, 1)
        return LEFT + (WIDTH - LEFT - RIGHT) * (index / steps if len(chart.places) > 1 else 0.5)

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (ticks[-1] - value) / (ticks[-1] - ticks[0])

    drawn = [element("title", chart.title, id=f"{name}-title"), element("desc", chart.description, id=f"{name}-desc")]
    for tick in ticks:
        drawn.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y(tick), y2=y(tick), class_="grid"))
        drawn.append(element("text", f"{tick:g}", x=LEFT - 7, y=y(tick) + 4, class_="tick end"))
    drawn += _places(chart, [x(index) for index in range(len(chart.places))])
    for series in chart.series:
        points = [
            (x(index), y(point.value), chart.places[index], point.text)
            for index, point in enumerate(series.points)
            if point is not None and point.value is not None and math.isfinite(point.value)
        ]
        drawn += _line(series, points, chart.unit)
    box = f"0 0 {WIDTH:g} {HEIGHT:g}"
    labels = {"aria_labelledby": f"{name}-title", "aria_describedby": f"{name}-desc"}
    return element("svg", *drawn, viewBox=box, role="img", class_="chart", **labels)


def _places(chart: LineChart, at: list[float]) -> Iterator[Markup]:
    """The names below the axis, or their numbers where the names do not fit."""
    room = (WIDTH - LEFT - RIGHT) / max(len(at) - 1, 1)
    fits = all(len(place) * LETTER <= room for place in chart.places)
    names = chart.places if fits else tuple(str(number) for number in range(1, len(at) + 1))
    every = max(1, math.ceil(max(len(name) for name in names) * LETTER * 1.3 / room)) if names else 1
    for index in range(0, len(at), every):
        is_cut = at[index] + len(names[index]) * LETTER / 2 > WIDTH
        x, anchor = (WIDTH, "end") if is_cut else (at[index], "middle")
        yield element("text", names[index], x=x, y=HEIGHT - BOTTOM + 17, class_=f"tick {anchor}")
    across = chart.across if fits else f"{chart.across} (number)"
    middle = (LEFT + WIDTH - RIGHT) / 2
    yield element("text", f"{across}; {chart.unit}", x=middle, y=HEIGHT - 6, class_="tick middle axis")


def _line(series: Series, points: list[tuple[float, float, str, str]], unit: str) -> Iterator[Markup]:
    path = " ".join(f"{round(x, 2):g},{round(y, 2):g}" for x, y, _, _ in points)
    yield element("polyline", points=path, class_=_class("line", series.style))
    if len(points) > 30:
        points = points[:: math.ceil(len(points) / 30)]
    for x, y, place, shown in points:
        told = element("title", f"{series.name}, {place}: {shown} ({unit})")
        yield _marker(x, y, series.style, told)


def _marker(x: float, y: float, style: int, *inside: Markup) -> Markup:
    """A point, in the shape that goes with the style, so that colour is not all that tells lines apart."""
    kind = _class("mark", style)
    shape = style % SHAPES
    if shape == 0:
        return element("circle", *inside, cx=x, cy=y, r=3.2, class_=kind)
    if shape == 1:
        return element("rect", *inside, x=x - 3, y=y - 3, width=6.0, height=6.0, class_=kind)
    corners = ((0, -4), (3.9, 3.2), (-3.9, 3.2)) if shape == 2 else ((0, -4.2), (4.2, 0), (0, 4.2), (-4.2, 0))
    path = " ".join(f"{round(x + dx, 2):g},{round(y + dy, 2):g}" for dx, dy in corners)
    return element("polygon", *inside, points=path, class_=kind)


def _class(kind: str, style: int) -> str:
    dashed = " dashed" if style // COLOURS % 2 else ""
    return f"{kind} s{style % COLOURS}{dashed}"
