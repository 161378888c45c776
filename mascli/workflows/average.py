"""`mascli average`: one checkpoint from several of a common ancestor, by the mean or mode of IMM."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from mascli.config import AverageConfig, ModelOptions
from mascli.errors import CheckpointError, listed, printable
from mascli.files.tensor_file import file_sha256
from mascli.observer import Observer
from mascli.records import Step, Task
from mascli.reports.average import AverageResult, TaskSource
from mascli.training.average import mean_parameters, mode_parameters
from mascli.workflows.bound_omega import read_bound_omega
from mascli.workflows.loading import Opened, chosen_device, current_shared_sha256, open_checkpoint, save_checkpoint

Values = dict[str, Tensor]


def average(config: AverageConfig, observer: Observer) -> AverageResult:
    """Average the shared parameters of checkpoints, with the heads that several tasks use; other heads stay.

    Raises:
        CheckpointError: checkpoints that do not belong together, or an omega of another one.
    """
    assert config.out is not None  # preflight
    device = chosen_device(config.device)
    options = ModelOptions(trust_model_code=config.trust_model_code)
    opened = [open_checkpoint(path, options, device, observer) for path in config.checkpoints]
    weights = _shares(config)
    common = {owner for each in opened for owner in each.model.common_heads}
    for each in opened:
        each.model.count_heads(common)
    heads_before = {each.heads_sha256[owner] for each in opened for owner in common}
    parameters = [{n: p.detach().cpu() for n, p in each.model.shared_parameters().items()} for each in opened]
    omegas = _omegas(config, opened, observer)
    found = mode_parameters(parameters, omegas, weights) if omegas else mean_parameters(parameters, weights)
    statistics = _statistics([each.model.shared_buffers() for each in opened], weights)
    if any(not torch.equal(value, opened[-1].model.shared_buffers()[name].cpu()) for name, value in statistics.items()):
        observer.note(
            "running statistics of BatchNorm were averaged, which only nearly fits averaged parameters; --batchnorm "
            "per-task while learning avoids it"
        )
    sources = _sources(config.checkpoints, opened)
    result = _with_all_heads(opened, sources)
    _load(result, {**found, **statistics})
    step = Step(
        command="average",
        shared_sha256=current_shared_sha256(result.model),
        parent_sha256=result.file_sha256,
        settings={
            "mode": config.mode,
            "weights": list(weights),
            "parents": [each.file_sha256 for each in opened],
            "omegas": [file_sha256(path) for path in config.omega],
        },
        heads_before=tuple(sorted(heads_before)),
    )
    save_checkpoint(config.out, result, step, overwrite=config.overwrite)
    values = sum(value.numel() for value in found.values())
    return AverageResult(
        out=str(config.out),
        mode=config.mode,
        files=tuple(map(str, config.checkpoints)),
        omegas=tuple(map(str, config.omega)),
        weights=weights,
        tasks=tuple(
            TaskSource(task.name, str(config.checkpoints[place]), result.model.head_owner(task.name) in common)
            for task, place in sources
        ),
        parameters=values,
        unweighed=_unweighed(found, omegas, weights) / max(1, values) if omegas else None,
    )


def _shares(config: AverageConfig) -> tuple[float, ...]:
    """The weights of the checkpoints, together 1."""
    given = config.weights or (1.0,) * len(config.checkpoints)
    weights = [weight / max(given) for weight in given]  # so that no sum overflows
    return tuple(weight / sum(weights) for weight in weights)


def _omegas(config: AverageConfig, opened: list[Opened], observer: Observer) -> list[Values]:
    """The importance of each checkpoint's parameters; none where the mode takes none."""
    values = []
    for path, each in zip(config.omega, opened, strict=False):
        omega = read_bound_omega(path, each)
        if (note := omega.note()) is not None:
            observer.note(note)
        if omega.lacking:
            observer.note(f"{omega.where} says nothing about {listed(omega.lacking)}, which other checkpoints decide")
        values.append(omega.values)
    return values


def _statistics(buffers: list[dict[str, Tensor]], weights: tuple[float, ...]) -> Values:
    """The mean of floating-point buffers; others, such as counts, are the last checkpoint's."""
    plain = [{name: buffer.detach().cpu() for name, buffer in each.items()} for each in buffers]
    last = plain[-1]
    moving = [{n: b for n, b in each.items() if last[n].is_floating_point()} for each in plain]
    return {**last, **mean_parameters(moving, weights)}


def _sources(paths: tuple[Path, ...], opened: list[Opened]) -> list[tuple[Task, int]]:
    """All tasks in the order learned, each with the place of the last checkpoint that has it."""
    found: dict[str, tuple[Task, int]] = {}
    for place, each in enumerate(opened):
        found |= {task.name: (task, place) for task in each.tasks}
    imported = {len(task.classes) for task, _ in found.values() if task.imported}
    if len(imported) > 1:
        raise CheckpointError(
            f"{', '.join(map(printable, paths))} came from weights with different classes: only one classifier can be "
            "the network's own"
        )
    for name in found:
        other = next(known for known in found if known.lower() == name.lower())
        if other != name:
            raise CheckpointError(f"the tasks {other} and {name} differ in case only: one file cannot hold both")
    return list(found.values())


def _with_all_heads(opened: list[Opened], sources: list[tuple[Task, int]]) -> Opened:
    """The last checkpoint, with the heads of all and what led to each."""
    last = opened[-1]
    for task, place in sources:
        if opened[place] is not last:
            last.model.take_head(task.name, opened[place].model)
    lineage: list[Step] = []
    for each in opened:
        lineage += [step for step in each.lineage if step not in lineage]
    foreign = {key: value for each in reversed(opened) for key, value in each.foreign.items()}
    return replace(last, tasks=tuple(task for task, _ in sources), lineage=tuple(lineage), foreign=foreign)


def _load(result: Opened, values: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, target in (*result.model.shared_parameters().items(), *result.model.shared_buffers().items()):
            target.copy_(values[name])


def _unweighed(found: Values, omegas: list[Values], weights: tuple[float, ...]) -> int:
    """How many values no omega says anything about, so that they are the mean."""
    weighed = [omega for omega, weight in zip(omegas, weights, strict=True) if weight]
    empty = {name: torch.ones_like(value, dtype=torch.bool) for name, value in found.items()}
    for omega in weighed:
        for name, value in omega.items():
            empty[name] &= value == 0
    return sum(int(flags.sum()) for flags in empty.values())
