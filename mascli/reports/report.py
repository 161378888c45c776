"""What a result looks like before anybody decides where it goes: facts, tables, charts and checks."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mascli.records import is_left_out

if TYPE_CHECKING:
    from mascli.importance.density import Density
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

    A column whose name is in `right` is aligned to the right. On a terminal too narrow for all columns
    those named in `less` are left out, the first one first, and a line says so.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: frozenset[str] = frozenset()
    less: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chart:
    """A histogram on a logarithmic scale."""

    title: str
    histogram: Histogram


@dataclass(frozen=True)
class Scatter:
    """Two quantities of each parameter against each other, on logarithmic scales."""

    title: str
    density: Density


@dataclass(frozen=True)
class FilterMap:
    """One block for each filter of a layer, by its importance on a logarithmic scale; None: not finite."""

    title: str
    importance: tuple[float | None, ...]


Section = Facts | Lines | Table | Chart | Scatter | FilterMap


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
    but documents hold them. `failed` is what could not be learned, one line each.
    """

    command: str
    payload: Mapping[str, Any]
    rows: tuple[Mapping[str, Any], ...]
    sections: tuple[Section, ...]
    checks: tuple[Check, ...]
    unmet: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()


def plain(value: Any) -> Any:
    """`value` as what strict JSON can hold; nan and the infinities become text, as JSON has none.

    Dataclasses become tables (a field's trailing underscore is dropped, and so is a field that files
    leave out), paths become text, and what UTF-8 cannot write (odd bytes of a file name) becomes
    backslash escapes.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {field.name.rstrip("_"): plain(its) for field, its in fields.items() if not is_left_out(field, its)}
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
