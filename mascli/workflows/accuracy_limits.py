"""The limits of `mascli evaluate`: whether they can be decided, and whether they are met. No torch."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from mascli.config import EvaluateConfig
from mascli.config.limits import Limits, limits_of
from mascli.errors import DataError, UsageError, closest, listed, printable
from mascli.records import CheckpointRecord
from mascli.reports.evaluate import Gate, TaskRow, limit_text

# A gate is decided by the number that is shown.
DECIMALS = 2


def check_limits(
    config: EvaluateConfig,
    record: CheckpointRecord | None,
    names: tuple[str, ...],
    evaluated: Mapping[str, Path],
    earlier: Collection[str],
) -> None:
    """Check that every limit is for a task that will be measured: one that is not would pass unseen.

    Args:
        record: of the checkpoint; None for plain weights.
        names: its tasks.
        evaluated: the folder of each task that is evaluated.
        earlier: the tasks that any baseline has.

    Raises:
        UsageError: a limit of an unknown task, or of one that is not evaluated or has no baseline.
        DataError: the data root has no folder for a task that a limit is for.
    """
    accuracy, forgetting = limits_of(config.min_accuracy), limits_of(config.max_forgetting)
    if config.data_root is not None and not config.task:
        _check_root(config.data_root, record, names, evaluated, earlier, accuracy, forgetting)
    problems = [
        problem
        for flag, limits in (("--min-accuracy", accuracy), ("--max-forgetting", forgetting))
        for problem in _problems(flag, limits, config, names, evaluated)
    ]
    problems += [
        f"--max-forgetting {printable(task)}: no --baseline has this task"
        for task in forgetting.tasks
        if task in names and task not in earlier
    ]
    if forgetting.overall is not None and not set(earlier) & evaluated.keys():
        problems.append(f"--max-forgetting: no --baseline has a task of those to evaluate ({', '.join(evaluated)})")
    if problems:
        raise UsageError("\n".join(problems))


def _check_root(
    root: Path,
    record: CheckpointRecord | None,
    names: tuple[str, ...],
    evaluated: Mapping[str, Path],
    earlier: Collection[str],
    accuracy: Limits,
    forgetting: Limits,
) -> None:
    learned = {task.name for task in record.tasks if not task.imported} if record else set()
    limited = learned if accuracy.overall is not None else set()
    limited = limited | (learned & set(earlier) if forgetting.overall is not None else set())
    limited = limited | ({*accuracy.tasks, *forgetting.tasks} & set(names))
    missing = sorted(limited - evaluated.keys())
    if missing:
        raise DataError(
            f"{printable(root)} has no folder for {listed(missing)}, which the limit is for; add it, "
            "or name the task to evaluate with --task"
        )


def _problems(
    flag: str, limits: Limits, config: EvaluateConfig, names: tuple[str, ...], evaluated: Mapping[str, Path]
) -> Iterator[str]:
    for task in limits.tasks:
        shown = printable(task)
        if task not in names:
            known = f"it has {listed(names, 20)}{closest(task, names)}"
            yield f"{flag} {shown}: {printable(config.checkpoint)} has no such task; {known}"
        elif config.task and task not in config.task:
            yield f"{flag} {shown}: the task is not evaluated; give --task {shown} too"
        elif task not in evaluated:
            yield f"{flag} {shown}: the task is not evaluated; give its images with --data {shown}=FOLDER"


def limit_notes(config: EvaluateConfig) -> Iterator[str]:
    """What is worth a second look: an accuracy that looks like a share of 0 to 1."""
    limits = limits_of(config.min_accuracy)
    for task, limit in ((None, limits.overall), *limits.tasks.items()):
        if limit is not None and 0 < limit <= 1:
            start = "" if task is None else f"{task}="
            yield (
                f"--min-accuracy {start}{limit_text(limit)} is percent, not a share: write --min-accuracy "
                f"{start}{limit_text(float(f'{100 * limit:.10g}'))} for {100 * limit:.10g} %"
            )


def gates(config: EvaluateConfig, rows: Iterable[TaskRow]) -> Iterator[Gate]:
    """Each limit beside what was measured, first those on accuracy; a task that has no baseline cannot forget."""
    measured = tuple(rows)
    accuracy, forgetting = limits_of(config.min_accuracy), limits_of(config.max_forgetting)
    for row in measured:
        limit = accuracy.of(row.task)
        if limit is not None:
            value = round(row.accuracy, DECIMALS)
            yield Gate("min-accuracy", row.task, limit, value, value >= limit)
    for row in measured:
        limit = forgetting.of(row.task)
        if limit is not None and row.forgetting is not None:
            value = round(row.forgetting, DECIMALS) + 0.0
            yield Gate("max-forgetting", row.task, limit, value, value <= limit)
