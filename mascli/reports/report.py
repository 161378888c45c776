"""What a result looks like before anybody decides where it goes: facts, tables, charts and checks."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mascli.importance.statistics import Histogram


@dataclass(frozen=True)
class Facts:
    """Pairs of a label and a value, one a line."""

    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Lines:
    """Sentences for a person, one a line; `title` is empty for lines that need none."""

    lines: tuple[str, ...]
    title: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of text under column names, which may take several lines.

    A column whose name is in `right` is aligned to the right.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Chart:
    """A histogram on a logarithmic scale."""

    title: str
    histogram: Histogram


Section = Facts | Lines | Table | Chart


@dataclass(frozen=True)
class Check:
    """One thing that a pipeline can count as passed or failed."""

    name: str
    passed: bool
    message: str = ""


@dataclass(frozen=True)
class Report:
    """One result in every form: `payload` is the JSON, `rows` the CSV, `sections` are for a person.

    `checks` become the test cases of a JUnit file; `unmet` are the limits that the user set and the
    result does not meet, one line each. `notes` were told while it ran: no section repeats them,
    but documents hold them.
    """

    command: str
    payload: Mapping[str, Any]
    rows: tuple[Mapping[str, Any], ...]
    sections: tuple[Section, ...]
    checks: tuple[Check, ...]
    unmet: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def plain(value: Any) -> Any:
    """`value` as what strict JSON can hold; nan and the infinities become text, as JSON has none.

    Dataclasses become tables (a field's trailing underscore is dropped), paths become text, and
    what UTF-8 cannot write (odd bytes of a file name) becomes backslash escapes.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name.rstrip("_"): plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {plain(str(key)): plain(member) for key, member in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        members = sorted(value) if isinstance(value, set | frozenset) else value
        return [plain(member) for member in members]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    return value
