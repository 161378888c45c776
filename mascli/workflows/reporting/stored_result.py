"""Reads result.json, which a run or the demo has left, and believes nothing that it says."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mascli.errors import DataError, printable
from mascli.files.header import strict_json
from mascli.reports.run import Figure, MethodRun, SeedResult
from mascli.typed import build, convert

Rows = tuple[tuple[float, ...], ...]

NEEDED = ("average_accuracy", "learning_accuracy", "forgetting", "backward_transfer")
FIGURES = (
    *NEEDED,
    "forward_transfer",
    "validation_accuracy",
    "forgetting_max",
    "forgetting_max_final",
    "forgetting_all",
)


@dataclass(frozen=True)
class StoredResult:
    """What came out of a sequence: the tasks in order, the test images of each, the methods, and what went wrong.

    `failed` are trainings that diverged, by the names of their steps; their methods are not among `methods`.
    """

    tasks: tuple[str, ...]
    images: tuple[int, ...]
    methods: tuple[MethodRun, ...]
    warnings: tuple[str, ...]
    failed: tuple[str, ...] = ()

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds, the same for every method."""
        return tuple(run.seed for run in self.methods[0].seeds)

    def accuracies(self) -> list[float]:
        """All accuracies of the mean matrices, in percent."""
        return [value for method in self.methods for row in method.accuracy_matrix for value in row]


def read_table(path: Path, *, strict: bool = True) -> dict[str, Any]:
    """The JSON table in the file at `path`; one that is not `strict` may have NaN and infinities.

    Raises:
        DataError: it cannot be read, or is no such table.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = strict_json(text) if strict else json.loads(text)
    except OSError as error:
        raise DataError(f"{printable(path)} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{printable(path)} is damaged: it is not JSON ({printable(str(error))}); {hint()}") from error
    if not isinstance(content, dict):
        raise DataError(f"{printable(path)} is damaged: it is not a table; {hint()}")
    return content


def hint() -> str:
    """What to do about a damaged file of a folder."""
    return "the same mascli run writes it anew, mascli demo does with --overwrite"


def read_result(path: Path) -> StoredResult:
    """The result in the file at `path`. Keys that this version does not know are passed over.

    Raises:
        DataError: it is damaged, or its parts do not fit together.
    """
    table, problems = read_table(path), list[str]()
    given = table.get("methods")
    methods = given if isinstance(given, list) else []
    result = StoredResult(
        tasks=convert(tuple[str, ...], table.get("tasks"), "tasks", problems),
        images=convert(tuple[int, ...], table.get("images"), "images", problems),
        methods=tuple(_method(entry, f"methods[{at}]", problems) for at, entry in enumerate(methods)),
        warnings=convert(tuple[str, ...], table.get("warnings", []), "warnings", problems),
        failed=convert(tuple[str, ...], table.get("failed", []), "failed", problems),
    )
    problems = problems or _contradictions(result)
    if problems:
        raise DataError(f"{printable(path)} is damaged: {problems[0]}; {hint()}")
    return result


def _method(entry: Any, where: str, problems: list[str]) -> MethodRun:
    values = entry if isinstance(entry, dict) else {}
    figures = {key: _figure(values.get(key), f"{where}: {key}", problems) for key in FIGURES if key in values}
    seeds = values.get("seeds")
    return MethodRun(
        name=convert(str, values.get("name"), f"{where}: name", problems),
        method=convert(str, values.get("method"), f"{where}: method", problems),
        lambda_=convert(float | Literal["auto"] | None, values.get("lambda"), f"{where}: lambda", problems),
        chosen=convert(str | None, values.get("chosen"), f"{where}: chosen", problems),
        accuracy_matrix=_matrix(values, where, problems),
        figures=figures,
        seeds=tuple(
            _seed(seed, f"{where}: seeds[{at}]", problems) for at, seed in enumerate(seeds if seeds is not None else [])
        )
        if isinstance(seeds, list)
        else (),
    )


def _figure(value: Any, where: str, problems: list[str]) -> Figure | None:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        problems.append(f"{where}: expected a table of names and values")
        return None
    return build(
        Figure, {key: value[key] for key in ("mean", "low", "high", "values") if key in value}, where, problems
    )


def _seed(entry: Any, where: str, problems: list[str]) -> SeedResult:
    values = entry if isinstance(entry, dict) else {}
    return SeedResult(
        seed=convert(int, values.get("seed"), f"{where}: seed", problems),
        accuracy_matrix=_matrix(values, where, problems),
        lambdas=convert(tuple[float | None, ...], values.get("lambdas", []), f"{where}: lambdas", problems),
    )


def _matrix(values: Mapping[str, Any], where: str, problems: list[str]) -> Rows:
    return convert(Rows, values.get("accuracy_matrix"), f"{where}: accuracy_matrix", problems)  # type: ignore[no-any-return]


def _contradictions(result: StoredResult) -> list[str]:
    """What does not fit together in a result whose values all have the right type."""
    if not result.tasks or len(result.images) != len(result.tasks):
        return ["it has no tasks, or not as many numbers of images"]
    if not result.methods:
        return ["it has no methods"]
    problems = []
    for method in result.methods:
        matrices = [method.accuracy_matrix, *(run.accuracy_matrix for run in method.seeds)]
        if not all(_is_triangle(rows, len(result.tasks)) for rows in matrices):
            problems.append(f"an accuracy matrix of {printable(method.label)} does not have a row a task")
        if not method.seeds or tuple(run.seed for run in method.seeds) != result.seeds:
            problems.append(f"the seeds of {printable(method.label)} are not those of the other methods")
        lacking = [key for key in NEEDED if method.figures.get(key) is None]
        lacking += [key for key, figure in method.figures.items() if figure and not _fits(figure, result.seeds)]
        problems += [f"{printable(method.label)} has no {key}, or not of every seed" for key in lacking]
    labels = [method.label for method in result.methods]
    if len(set(labels)) < len(labels):
        problems.append("a method is there twice")
    return problems


def _is_triangle(rows: Rows, tasks: int) -> bool:
    return [len(row) for row in rows] == list(range(1, tasks + 1)) and all(
        math.isfinite(v) for row in rows for v in row
    )


def _fits(figure: Figure, seeds: Sequence[int]) -> bool:
    return len(figure.values) == len(seeds) and math.isfinite(figure.mean)
