"""What was found, one line of JSON for each method, strength and seed, so that a stopped benchmark goes on."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from mascli.evaluation.metrics import average_accuracy, forgetting, learning_accuracy, mean_interval

Key = tuple[str, str, str, str, int]


@dataclass(frozen=True)
class Outcome:
    """One sequence learned once.

    `settings` says with what (a change of it makes the outcome void), `by` is mascli or avalanche,
    `strength` lambda as text, `auto`, or empty. Row i of `matrix` holds the accuracies (percent) on
    tasks 0 to i after learning task i; `lambdas` are those that each task was learned with.
    """

    sequence: str
    settings: str
    by: str
    method: str
    strength: str
    seed: int
    matrix: tuple[tuple[float, ...], ...]
    lambdas: tuple[float | None, ...] = ()
    seconds: float = 0.0

    @property
    def key(self) -> Key:
        """What tells it from others."""
        return self.sequence, self.by, self.method, self.strength, self.seed

    @property
    def average(self) -> float:
        """Mean accuracy over all tasks at the end, in percent."""
        return average_accuracy(self.matrix)

    @property
    def learning(self) -> float:
        """Mean accuracy of each task right after it was learned, in percent."""
        return learning_accuracy(self.matrix)

    @property
    def forgetting(self) -> float:
        """Mean over all tasks but the last of accuracy right after learning minus at the end, in points."""
        return forgetting(self.matrix)


class Results:
    """The file of outcomes. Several processes may add to it, each line in one go."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.conditions: Mapping[str, Any] = {}
        self._known: dict[Key, Outcome] = {}
        for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
            self._read(line)

    def _read(self, line: str) -> None:
        try:
            found = json.loads(line)
        except ValueError:  # a line that was cut off
            return
        if "conditions" in found:
            self.conditions = {**self.conditions, **found["conditions"]}
            return
        matrix = tuple(tuple(row) for row in found.pop("matrix"))
        outcome = Outcome(**{**found, "matrix": matrix, "lambdas": tuple(found["lambdas"])})
        self._known[outcome.key] = outcome

    def has(self, key: Key, settings: str) -> bool:
        """Whether this was found already, with these settings."""
        return key in self._known and self._known[key].settings == settings

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Keep what was found, in the file too."""
        for outcome in outcomes:
            self._known[outcome.key] = outcome
            self._append(asdict(outcome))

    def under(self, conditions: Mapping[str, Any]) -> None:
        """Note on what machine and with what versions the following outcomes are found."""
        if not conditions.items() <= self.conditions.items():
            self.conditions = {**self.conditions, **conditions}
            self._append({"conditions": conditions})

    def of(self, sequence: str, settings: str) -> list[Outcome]:
        """All outcomes of a sequence."""
        return [found for found in self._known.values() if (found.sequence, found.settings) == (sequence, settings)]

    def _append(self, content: Mapping[str, Any]) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(content) + "\n")


@dataclass(frozen=True)
class Figure:
    """A mean over seeds and half its 95 % interval (NaN for one seed)."""

    mean: float
    half: float

    def __str__(self) -> str:
        return f"{self.mean:.2f}" if math.isnan(self.half) else f"{self.mean:.2f} ± {self.half:.2f}"


def figure(values: Sequence[float]) -> Figure:
    """The mean of `values`, one a seed, and half its 95 % interval by Student's t."""
    interval = mean_interval(values)
    return Figure(fmean(values), math.nan if interval is None else (interval[1] - interval[0]) / 2)


def strength_text(strength: float | str | None) -> str:
    """Lambda as text, `auto`, or nothing."""
    return f"{strength:g}" if isinstance(strength, float) else strength or ""
