"""Learn a sequence by a method of ours, through `mascli run`'s own workflow, in this process."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from retention_data import Subject
from retention_results import Outcome, strength_text

from mascli.config import RunConfig, TrainTaskConfig
from mascli.config.sequence import TaskSequence
from mascli.files.omega_file import write_omega
from mascli.files.records_json import foreign_metadata, omega_record
from mascli.files.tensor_file import read_header
from mascli.files.tensors import read_tensors, to_source
from mascli.observer import Observer
from mascli.reports.run import RunResult
from mascli.workflows.run import COMMANDS, prepared_folder, run
from mascli.workflows.sequences.done_steps import Record
from mascli.workflows.sequences.run_checks import check_run, plan_of
from mascli.workflows.sequences.run_result import run_result

# The family of strengths of each method; None takes none. Those of AUTO have an omega to find lambda for.
OURS = {
    "finetune": None,
    "mas": "mas",
    "ewc": "ewc",
    "si": "si",
    "lwf": "lwf",
    "l2": "l2",
    "mas-local": "mas",
    "joint": None,
    "freeze": None,
    "mas-shuffled": "mas",
}
AUTO = ("mas", "ewc", "si", "l2", "mas-local")
SHUFFLED = "mas-shuffled"


def outcomes(
    subject: Subject, method: str, strengths: Sequence[float | str | None], seed: int, work: Path
) -> list[Outcome]:
    """What `method` came to at each of `strengths` (None: it takes none).

    What was stopped goes on from what lies in `work`; a run that ends leaves nothing there.
    """
    begun = time.monotonic()
    text = yaml.safe_dump(sequence_file(subject, method, strengths, seed), sort_keys=False)
    name = f"{subject.name}-{method}-{seed}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    file = work / f"{name}.yaml"
    file.write_text(text, encoding="utf-8")
    config = RunConfig(sequence=file, out=work / name, device="cpu")
    if method == SHUFFLED:
        shutil.rmtree(work / name, ignore_errors=True)
    sequence = check_run(config)
    result = _shuffled(config, sequence) if method == SHUFFLED else run(config, sequence, Observer())
    seconds = (time.monotonic() - begun) / len(strengths)
    found = list(_outcomes(result, subject, method, seed, seconds))
    shutil.rmtree(work / name)
    file.unlink()
    return found


def sequence_file(subject: Subject, method: str, strengths: Sequence[float | str | None], seed: int) -> dict[str, Any]:
    """The file of `mascli run` for one method and one seed."""
    model, training = subject.model, subject.training
    start = {
        "model": model.model,
        "model-arg": list(model.model_arg),
        "image-size": list(model.image_size or ()),
        "channels": model.channels,
    }
    if subject.weights is not None:
        start |= {"weights": str(subject.weights.resolve()), "head-name": model.head_name}
    named = "mas" if method == SHUFFLED else method
    fixed = [strength for strength in strengths if isinstance(strength, float)]
    entries: list[dict[str, Any]] = [{"method": named, "lambda": fixed}] if fixed else []
    entries += [{"method": named, "name": f"{named}-auto", "lambda": "auto"}] if "auto" in strengths else []
    return {
        **{key: value for key, value in start.items() if value},
        "root": str(subject.root.resolve()),
        "tasks": [{"name": task, "val": str(subject.folder(task, "val").resolve())} for task in subject.tasks],
        "methods": entries or [{"method": named}],
        "seeds": [seed],
        "heads": subject.heads,
        "training": {
            "epochs": training.epochs,
            "head-epochs": 0,
            "lr": training.lr,
            "head-lr": training.lr,
            "batch-size": training.batch_size,
            **subject.ours,
        },
    }


def _outcomes(result: RunResult, subject: Subject, method: str, seed: int, seconds: float) -> Iterator[Outcome]:
    for run_of in result.methods:
        (found,) = run_of.seeds
        yield Outcome(
            sequence=subject.name,
            settings=subject.settings,
            by="mascli",
            method=method,
            strength=strength_text(run_of.lambda_),
            seed=seed,
            matrix=found.accuracy_matrix,
            lambdas=found.lambdas,
            seconds=round(seconds, 2),
        )


def _shuffled(config: RunConfig, sequence: TaskSequence) -> RunResult:
    """`mascli run`, but every task is learned with an omega whose values have been shuffled within each tensor."""
    config.out.mkdir(parents=True)
    prepared_folder(config, sequence)
    planned = plan_of(config, sequence)
    records: dict[str, Record] = {}
    for step in planned.steps:
        settings = step.config
        if settings.out is not None:
            settings.out.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(settings, TrainTaskConfig) and settings.omega:
            settings = replace(settings, omega=(shuffled(settings.omega[0], settings.seed),))
        check, command = COMMANDS[type(settings)]
        check(settings)
        result = command(settings, Observer())
        rows = [[row.task, row.correct, row.images] for row in getattr(result, "tasks", ()) if hasattr(row, "correct")]
        found = {"tasks": rows, "lambda": getattr(result, "lambda_", None)}
        records[step.name] = Record({}, {}, {}, found)
    return run_result(str(config.out), sequence, planned, records, 0, {})


def shuffled(omega: Path, seed: int) -> Path:
    """A copy of an omega file with the values of each tensor in a random order."""
    header = read_header(omega)
    generator = torch.Generator().manual_seed(seed)
    values = {}
    for name, tensor in sorted(read_tensors(header, header.tensors).items()):
        order = torch.randperm(tensor.numel(), generator=generator)
        values[name] = to_source(tensor.reshape(-1)[order].reshape(tensor.shape))
    out = omega.with_suffix(".shuffled.omega")
    write_omega(out, omega_record(header), values, foreign=foreign_metadata(header), overwrite=True)
    return out
