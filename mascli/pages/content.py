"""What a page says, before it is HTML: sections of prose, tables, matrices and charts. All text is plain text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Cell:
    """What a table shows at one place.

    `text` is what is read, `value` the number behind it: what rows are sorted by, and what is drawn. `low`
    and `high` are the ends of an interval of the value, in the same unit.
    """

    text: str
    value: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Column:
    """The name of a column, and what its cells are.

    `bar` draws the value, a share of 0 to 1, and `range` the value with its interval beside zero; both show the
    text too. `code` is text that is read letter by letter, and `hash` such text that may be cut off to the eye.
    """

    name: str
    kind: Literal["text", "number", "bar", "range", "code", "hash"] = "text"


@dataclass(frozen=True)
class DataTable:
    """Rows of cells under columns; the first cell of a row names it."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Matrix:
    """Numbers as a table whose cells are the darker, the higher the number is.

    `columns` are names with a note below; `rows` a name and its cells, which may be fewer than the columns.
    `beside` names a last column, whose cells stand at the end of each row, and `below` a last row: both
    without colour. Colour goes from `lowest`, which has none, to `highest`.
    """

    caption: str
    corner: str
    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    beside: tuple[str, tuple[Cell, ...]]
    below: tuple[str, tuple[Cell, ...]]
    lowest: float
    highest: float
    note: str = ""


@dataclass(frozen=True)
class Series:
    """One line of a chart. `style` says how it looks: the same number looks the same in every chart of the page.

    A point is None where there is nothing to draw.
    """

    name: str
    points: tuple[Cell | None, ...]
    style: int


@dataclass(frozen=True)
class LineChart:
    """Lines over the same places, which `places` names; `description` says in words what there is to see."""

    title: str
    description: str
    places: tuple[str, ...]
    series: tuple[Series, ...]
    unit: str
    across: str


@dataclass(frozen=True)
class Panels:
    """Charts beside each other, with one legend."""

    charts: tuple[LineChart, ...]


@dataclass(frozen=True)
class Prose:
    """Paragraphs."""

    paragraphs: tuple[str, ...]


@dataclass(frozen=True)
class Items:
    """Sentences as a list."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """Pairs of a label and a value."""

    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Listing:
    """A file as it stands, line by line."""

    text: str


@dataclass(frozen=True)
class Folded:
    """What is shown when it is asked for, under its summary."""

    summary: str
    blocks: tuple[Block, ...]


Block = DataTable | Matrix | Panels | Prose | Items | Facts | Listing | Folded


@dataclass(frozen=True)
class Section:
    """A part of the page under a heading; `anchor` is its name in links: letters and dashes."""

    anchor: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Page:
    """A whole page: `title` for the window, `heading` and `lead` at its top, `foot` as its last line."""

    title: str
    heading: str
    lead: tuple[str, ...]
    sections: tuple[Section, ...]
    foot: str
