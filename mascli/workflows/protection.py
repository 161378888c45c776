"""What holds the old tasks while a new one is learned: an omega that belongs, and its penalty."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mascli.config import TrainTaskConfig
from mascli.errors import CheckpointError, listed, printable
from mascli.files.binding import check_binding, uncovered_tasks
from mascli.files.records_json import omega_record
from mascli.files.tensor_file import file_sha256, read_header
from mascli.files.tensors import read_tensors
from mascli.observer import Observer
from mascli.records import OmegaRecord
from mascli.training.loop import Recipe
from mascli.training.penalty import DecoupledPenalty, LossPenalty, Penalty, Shares, effective_rate, shares
from mascli.workflows.loading import Opened
from mascli.workflows.preflight import omega_shapes


@dataclass(frozen=True)
class Protection:
    """The penalty that training goes by (None: plain fine-tuning), and what it does not protect.

    `unprotected` lists shared parameters that the omega says nothing about, `uncovered` tasks.
    """

    penalty: Penalty | None
    shares: Shares | None
    unprotected: tuple[str, ...]
    uncovered: tuple[str, ...]
    omega_sha256: str | None


def protection(config: TrainTaskConfig, opened: Opened, recipe: Recipe, observer: Observer) -> Protection:
    """Bind the omega to the checkpoint and make its penalty; say what stays unprotected.

    Raises:
        CheckpointError: an omega of another model or other weights, or a task that nothing protects
            although `--require-protection` asks for it.
        UsageError: a lambda that the `loss` form cannot follow.
    """
    if config.omega is None:
        uncovered = _uncovered(config, opened, None, observer)
        return Protection(None, None, (), uncovered, None)
    header = read_header(config.omega)
    omega = omega_record(header)
    where = printable(config.omega)
    lacking = check_binding(omega, omega_shapes(header), opened.ancestry, opened.shapes(), where)
    if lacking:
        observer.note(f"{where} says nothing about {listed(lacking)}: free to change")
    if any(part.preprocessing != opened.preprocessing for part in omega.contributions):
        observer.note(f"{where} was measured with another preprocessing than this checkpoint's")
    uncovered = _uncovered(config, opened, omega, observer)
    values = read_tensors(header, header.tensors)
    _check_values(values, where)
    penalty, held = _penalty(config, opened, values, config.lambda_, recipe)
    return Protection(penalty, held, lacking, uncovered, file_sha256(config.omega))


def _uncovered(
    config: TrainTaskConfig, opened: Opened, omega: OmegaRecord | None, observer: Observer
) -> tuple[str, ...]:
    uncovered = uncovered_tasks(opened.task_names, omega)
    if not uncovered or config.lambda_ == math.inf:
        return ()
    why = "no --omega is given" if omega is None else "the omega was not measured on their answers"
    line = f"nothing protects {'task' if len(uncovered) == 1 else 'tasks'} {', '.join(uncovered)}: {why}"
    if config.require_protection:
        raise CheckpointError(f"{line}; measure them with mascli estimate --task")
    observer.note(line)
    return uncovered


def _check_values(values: dict[str, Tensor], where: str) -> None:
    for name, value in values.items():
        if not (value.isfinite() & (value >= 0)).all():
            raise CheckpointError(
                f"{where}: importance of {printable(name)} is negative or not finite; estimate it anew"
            )


def _penalty(
    config: TrainTaskConfig, opened: Opened, values: dict[str, Tensor], strength: float | None, recipe: Recipe
) -> tuple[Penalty | None, Shares | None]:
    assert strength is not None  # preflight
    if strength in (0, math.inf):
        return None, Shares(1.0, 0.0, 0.0) if strength == 0 else Shares(0.0, 0.0, 1.0)
    named = opened.model.shared_parameters()
    names = [name for name in named if name in values]
    parameters = [named[name] for name in names]
    anchors = [parameter.detach().clone() for parameter in parameters]
    omegas = [values[name].to(named[name].device) for name in names]
    eta = effective_rate(recipe.lr, recipe.momentum)
    penalty: Penalty
    if config.penalty == "loss":
        penalty = LossPenalty(parameters, anchors, omegas, strength, lr=recipe.lr, momentum=recipe.momentum)
    else:
        penalty = DecoupledPenalty(parameters, anchors, omegas, strength, eta=eta)
    free = [torch.zeros_like(p) for name, p in named.items() if name not in values]
    return penalty, shares([*omegas, *free], strength, eta)
