"""Tables: sortable ones, and matrices with colour. Each lies in a box of its own that scrolls if it is too wide."""

from __future__ import annotations

import math

from mascli.pages.content import Cell, Column, DataTable, Matrix
from mascli.pages.markup import Markup, element, joined

LEVELS = 20  # steps of colour, as page.css has them
RANGE_WIDTH, RANGE_HEIGHT = 100.0, 14.0
RIGHT = ("number", "bar", "range")


def data_table(table: DataTable) -> Markup:
    """A table that the page's script makes sortable; without it, its rows stand as given."""
    head = [element("th", column.name, scope="col", class_=_class(column)) for column in table.columns]
    reaches = [_reach(table, place) for place in range(len(table.columns))]
    rows = []
    for cells in table.rows:
        shown = [
            _cell(cell, column, reach, "td" if place else "th")
            for place, (cell, column, reach) in enumerate(zip(cells, table.columns, reaches, strict=True))
        ]
        rows.append(element("tr", *shown))
    content = (element("thead", element("tr", *head)), element("tbody", *rows))
    return _boxed(table.caption, element("table", _caption(table.caption), *content, class_="sortable"))


def matrix_table(matrix: Matrix) -> Markup:
    """A triangle of numbers, as dark as they are high."""
    beside, ends = matrix.beside
    head = [element("th", matrix.corner, scope="col")]
    head += [element("th", name, element("small", note), scope="col") for name, note in matrix.columns]
    head.append(element("th", beside, scope="col", class_="edge"))
    rows = []
    for (name, cells), end in zip(matrix.rows, ends, strict=True):
        shown = [element("td", cell.text, class_=_heat(cell, matrix), data_value=_exact(cell)) for cell in cells]
        shown += [element("td", class_="none")] * (len(matrix.columns) - len(cells))
        last = element("td", end.text, class_="edge", data_value=_exact(end))
        rows.append(element("tr", element("th", name, scope="row"), *shown, last))
    below, ends = matrix.below
    foot = [element("td", cell.text, data_value=_exact(cell)) for cell in ends]
    foot.append(element("td", class_="none edge"))
    content = (
        element("thead", element("tr", *head)),
        element("tbody", *rows),
        element("tfoot", element("tr", element("th", below, scope="row"), *foot)),
    )
    return _boxed(matrix.caption, element("table", _caption(matrix.caption, matrix.note), *content, class_="matrix"))


def _boxed(name: str, table: Markup) -> Markup:
    return element("div", table, class_="box", role="region", aria_label=name, tabindex="0")


def _caption(caption: str, note: str = "") -> Markup:
    return element("caption", element("span", caption, *([element("small", note)] if note else [])))


def _cell(cell: Cell, column: Column, reach: float, tag: str) -> Markup:
    drawn = Markup("")
    if column.kind == "bar":
        drawn = _bar(cell)
    elif column.kind == "range":
        drawn = _range(cell, reach)
    shown = element("code", cell.text) if column.kind in ("code", "hash") and cell.text else joined(cell.text)
    scope = "row" if tag == "th" else None
    return element(tag, shown, drawn, scope=scope, class_=_class(column), data_value=_exact(cell))


def _class(column: Column) -> str | None:
    return f"right {column.kind}" if column.kind in RIGHT else column.kind if column.kind != "text" else None


def _exact(cell: Cell) -> str | None:
    """The number in full, as a script reads it."""
    if cell.value is None:
        return None
    return repr(float(cell.value)).replace("inf", "Infinity").replace("nan", "NaN")


def _heat(cell: Cell, matrix: Matrix) -> str:
    """The class of the cell's colour: the number's place between the lowest and the highest, in whole steps."""
    if cell.value is None or not math.isfinite(cell.value):
        return "heat"
    span = matrix.highest - matrix.lowest
    place = (cell.value - matrix.lowest) / span if span > 0 else 1.0
    return f"heat h{round(LEVELS * min(max(place, 0.0), 1.0))}"


def _bar(cell: Cell) -> Markup:
    """A bar as long as a share of 0 to 1; the number stands beside it."""
    share = min(max(cell.value or 0.0, 0.0), 1.0) if math.isfinite(cell.value or 0.0) else 0.0
    rects = (
        element("rect", width=100.0, height=8.0, class_="track"),
        element("rect", width=100 * share, height=8.0, class_="part"),
    )
    return element("svg", *rects, viewBox="0 0 100 8", preserveAspectRatio="none", class_="bar", aria_hidden="true")


def _reach(table: DataTable, place: int) -> float:
    """How far a column of ranges goes from zero."""
    if table.columns[place].kind != "range":
        return 0.0
    ends = [end for row in table.rows for end in (row[place].value, row[place].low, row[place].high)]
    return max((abs(end) for end in ends if end is not None and math.isfinite(end)), default=0.0)


def _range(cell: Cell, reach: float) -> Markup:
    """A point and its interval on a line whose middle is zero; the numbers stand beside it."""
    if cell.value is None or not math.isfinite(cell.value):
        return Markup("")

    def at(value: float) -> float:
        return RANGE_WIDTH / 2 * (1 + 0.92 * (value / reach if reach else 0.0))

    middle = RANGE_HEIGHT / 2
    drawn = [element("line", x1=RANGE_WIDTH / 2, x2=RANGE_WIDTH / 2, y1=0.0, y2=RANGE_HEIGHT, class_="zero")]
    if cell.low is not None and cell.high is not None:
        drawn.append(element("line", x1=at(cell.low), x2=at(cell.high), y1=middle, y2=middle, class_="interval"))
    else:
        drawn.append(element("line", x1=at(0.0), x2=at(cell.value), y1=middle, y2=middle, class_="stem"))
    drawn.append(element("circle", cx=at(cell.value), cy=middle, r=3.5, class_="point"))
    box = f"0 0 {RANGE_WIDTH:g} {RANGE_HEIGHT:g}"
    return element("svg", *drawn, viewBox=box, class_="range", aria_hidden="true")
