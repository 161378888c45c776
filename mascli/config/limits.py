"""Limits on accuracies: one for every task, and one for a task by name that beats it. All are percent or points."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mascli.errors import printable

RANGES = {
    "min_accuracy": (0.0, 100.0, "0 to 100 (percent)"),
    "max_forgetting": (-100.0, 100.0, "-100 to 100 (percentage points)"),
}


@dataclass(frozen=True)
class Limits:
    """`overall` is for every task that is evaluated and has none of its own in `tasks`; None: no limit."""

    overall: float | None = None
    tasks: Mapping[str, float] = field(default_factory=dict)

    def of(self, task: str) -> float | None:
        """The limit of one task."""
        return self.tasks.get(task, self.overall)


def limits_of(texts: Iterable[str]) -> Limits:
    """The limits that checked arguments ask for: each a NUMBER, or TASK=NUMBER."""
    pairs = [_parts(text) for text in texts]
    overall = [_number(value) for task, value in pairs if task is None]
    return Limits(overall[-1] if overall else None, {task: _number(value) for task, value in pairs if task is not None})


def limit_problems(name: str, flag: str, texts: Iterable[str]) -> list[str]:
    """What is wrong with the limits of the setting `name`, one line each; `flag` is how it is written."""
    low, high, wanted = RANGES[name]
    problems, seen = [], set()
    for text in texts:
        task, value = _parts(text)
        number = _number(value)
        where = flag if task is None else f"{flag} {printable(task)}"
        if task == "" or (math.isnan(number) and value.strip().lower() != "nan"):
            problems.append(f"{flag}: expected a number, or TASK=NUMBER, not '{printable(text)}'")
        elif not low <= number <= high:
            problems.append(f"{where} must be {wanted}, not {printable(value)}")
        if task in seen:
            problems.append(f"{where} is given twice")
        seen.add(task)
    return problems


def limit_texts(value: Any) -> Any:
    """What a configuration file says (a number, a table of tasks, a list of these) as arguments of the flag.

    Anything else comes back as it is, for the check of types to name.
    """
    if isinstance(value, Mapping):
        return [f"{task}={_text(number)}" for task, number in value.items()]
    if isinstance(value, list | tuple):
        parts = [limit_texts(member) for member in value]
        return [text for part in parts for text in (part if isinstance(part, list) else [part])]
    return _text(value)


def _parts(text: str) -> tuple[str | None, str]:
    task, equals, value = text.partition("=")
    return (task, value) if equals else (None, text)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _text(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value)
    is_number = isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**63)
    return str(value) if is_number else value
