"""`mascli run`: a whole sequence of tasks, by one or several methods, through the workflows of the other commands."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mascli import __version__
from mascli.config import (
    Common,
    EstimateConfig,
    EvaluateConfig,
    InitConfig,
    MergeConfig,
    RunConfig,
    TrainTaskConfig,
)
from mascli.config.command_line import command_line
from mascli.config.sequence import TaskSequence
from mascli.data.chosen_classes import link_classes
from mascli.data.kept_images import keeping_images
from mascli.data.samples.digits import write_digit_tasks
from mascli.errors import MascliError, NumericsError, UnstableError
from mascli.files.atomic import replacing, write_text
from mascli.observer import Observer
from mascli.reports.estimate import NOT_READ, EstimateResult, unreadable_lines
from mascli.reports.evaluate import EvaluateResult
from mascli.reports.export import to_csv, to_json
from mascli.reports.report import plain
from mascli.reports.run import RunResult, run_report
from mascli.reports.train_task import TrainResult
from mascli.workflows.estimate import estimate
from mascli.workflows.evaluate import evaluate
from mascli.workflows.init import init
from mascli.workflows.merge import merge
from mascli.workflows.pictures.of_run import draw_run
from mascli.workflows.preflight import check_estimate, check_evaluate, check_init, check_merge, check_train_task
from mascli.workflows.sequences.alone import alone_at
from mascli.workflows.sequences.done_steps import Content, Record, Steps, check_unchanged, forget_all, with_resume
from mascli.workflows.sequences.run_checks import RUN_MARK, class_sources, plan_of
from mascli.workflows.sequences.run_result import run_result
from mascli.workflows.sequences.sequence_steps import Plan, Step, without
from mascli.workflows.train_task import train_task

# What the results of a folder are of, for whoever reads them later.
SEQUENCE_COPY = "sequence.yaml"
Command = tuple[Callable[[Any], None], Callable[[Any, Observer], Any]]
COMMANDS: dict[type[Common], Command] = {
    InitConfig: (check_init, init),
    TrainTaskConfig: (check_train_task, train_task),
    EstimateConfig: (check_estimate, estimate),
    MergeConfig: (check_merge, merge),
    EvaluateConfig: (check_evaluate, evaluate),
}


def run(config: RunConfig, sequence: TaskSequence, observer: Observer) -> RunResult:
    """Carry out every step that is not done yet, and write what came out to result.json and result.csv.

    Raises:
        UsageError: another one is at work in the folder, or what is done was done with other settings.
    """
    assert config.out is not None  # checked
    config.out.mkdir(parents=True, exist_ok=True)
    with alone_at(config.out / RUN_MARK, "mascli run"):
        return _run(config, sequence, observer)


def _run(config: RunConfig, sequence: TaskSequence, observer: Observer) -> RunResult:
    folder = prepared_folder(config, sequence)
    plan = plan_of(config, sequence)
    steps = Steps(folder / "steps", Content())
    check_unchanged(steps, plan.steps)
    if config.sequence.resolve() != (folder / SEQUENCE_COPY).resolve():
        with replacing(folder / SEQUENCE_COPY, overwrite=True) as copy:
            copy.write(config.sequence.read_bytes())
    done = carry_out(plan, steps, observer)
    result = run_result(str(folder), sequence, done.plan, done.records, done.skipped, done.failed)
    report = run_report(result, timed=False)
    write_text(folder / "result.json", to_json(report), overwrite=True)
    write_text(folder / "result.csv", to_csv(report), overwrite=True)
    if config.plot is not None:
        draw_run(result, config.plot, overwrite=config.overwrite)
    return result


@dataclass(frozen=True)
class Done:
    """What came of a plan: the part of it that could be done, the record of each step in it, what failed and why.

    `skipped` steps were done before.
    """

    plan: Plan
    records: dict[str, Record]
    failed: dict[str, str]
    skipped: int


def carry_out(plan: Plan, steps: Steps, observer: Observer, by: str = "mascli run") -> Done:
    """Carry out every step in turn but those that are done, each shown as a user would type it.

    A method whose training diverges is left out, and the others go on. Images stay decoded from step to step, as far
    as memory allows; folders of images must not change meanwhile.

    Args:
        by: the command that goes on where this is stopped.

    Raises:
        NumericsError, UnstableError: a training diverges that all methods need, or the last method left.
    """
    records: dict[str, Record] = {}
    left, failed = plan, dict[str, str]()
    skipped, versions = 0, set[str]()
    within = _WithinRun(observer, by)
    with keeping_images(), observer.progress("all steps", len(plan.steps), "steps") as advance:
        for step in plan.steps:
            advance(1)
            if step not in left.steps:
                continue
            record = steps.done(step)
            if record is not None:
                observer.step(f"{step.name}: done before")
                versions |= {record.version} - {__version__}
                skipped += 1
            else:
                try:
                    record = _carried_out(step, steps, within)
                except (NumericsError, UnstableError) as error:
                    rest = without(left, step.name)
                    failed[step.name] = str(error)
                    if rest is None:
                        raise NumericsError("\n".join(f"{name}: {text}" for name, text in failed.items())) from error
                    left = rest
                    observer.note(f"{step.name}: {error}; this method is left out, and the others go on")
                    continue
                except MascliError as error:
                    raise type(error)(f"{step.name}: {error}") from error
            records[step.name] = record
    if versions:
        observer.note(f"some steps were done by mascli {', '.join(sorted(versions))}, not {__version__}")
    return Done(left, {step.name: records[step.name] for step in left.steps}, failed, skipped)


def _carried_out(step: Step, steps: Steps, observer: _WithinRun) -> Record:
    begun = steps.begin(step)
    config = with_resume(step.config)
    check, command = COMMANDS[type(config)]
    observer.command(command_line(config))
    started = time.monotonic()
    check(config)
    found = _found(command(config, observer))
    for warning in found.get("warnings", ()):
        observer.note(warning if warning.startswith(NOT_READ) else f"{step.name}: {warning}")
    return steps.finish(step, begun, found, time.monotonic() - started)


class _WithinRun(Observer):
    """Passes everything on, but says how a run goes on: by the same command, without a flag."""

    def __init__(self, observer: Observer, by: str) -> None:
        self._by = by
        self._not_read: set[str] = set()
        self.step, self.command = observer.step, observer.command  # type: ignore[method-assign]
        self.phase, self.progress = observer.phase, observer.progress  # type: ignore[method-assign]
        self._note = observer.note

    def note(self, text: str) -> None:
        """Pass a note on; that a file cannot be read, only once."""
        if text in self._not_read:
            return
        if text.startswith(NOT_READ):
            self._not_read.add(text)
        self._note(text.replace("--resume goes on", f"the same `{self._by}` goes on"))


def _found(result: Any) -> dict[str, Any]:
    """What the report needs of the result of a step."""
    if isinstance(result, TrainResult):
        warnings = [*result.warnings, *unreadable_lines(result.unreadable, rest="")]
        found = {"lambda": result.lambda_, "val_accuracy": result.val_accuracy, "warnings": warnings}
        return {**found, "epochs": plain(result.epochs)}
    if isinstance(result, EvaluateResult):
        tasks = [[row.task, row.correct, row.images] for row in result.tasks]
        return {"tasks": tasks, "notes": list(result.notes)}
    if isinstance(result, EstimateResult):
        return {"warnings": list(unreadable_lines(result.unreadable, rest=""))}
    return {}


def prepared_folder(config: RunConfig, sequence: TaskSequence) -> Path:
    """The folder of a run, marked as such, with the bundled images and the links to chosen classes."""
    assert config.out is not None  # checked
    folder = config.out
    (folder / RUN_MARK).write_text("made by mascli run; --overwrite removes what it has made and starts anew\n")
    if config.overwrite:
        forget_all(folder)
    if sequence.samples is not None:
        write_digit_tasks(folder / "data", {task.name: task.classes for task in sequence.tasks})
        return folder
    for task in sequence.tasks:
        for part, source in class_sources(task).items() if task.classes else ():
            link_classes(folder / "data" / task.name / part, source, task.classes)
    return folder
