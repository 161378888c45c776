"""What `mascli evaluate --per-class` shows: accuracy by class, and which classes are taken for which."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mascli.errors import listed, printable
from mascli.reports.numbers import count, percent, share
from mascli.reports.report import Lines, Section, Table

MATRIX = 10  # classes at most, of which a whole matrix is shown
ROWS = 20  # classes at most, of which each has its row
WORST = 10  # of more classes: those of the lowest accuracy, and the pairs that are confused most


@dataclass(frozen=True)
class ClassRow:
    """One class: its images, how many are answered rightly, and how many of any class are put into it (`predicted`).

    `accuracy` is percent with its 95 % interval (`low` to `high`); `lost`, `gained` and `forgetting`
    (percentage points) are since the baseline. None: no images, or no baseline.
    """

    class_: str
    images: int
    correct: int
    predicted: int
    accuracy: float | None
    low: float | None
    high: float | None
    lost: int | None = None
    gained: int | None = None
    forgetting: float | None = None


@dataclass(frozen=True)
class ConfusedPair:
    """How many images of one class are put into a class, which may be the same."""

    class_: str
    taken_for: str
    images: int


def class_sections(task: str, rows: tuple[ClassRow, ...], pairs: tuple[ConfusedPair, ...]) -> Iterator[Section]:
    """All classes and a matrix while there are few; of many, the worst classes and the most confused pairs."""
    measured = [row for row in rows if row.images]
    yield _accuracy_table(task, measured, pairs)
    if any(row.forgetting is not None for row in measured):
        yield _forgetting_table(task, measured)
    yield _matrix(task, rows, pairs) if len(rows) <= MATRIX else _confused_table(task, rows, pairs)
    never = [row.class_ for row in measured if not row.predicted]
    if never:
        yield Lines((f"{printable(task)}: no image is put into {listed(never)}",))


def _accuracy_table(task: str, rows: list[ClassRow], pairs: tuple[ConfusedPair, ...]) -> Table:
    many = len(rows) > ROWS
    shown = sorted(rows, key=lambda row: row.accuracy or 0.0)[:WORST] if many else rows
    part = f" (the {WORST} lowest of {count(len(rows))})" if many else ""
    cells = tuple(
        (
            row.class_,
            count(row.images),
            percent(row.accuracy),
            f"{percent(row.low)} to {percent(row.high)}",
            _usual_mistake(row.class_, pairs),
        )
        for row in shown
    )
    columns = ("class", "images", "accuracy %", "95 % interval", "mostly taken for")
    return Table(f"accuracy by class: {task}{part}", columns, cells, right=frozenset(columns[1:4]))


def _forgetting_table(task: str, rows: list[ClassRow]) -> Table:
    changed = [row for row in rows if row.lost or row.gained]
    many = len(changed) > WORST
    most = sorted(changed, key=lambda row: -(row.forgetting or 0.0))[:WORST]
    part = f" (the {WORST} most of {count(len(changed))})" if many else ""
    cells = tuple(
        (row.class_, count(row.images), percent(row.forgetting), count(row.lost or 0), count(row.gained or 0))
        for row in most
    )
    columns = ("class", "images", "forgetting", "lost", "gained")
    return Table(f"forgetting by class: {task}{part}", columns, cells, right=frozenset(columns[1:]))


def _usual_mistake(name: str, pairs: tuple[ConfusedPair, ...]) -> str:
    """The wrong class that most images of a class are put into, the first of several, with their number."""
    own = [pair for pair in pairs if pair.class_ == name != pair.taken_for]
    worst = max(own, key=lambda pair: pair.images, default=None)
    return f"{worst.taken_for} ({count(worst.images)})" if worst else ""


def _matrix(task: str, rows: tuple[ClassRow, ...], pairs: tuple[ConfusedPair, ...]) -> Table:
    found = {(pair.class_, pair.taken_for): pair.images for pair in pairs}
    numbers = {row.class_: str(number) for number, row in enumerate(rows, start=1)}
    cells = tuple(
        (f"{numbers[own.class_]} {own.class_}", *(count(found.get((own.class_, other.class_), 0)) for other in rows))
        for own in rows
        if own.images
    )
    columns = ("class", *numbers.values())
    return Table(f"images of each class by the class they are put into: {task}", columns, cells, frozenset(columns[1:]))


def _confused_table(task: str, rows: tuple[ClassRow, ...], pairs: tuple[ConfusedPair, ...]) -> Table:
    images = {row.class_: row.images for row in rows}
    wrong = sorted((pair for pair in pairs if pair.class_ != pair.taken_for), key=lambda pair: -pair.images)
    part = f" (the first {WORST} of {count(len(wrong))} pairs)" if len(wrong) > WORST else ""
    cells = tuple(
        (pair.class_, pair.taken_for, count(pair.images), share(pair.images / images[pair.class_]))
        for pair in wrong[:WORST]
    )
    columns = ("class", "taken for", "images", "of the class")
    return Table(f"classes taken for others: {task}{part}", columns, cells, frozenset(columns[2:]))


def absence(task: str, names: tuple[str, ...], known: int) -> str:
    """A line that says which classes of a task had no image."""
    return f"{printable(task)}: no image of {count(len(names))} of its {count(known)} classes: {listed(names)}"
