"""Turns plain values, as JSON and YAML give them, into the typed fields of a frozen dataclass.

One small reader serves configuration files, command-line flags and the metadata of tensor files:
what does not fit is collected as one line a problem, never raised half-way.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from mascli.errors import closest, printable

T = TypeVar("T")


def build(kind: type[T], values: Mapping[str, Any], where: str, problems: list[str]) -> T | None:
    """Build the dataclass `kind` from `values`; None if anything was added to `problems`.

    Unknown keys, missing fields and values of a wrong type are each one problem that starts with
    `where`. The name of a field is its key; a trailing underscore (`lambda_`) is not part of it.
    """
    before = len(problems)
    hints = typing.get_type_hints(kind)
    fields = {key_of(field.name): field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key in values:
        if key not in fields:
            problems.append(f"{where}: unknown key '{printable(str(key))}'{closest(str(key), fields)}")
    arguments: dict[str, Any] = {}
    for key, field in fields.items():
        if key in values:
            arguments[field.name] = convert(hints[field.name], values[key], f"{where}: {key}", problems)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            problems.append(f"{where}: {key} is missing")
    return kind(**arguments) if len(problems) == before else None


def key_of(field_name: str) -> str:
    """The key under which a field stands in a file: its name without a trailing underscore."""
    return field_name.rstrip("_")


def choices_of(hint: Any) -> tuple[str, ...]:
    """The words that a type allows; none where it allows more than words."""
    return tuple(map(str, typing.get_args(hint))) if typing.get_origin(hint) is Literal else ()


def convert(hint: Any, value: Any, where: str, problems: list[str]) -> Any:
    """`value` as the type `hint`; a value that does not fit adds one line to `problems`."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in inner:
            return None
        options = [option for option in inner if option is not type(None)]
        words = [option for option in options if typing.get_origin(option) is Literal]
        if len(options) > len(words) and any(value in typing.get_args(option) for option in words):
            return value  # a word that may stand in place of another type
        (hint,) = [option for option in options if option not in words] or words
        before = len(problems)
        converted = convert(hint, value, where, problems)
        if len(problems) > before and hint not in words:
            either = [str(word) for option in words for word in typing.get_args(option)]
            problems[-1] = problems[-1].replace(
                "expected ", " ".join(["expected", *(f"{word} or" for word in either), ""])
            )
        return converted
    if origin is Literal:
        if value not in inner:
            problems.append(f"{where}: '{printable(str(value))}' is not one of {', '.join(map(str, inner))}")
        return value
    if origin is tuple:
        members = value if isinstance(value, list | tuple) else [value]
        return tuple(convert(inner[0], member, where, problems) for member in members)
    if origin is dict:
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            problems.append(f"{where}: expected a table of names and values")
            return {}
        return {key: convert(inner[1], member, f"{where}.{printable(key)}", problems) for key, member in value.items()}
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            problems.append(f"{where}: expected a table of names and values")
            return None
        return build(typing.cast(type, hint), value, where, problems)
    return value if hint is Any else _scalar(hint, value, where, problems)


def _scalar(kind: Any, value: Any, where: str, problems: list[str]) -> Any:
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path"}
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and isinstance(value, int) and abs(value) >= 2**63:
        problems.append(f"{where}: a number of this size is out of range, which ends at 2^63")
        return 0
    if kind is bool and isinstance(value, bool):
        return value
    if kind is int and is_number and math.isfinite(value) and value == int(value):
        return int(value)
    if kind is float and is_number:
        return float(value)
    if kind is float and isinstance(value, str):  # YAML 1.1 reads 1e-3 as text
        try:
            return float(value)
        except ValueError:
            pass
    if kind is str and (isinstance(value, str) or (is_number and isinstance(value, int))):
        return str(value)
    if kind is Path and isinstance(value, str | Path) and str(value) and "\0" not in str(value):
        return Path(value)
    hint = " (write it in quotes)" if kind is str and not isinstance(value, list | dict) else ""
    problems.append(f"{where}: expected {names[kind]}, not '{printable(str(value))}'{hint}")
    return value
