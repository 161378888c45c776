"""What goes together in the file of `mascli run`, one line for each thing that does not."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mascli.config.checks import range_problems
from mascli.config.commands import UNIFORM, Common, EstimateConfig, InitConfig, RunConfig, TrainTaskConfig
from mascli.config.sequence import MEASURED, MethodEntry, TaskEntry, TaskSequence, name_problems, read_sequence
from mascli.errors import UsageError, printable

_ANY = Path("any")
_FLAG = re.compile(r"--([a-z][a-z-]*)")


def sequence_of(config: RunConfig) -> TaskSequence:
    """The sequence that `mascli run` was given, with the flags that speak for it.

    Raises:
        UsageError: everything that is wrong in the file, and every path that is not there, one line each.
    """
    problems: list[str] = []
    sequence = read_sequence(config.sequence, problems)
    where = printable(config.sequence)
    if not problems:  # else half of it would be told again in other words
        told = [*_start(sequence, config), *_tasks(sequence), *_methods(sequence), *_seeds(sequence.seeds)]
        problems = [f"{where}: {line}" for line in dict.fromkeys([*told, *_paths(sequence)])]
    if problems:
        raise UsageError("\n".join(problems))
    return sequence


def training_fields(sequence: TaskSequence, task: TaskEntry, method: MethodEntry | None) -> dict[str, Any]:
    """The settings of `train-task` for a task: the shared ones, beaten by the task's, beaten by the method's."""
    fields = {**sequence.training, **task.training, **(method.training if method else {})}
    return {**fields, "val_split": 0.0} if task.val is not None else fields


def estimating_fields(sequence: TaskSequence, task: TaskEntry, method: MethodEntry) -> dict[str, Any]:
    """The settings of `estimate` after a task, in the same order of rank; MAS is what it does by default."""
    kind = {"mas-local": "mas-local", "ewc": "ewc", "ewc-online": "ewc"}.get(method.method)
    named = {"method": kind} if kind else {}
    return {**sequence.estimating, **task.estimating, **method.estimating, **named}


def _start(sequence: TaskSequence, config: RunConfig) -> Iterator[str]:
    if sequence.checkpoint is not None and sequence.model:
        yield "checkpoint and model exclude each other: plain weights to start from are `weights`, beside their `model`"
    elif sequence.checkpoint is None and "model" not in sequence.model:
        yield "model is missing: name the architecture, as in torchvision:resnet18, or give a checkpoint to start from"
    if str(sequence.model.get("model", "")).startswith("python:") and not config.trust_model_code:
        yield (
            f"model '{printable(sequence.model['model'])}' asks to run code; if you trust it, give --trust-model-code "
            "on the command line"
        )
    yield from _told(InitConfig(**{"model": "any", **sequence.model}), "")


def _tasks(sequence: TaskSequence) -> Iterator[str]:
    if len(sequence.tasks) < 2 and not (sequence.samples and not sequence.tasks):
        yield "tasks is missing or too short: at least two, each with its `name`, its `data` and its `test` folder"
    yield from name_problems([task.name for task in sequence.tasks], "task")
    for task in sequence.tasks:
        if len(set(task.classes)) < len(task.classes) or len(task.classes) == 1:
            yield f"task {task.name}: classes must be two or more different ones"
        if any("/" in name or name in (".", "..") for name in task.classes):
            yield f"task {task.name}: classes are names of folders, without '/'"
        yield from _told(_training(sequence, task, None, {}), f"task {task.name}: training: ")


def _methods(sequence: TaskSequence) -> Iterator[str]:
    if not sequence.methods:
        yield "methods is missing: name one or more, as in finetune and mas"
    yield from name_problems([method.name for method in sequence.methods], "method")
    for method in sequence.methods:
        who = f"method {method.name}: "
        if "damping" in method.training:
            yield f"{who}damping belongs into the shared training: the first task is learned once for all methods"
        if not 0 <= method.decay <= 1:
            yield f"{who}decay must be 0 to 1 (what remains of the omega before), not {method.decay:g}"
        for task in sequence.tasks:
            for strength in method.strengths:
                protected: dict[str, Any] = {} if strength is None else {"omega": (UNIFORM,), "lambda_": strength}
                if method.method == "lwf":
                    protected = {"distill": strength}
                if sequence.heads == "one" and method.method != "alone" and task is not sequence.tasks[0]:
                    protected["head_of"] = sequence.tasks[0].name
                yield from _told(_training(sequence, task, method, protected), f"{who}training: ")
            if method.method in MEASURED:
                fields = estimating_fields(sequence, task, method)
                yield from _told(EstimateConfig(checkpoint=_ANY, data=_ANY, **fields), f"{who}estimating: ")


def _seeds(seeds: tuple[int, ...]) -> Iterator[str]:
    if len(set(seeds)) < len(seeds) or not all(0 <= seed < 2**32 for seed in seeds):
        yield "seeds must be different numbers from 0 to 4294967295"


def _paths(sequence: TaskSequence) -> Iterator[str]:
    """Every path that is not there."""
    given: dict[str, Path | None] = {"checkpoint": sequence.checkpoint}
    given |= {name: sequence.model.get(field) for name, field in (("weights", "weights"), ("class-names", "classes"))}
    for what, path in given.items():
        if path is not None and not path.is_file():
            yield f"{what}: there is no file {printable(path)}"
    told: set[Path] = set()
    for task in sequence.tasks:
        folders = {"data": task.data, "test": task.test, "val": task.val, "estimate-data": task.estimate_data}
        for what, path in folders.items():
            if path is not None and path not in told and not path.is_dir():
                told.add(path)
                yield f"task {printable(task.name)}: {what}: there is no folder {printable(path)}"


def _training(
    sequence: TaskSequence, task: TaskEntry, method: MethodEntry | None, protection: Mapping[str, Any]
) -> TrainTaskConfig:
    fields = {**training_fields(sequence, task, method), **protection}
    return TrainTaskConfig(checkpoint=_ANY, task="any", data=_ANY, val=task.val, **fields)


def _told(config: Common, who: str) -> Iterator[str]:
    """What is wrong with the settings of one command, in the words of the file."""
    for line in range_problems(config):
        yield who + _FLAG.sub(r"`\1`", line.removeprefix("--"))
