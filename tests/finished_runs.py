"""Folders as `mascli run` leaves them, with made-up numbers: real steps and real files, but nothing was learned."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import stored

from mascli.config import EvaluateConfig, TrainTaskConfig
from mascli.config.sequence import MethodEntry, TaskEntry, TaskSequence
from mascli.files.records_json import checkpoint_metadata
from mascli.files.tensor_file import array_source, file_sha256, write_tensor_file
from mascli.records import Step as LineageStep
from mascli.records import Task
from mascli.reports.export import to_json
from mascli.reports.run import run_report
from mascli.workflows.preflight import DEMO_MARK
from mascli.workflows.sequences.done_steps import Record, outputs_of, read_by, settings_of
from mascli.workflows.sequences.run_checks import RUN_MARK
from mascli.workflows.sequences.run_result import run_result
from mascli.workflows.sequences.sequence_steps import Step, plan

METHODS = (
    MethodEntry("finetune", "finetune"),
    MethodEntry("mas", "mas", (0.1, 1.0)),
    MethodEntry("ewc", "ewc", ("auto",)),
)
LAYERS = {"body.1.weight": [[1.0, 3.0]], "body.1.bias": [0.0], "body.2.weight": [4.0]}


def finished_run(
    folder: Path,
    *,
    tasks: Sequence[str] = ("cats", "dogs", "birds"),
    methods: Sequence[MethodEntry] = METHODS,
    seeds: Sequence[int] = (0, 1),
    classes: Sequence[str] = ("one", "two"),
    epochs: bool = True,
    demo: bool = False,
    warning: str = "",
) -> Path:
    """Write a finished run; its accuracies are drawn, the same for the same arguments."""
    folder.mkdir(parents=True)
    (folder / (DEMO_MARK if demo else RUN_MARK)).write_text("for a test\n")
    entries = tuple(TaskEntry(name, Path("data") / "train", Path("data") / "test") for name in tasks)
    sequence = TaskSequence(entries, tuple(methods), {"model": "mascli:mlp"}, seeds=tuple(seeds), forgetting=("max",))
    planned = plan(sequence, folder, {}, flat=demo)
    dice = random.Random(0)
    records = {step.name: _carried_out(step, classes, dice, epochs, warning) for step in planned.steps}
    for name, record in records.items():
        path = folder / "steps" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(vars(record)))
    result = run_result(str(folder), sequence, planned, records, 0, {})
    (folder / "result.json").write_text(to_json(run_report(result, timed=False)))
    return folder


def _carried_out(step: Step, classes: Sequence[str], dice: random.Random, epochs: bool, warning: str) -> Record:
    for path in outputs_of(step):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".omega":
            stored.write(path, {name: np.array(value) * (1 + dice.random()) for name, value in LAYERS.items()})
        else:
            _write_checkpoint(path, step, classes, dice)
    read = {name: file_sha256(path) if path.is_file() else "f" * 64 for name, path in read_by(step)}
    found: dict[str, Any] = {}
    if isinstance(step.config, EvaluateConfig):
        found = {"tasks": [[text.rpartition("=")[0], dice.randrange(60, 101), 100] for text in step.config.data]}
    elif isinstance(step.config, TrainTaskConfig):
        strength = step.config.lambda_
        found = {"lambda": dice.random() if strength == "auto" else strength, "val_accuracy": 90.0}
        found["warnings"] = [warning] if warning else []
        if epochs:
            found["epochs"] = [
                {"phase": "main", "epoch": at, "loss": 1.0 / at, "val_accuracy": 80.0 + at, "val_loss": 1.0}
                for at in (1, 2, 3)
            ]
    outputs = {path.name: file_sha256(path) for path in outputs_of(step)}
    return Record(settings_of(step), read, outputs, found, 1.5)


def _write_checkpoint(path: Path, step: Step, classes: Sequence[str], dice: random.Random) -> None:
    task = getattr(step.config, "task", None)
    record = stored.checkpoint()
    lineage = LineageStep("train-task", "b" * 64, task, settings={"lr": 0.05, "lambda": dice.random(), "epochs": 3})
    if task is not None and stored.checkpoint().lineage:
        name = task if task.isascii() and task.replace("-", "").isalnum() else "odd"
        heads = {name: {"weight": "mascli.head.odd.weight"}}
        tasks = (Task(name, tuple(classes)),)
        record = replace(record, tasks=tasks, heads=heads, lineage=(*record.lineage, lineage))
    head = next(iter(record.heads.values()))["weight"]
    tensors = {name: array_source(np.array([dice.random()], np.float32)) for name in (*record.shared, *record.buffers)}
    tensors[head] = array_source(np.zeros(2, np.float32))
    write_tensor_file(path, tensors, checkpoint_metadata(record, {}), overwrite=True)
