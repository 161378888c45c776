"""Settles a command's settings: a flag beats the YAML file, and the file beats the default.

Everything wrong is reported at once, one line a problem, before torch is loaded.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from mascli.config.checks import flag_of, path_problems, range_problems
from mascli.config.commands import (
    Common,
    EstimateConfig,
    ModelOptions,
    ReportConfig,
    TrainTaskConfig,
)
from mascli.config.limits import RANGES, limit_texts
from mascli.config.methods import COMPAT, settings_of_compat
from mascli.config.training_checks import ignored_problems
from mascli.errors import UsageError, printable
from mascli.typed import choices_of, convert

C = TypeVar("C", bound=Common)


def resolve(kind: type[C], flags: Mapping[str, Any], file: Path | None, *, complete: bool = True) -> C:
    """Settle the settings of a command: `flags` (None or empty: not given) over `file` over defaults.

    Flags may be text, as typed, or values of the right type already; lists of numbers are separated
    by commas. Without `complete`, required settings may be missing, and are None.

    Raises:
        UsageError: naming at once every unknown key, value of a wrong type or out of range, and
            with them the paths that are missing or taken.
    """
    problems: list[str] = []
    given = {name: value for name, value in flags.items() if value is not None and value != () and value != []}
    stored: dict[str, Any] = {}
    if file is not None:
        from mascli.config.yaml_file import read_yaml

        stored = read_yaml(file, kind, problems)
    if kind is ReportConfig:
        _name_page(given, problems)
        _name_page(stored, problems)
    unread = bool(problems) and not stored
    config = _settle(kind, given, stored, file, problems)
    problems += range_problems(config)
    if isinstance(config, TrainTaskConfig):
        problems += ignored_problems(config)
    if "model" in stored and "model" not in given and "trust_model_code" not in given:
        problems += _consent_problems(config, file)
    if not complete:
        problems = [line for line in problems if not _is_missing(line)]
    if problems:
        told = problems + path_problems(config)
        unasked = unread or not complete
        raise UsageError("\n".join(line for line in told if not (unasked and _is_missing(line))))
    return config


def _settle(
    kind: type[C], given: Mapping[str, Any], stored: Mapping[str, Any], file: Path | None, problems: list[str]
) -> C:
    """Every field from where it comes; one that is missing or wrong is a problem, and None meanwhile."""
    hints = typing.get_type_hints(kind)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        name, flag, before = field.name, flag_of(field.name), len(problems)
        if name in given:
            values[name] = convert(hints[name], _from_text(hints[name], given[name]), flag, problems)
        elif name in stored:
            value = limit_texts(stored[name]) if name in RANGES else stored[name]
            values[name] = convert(hints[name], value, f"{printable(file or '')}: {flag.strip('-')}", problems)
        elif field.default is dataclasses.MISSING:
            choices = choices_of(hints[name])
            problems.append(f"{flag} is missing" + (f": one of {', '.join(choices)}" if choices else ""))
        else:
            values[name] = field.default
        if len(problems) > before:
            values[name] = None
    if issubclass(kind, TrainTaskConfig) and values["val"] is not None and not {"val_split"} & {*given, *stored}:
        values["val_split"] = 0.0
    if issubclass(kind, EstimateConfig) and values["compat"] in COMPAT:
        _settle_compat(values, {*given, *stored})
    return kind(**values)


def _name_page(values: dict[str, Any], problems: list[str]) -> None:
    """Let `-o` of `mascli report` name the page, as `--html` does."""
    if "out" in values and "html" in values:
        problems.append("--html and -o are the same here: name the page once")
    elif "out" in values:
        values["html"] = values["out"]
    values.pop("out", None)


def _is_missing(problem: str) -> bool:
    return " is missing" in problem


def _settle_compat(values: dict[str, Any], said: set[str]) -> None:
    """Settle what `--compat` stands for where the user does not say otherwise."""
    settled = settings_of_compat(values["compat"], has_previous=values["previous"] is not None)
    if values["memory"] is not None:
        settled.pop("batch_size")
    if "task" in said:
        settled.pop("all_tasks", None)
    values.update({name: value for name, value in settled.items() if name not in said})


def _consent_problems(config: Common, file: Path | None) -> list[str]:
    if isinstance(config, ModelOptions) and (config.model or "").startswith("python:"):
        return [
            f"{printable(file or '')}: model '{printable(config.model or '')}' asks to run code; if you trust it, give "
            "--trust-model-code on the command line"
        ]
    return []


def _from_text(hint: Any, value: Any) -> Any:
    """A flag's text as YAML would have given it."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _from_text(next(option for option in inner if option is not type(None)), value)
    if origin is tuple:
        members = [value] if isinstance(value, str | Path) else list(value)
        if inner[0] in (int, float):
            members = [part for member in members for part in str(member).split(",")]
        return [_from_text(inner[0], member) for member in members]
    if hint is int and isinstance(value, str):
        with suppress(ValueError):
            return int(value)
    return value
