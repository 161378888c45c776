"""A report for the terminal: plain lines with a little colour, which fit its width.

Text that users supply (paths, class names) is never read as markup and cannot steer the terminal.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import replace

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from mascli.errors import printable
from mascli.reports.filter_map import filter_map_lines
from mascli.reports.histogram import histogram_lines
from mascli.reports.report import Chart, Facts, FilterMap, Lines, Report, Scatter, Section, Table, plain
from mascli.reports.scatter import scatter_lines, style_of
from mascli.reports.sparkline import cell_text

PIPED_WIDTH = 80
NARROWEST = 6  # columns that text keeps when a table must shrink
NAMES = 12  # the same for the first column, which says what a row is about
LEAST_NAMES = 24  # the same for a table that may leave columns out instead
LEAST_TABLE = 60  # columns of a terminal below which it cuts and leaves out nothing: its rows go below each other
LEAST_VALUE = 20  # columns for the value of a fact, below which it goes under its label

_UNBROKEN = "\N{NO-BREAK SPACE}"  # stands between what no line may end between, while lines are made
_UNIT = re.compile(r"(?<=\d) (?=(?:%|points?|images?|classes|tasks?|times|bytes|kB|MB|GB|TB|nats|s|min|h)(?!\w))")

_STYLES = {"FAILED": "bold red", "passed": "green", "kept": "green"}


def text(report: Report, width: int | None, ascii_only: bool = False, colour: bool = False) -> Text:
    """The report as text; `width` None (not a terminal) cuts and wraps nothing.

    Without `colour`, what colours would say is said by characters.
    """
    blocks = [list(_section(section, width, ascii_only, colour)) for section in report.sections]
    return Text("\n\n").join(Text("\n").join(block) for block in blocks if block)


def _section(section: Section, width: int | None, ascii_only: bool, colour: bool) -> Iterator[Text]:
    title = "" if isinstance(section, Facts) else section.title
    body: Iterator[Text]
    if isinstance(section, Facts):
        body = _facts(section, width)
    elif isinstance(section, Lines):
        body = (line for text in section.lines for line in _wrapped(_safe(text), width, "  "))
    elif isinstance(section, Table):
        body = _table(section, width, ascii_only)
    elif isinstance(section, Scatter):
        body = _scatter(section, width, ascii_only)
    elif isinstance(section, FilterMap):
        body = iter(filter_map_lines(section.importance, width or PIPED_WIDTH, ascii_only, colour))
    else:
        body = _chart(section, width, ascii_only)
    lines = list(body)
    if title and lines:
        yield from (Text(part, style="bold") for part in (_broken(title, width) if width else [title]))
    yield from lines


def _facts(facts: Facts, width: int | None) -> Iterator[Text]:
    label_width = max((len(label) for label, _ in facts.rows), default=0) + 2
    for label, value in facts.rows:
        if width is not None and width - label_width < LEAST_VALUE:
            yield Text(label, style="cyan")
            yield from (Text("  ") + line for line in _wrapped(_safe(value), max(width - 2, 1), ""))
            continue
        start = (f"{label:<{label_width}}", "cyan")
        for line in _wrapped(_safe(value), width and max(width - label_width, 20), ""):
            yield Text.assemble(start, line)
            start = (" " * label_width, "")


def _wrapped(line: str, width: int | None, indent: str) -> Iterator[Text]:
    """`line` broken between words; a line that begins with a blank is a command, and stays whole."""
    style = "yellow" if line.startswith("warning:") else ""
    whole = width is None or line.startswith(" ") or cell_len(line) <= width
    for part in [line] if whole else _broken(line, width or 80, indent):
        yield Text(part, style=style)


def _broken(line: str, width: int, indent: str = "") -> list[str]:
    """`line` in lines of `width` columns, broken between words, but not between a number and its unit."""
    kept = _UNIT.sub(_UNBROKEN, line)
    parts = textwrap.wrap(kept, width, subsequent_indent=indent, break_on_hyphens=False)
    return [part.replace(_UNBROKEN, " ") for part in parts]


def _table(table: Table, width: int | None, ascii_only: bool) -> Iterator[Text]:
    if not table.rows:
        return
    table, left_out = _fitting(table, width)
    headers = [column.split("\n") for column in table.columns]
    height = max(len(header) for header in headers)
    header_rows = [[([""] * (height - len(h)) + h)[line] for h in headers] for line in range(height)]
    rows = [[_safe(cell_text(cell, ascii_only)) for cell in row] for row in table.rows]
    to_right = [column in table.right for column in table.columns]
    widths = _widths(header_rows, rows, to_right, width)
    if width is not None and sum(widths) + 2 * (len(widths) - 1) > width:
        yield from _rows_below_each_other(table, rows, width)
        return
    for index, row in enumerate(header_rows + rows):
        is_header = index < height
        line = Text("  ").join(
            Text(_fitted(cell, size, right, ascii_only), style="dim" if is_header else _STYLES.get(cell, ""))
            for cell, size, right in zip(row, widths, to_right, strict=True)
        )
        line.rstrip()
        yield line
    if left_out:
        told = f"(no room for {', '.join(left_out)}: a wider terminal, a pipe and --format csv have them)"
        yield from (Text(line, style="dim") for line in textwrap.wrap(told, width or len(told)))


def _fitting(table: Table, width: int | None) -> tuple[Table, list[str]]:
    """The table without those columns of `less` that a terminal has no room for, and their names."""
    left_out: list[str] = []
    while width is not None and width >= LEAST_TABLE and len(left_out) < len(table.less):
        kept = [index for index, column in enumerate(table.columns) if column not in left_out]
        cells = [[table.columns[index], *(row[index] for row in table.rows)] for index in kept]
        names, *others = (max(map(cell_len, column)) for column in cells)
        if min(names, LEAST_NAMES) + sum(others) + 2 * len(others) <= width:
            break
        left_out.append(table.less[len(left_out)])
    kept = [index for index, column in enumerate(table.columns) if column not in left_out]
    rows = tuple(tuple(row[index] for index in kept) for row in table.rows)
    return replace(table, columns=tuple(table.columns[index] for index in kept), rows=rows), left_out


def _rows_below_each_other(table: Table, rows: list[list[str]], width: int) -> Iterator[Text]:
    """A table that is too wide: each row by its first cell, and under it the others with their columns' names."""
    names = [column.replace("\n", " ").strip() for column in table.columns[1:]]
    for first, *cells in rows:
        yield from _wrapped(first, width, "  ")
        pairs = [f"{name} {cell}".strip() for name, cell in zip(names, cells, strict=True) if cell]
        room = max(width - 2, 1)
        pairs = [pair.replace(" ", _UNBROKEN) if cell_len(pair) < room else pair for pair in pairs]
        for line in _broken(", ".join(pairs), room):
            yield Text("  " + line)


def _widths(headers: list[list[str]], rows: list[list[str]], to_right: list[bool], width: int | None) -> list[int]:
    """Column widths; the widest give way until the table fits, numbers and what they are called never."""
    widths = [max(map(cell_len, column)) for column in zip(*headers, *rows, strict=True)]
    if width is None or width < LEAST_TABLE:
        return widths
    least = [widths[i] if right else min(NARROWEST if i else NAMES, widths[i]) for i, right in enumerate(to_right)]
    while sum(widths) + 2 * (len(widths) - 1) > width:
        shrinkable = [i for i in range(len(widths)) if widths[i] > least[i]]
        if not shrinkable:
            break
        widths[max(shrinkable, key=lambda i: widths[i])] -= 1
    return widths


def _fitted(cell: str, size: int, right: bool, ascii_only: bool) -> str:
    """`cell` in exactly `size` columns; what does not fit is left out of its middle."""
    long = cell_len(cell)
    if long <= size:
        return " " * (size - long) + cell if right else cell + " " * (size - long)
    mark = "..." if ascii_only else "…"
    room = max(size - len(mark), 0)
    tail = cell[::-1]
    return set_cell_size(set_cell_size(cell, room - room // 2) + mark + set_cell_size(tail, room // 2)[::-1], size)


def _chart(chart: Chart, width: int | None, ascii_only: bool) -> Iterator[Text]:
    for line in histogram_lines(chart.histogram, min(width or PIPED_WIDTH, 100), ascii_only):
        styled = Text(line)
        styled.highlight_regex("[█▏▎▍▌▋▊▉#]+", "cyan")
        yield styled


def _scatter(scatter: Scatter, width: int | None, ascii_only: bool) -> Iterator[Text]:
    for label, drawn in scatter_lines(scatter.density, width or PIPED_WIDTH, ascii_only):
        yield Text.assemble(label, *((character, style_of(character)) for character in drawn))


def _safe(value: str) -> str:
    return printable(plain(value))
