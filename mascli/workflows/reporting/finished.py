"""Reads the folder of a run or a demo: its result, and the record of each step. Only one that is finished will do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mascli.config.sequence import TaskSequence, read_sequence
from mascli.errors import DataError, UsageError, printable
from mascli.reports.run import MethodRun
from mascli.typed import build
from mascli.workflows.preflight import DEMO_MARK
from mascli.workflows.reporting.stored_result import StoredResult, hint, read_result, read_table
from mascli.workflows.sequences.run_checks import RUN_MARK
from mascli.workflows.sequences.sequence_steps import strength_text

COMMANDS = ("init", "train-task", "estimate", "merge", "evaluate", "validate")  # in the order of a task's steps


@dataclass(frozen=True)
class StepRecord:
    """What is recorded of one step: see `mascli.workflows.sequences.done_steps.Record`."""

    settings: dict[str, Any]
    read: dict[str, str | None]
    outputs: dict[str, str | None]
    found: dict[str, Any] | None = None
    version: str = ""


@dataclass(frozen=True)
class Variant:
    """A method with one strength under one seed.

    `place` is the folder of the seed, empty or with a slash at its end; `steps` are the names of its steps without
    the command, a task each. The first task is learned once for all methods.
    """

    method: MethodRun
    seed: int
    place: str
    steps: tuple[str, ...]


@dataclass(frozen=True)
class Finished:
    """A folder whose run is finished.

    `records` are those of the steps of its result, by step, in the order of seeds, methods and tasks.
    `sequence_text` is the file that the run was given; a demo has none.
    """

    folder: Path
    kind: str
    result: StoredResult
    records: dict[str, StepRecord]
    sequence_text: str | None

    def variants(self) -> Iterator[Variant]:
        """Every method with each strength, seed by seed."""
        for seed in self.result.seeds:
            for method in self.result.methods:
                yield self.variant(method, seed)

    def variant(self, method: MethodRun, seed: int) -> Variant:
        """One method with one strength under one seed."""
        place = "" if self.kind == "demo" else f"seed-{seed}/"
        several = sum(other.name == method.name for other in self.result.methods) > 1
        several |= any(f"/{method.name}/lambda-" in name for name in self.result.failed)
        strength: Any = method.lambda_
        own = f"{place}{method.name}/" + (f"lambda-{strength_text(strength)}/" if several else "")
        first, *others = self.result.tasks
        return Variant(method, seed, place, (place + first, *(own + task for task in others)))


def read_finished(folder: Path) -> Finished:
    """Read the folder of a finished run or demo.

    Raises:
        UsageError: it is neither.
        DataError: the run is not finished, or a file is damaged.
    """
    kind = "run" if (folder / RUN_MARK).is_file() else "demo" if (folder / DEMO_MARK).is_file() else None
    if kind is None:
        raise UsageError(
            f"FOLDER: {printable(folder)} is not a folder that mascli run or mascli demo has made; name the one that "
            "was given to them with -o"
        )
    if not (folder / "result.json").is_file():
        told = _go_on(kind, recorded=(folder / "steps").is_dir())
        raise DataError(f"{printable(folder)} has no result.json yet: {told}")
    result = read_result(folder / "result.json")
    records = _records(folder)
    text = _sequence_text(folder / "sequence.yaml") if kind == "run" else None
    finished = Finished(folder, kind, result, records, text)
    steps = dict.fromkeys(_steps_of(finished.variants()))
    finished = replace(finished, records={name: records[name] for name in steps if name in records})
    missing = [name for name in _needed(finished) if name not in records]
    begun = [name for name, record in finished.records.items() if record.found is None]
    if missing or begun or (text is not None and not _is_of(result, folder / "sequence.yaml")):
        where = f" (step {printable((begun + missing)[0])})" if missing or begun else ""
        raise DataError(f"what is in {printable(folder)} is not finished{where}: {_go_on(kind)}")
    return finished


def _go_on(kind: str, *, recorded: bool = False) -> str:
    """What to do; a demo that has recorded its steps, and has no result yet, goes on as a run does."""
    if kind == "demo" and recorded:
        return "the same mascli demo goes on; make the page when it is done"
    if kind == "demo":
        return "mascli demo with the same -o and --overwrite makes it anew"
    return "the same mascli run goes on; make the page when it is done"


def _records(folder: Path) -> dict[str, StepRecord]:
    root, found = folder / "steps", dict[str, StepRecord]()
    for path in root.rglob("*.json"):
        table, problems = read_table(path, strict=False), list[str]()
        known = {key: table[key] for key in StepRecord.__dataclass_fields__ if key in table}
        record = build(StepRecord, known, "record", problems)
        if record is None:
            raise DataError(f"{printable(path)} is damaged: {problems[0]}; {hint()}")
        found[path.relative_to(root).as_posix().removesuffix(".json")] = record
    return found


def _steps_of(variants: Iterable[Variant]) -> Iterator[str]:
    """The names of all steps that there may be, seed by seed, method by method, task by task."""
    yield "start.init"
    for variant in variants:
        first = variant.steps[0].removeprefix(variant.place)
        shared = f"{variant.place}{variant.method.name}/{first}"
        for base in (f"{variant.place}start", variant.steps[0], shared, *variant.steps[1:]):
            yield from (f"{base}.{command}" for command in COMMANDS)


def _needed(finished: Finished) -> Iterator[str]:
    """The steps without which the numbers of the result cannot have been measured."""
    for variant in finished.variants():
        yield from (f"{step}.evaluate" for step in variant.steps)


def _sequence_text(path: Path) -> str | None:
    try:
        return path.read_bytes().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{printable(path)} cannot be read: {error.strerror}") from error


def _is_of(result: StoredResult, path: Path) -> bool:
    """Whether a result has the tasks, methods and seeds of the file beside it; a file that is no sequence has none."""
    problems: list[str] = []
    sequence = read_sequence(path, problems)
    if problems:
        return True
    tasks = tuple(task.name for task in sequence.tasks)
    seeds = sequence.seeds or result.seeds
    listed = {(method.name, method.lambda_) for method in result.methods}
    methods = _asked(sequence) >= listed if result.failed else _asked(sequence) == listed
    return (tasks or result.tasks) == result.tasks and seeds == result.seeds and methods


def _asked(sequence: TaskSequence) -> set[tuple[str, Any]]:
    return {(method.name, strength) for method in sequence.methods for strength in method.strengths}
