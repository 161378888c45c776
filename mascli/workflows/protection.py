"""What holds the old tasks while a new one is learned: an omega that belongs, and its penalty."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mascli.config import TrainTaskConfig
from mascli.errors import CheckpointError, listed
from mascli.files.binding import uncovered_tasks
from mascli.files.tensor_file import file_sha256
from mascli.observer import Observer
from mascli.records import OmegaRecord
from mascli.training.loop import Recipe
from mascli.training.penalty import DecoupledPenalty, LossPenalty, Penalty, Shares, effective_rate, shares
from mascli.workflows.bound_omega import read_bound_omega
from mascli.workflows.loading import Opened


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
    omega = read_bound_omega(config.omega, opened)
    if omega.lacking:
        observer.note(f"{omega.where} says nothing about {listed(omega.lacking)}: free to change")
    if any(part.preprocessing != opened.preprocessing for part in omega.record.contributions):
        observer.note(f"{omega.where} was measured with another preprocessing than this checkpoint's")
    uncovered = _uncovered(config, opened, omega.record, observer)
    penalty, held = _penalty(config, opened, omega.values, config.lambda_, recipe)
    if held is not None and held.free > 0.9999 and opened.tasks:
        observer.note("the penalty is too weak to hold anything: all parameters are free; use a larger --lambda")
    return Protection(penalty, held, omega.lacking, uncovered, file_sha256(config.omega))


def _uncovered(
    config: TrainTaskConfig, opened: Opened, omega: OmegaRecord | None, observer: Observer
) -> tuple[str, ...]:
    uncovered = opened.task_names if config.lambda_ == 0 else uncovered_tasks(opened.task_names, omega)
    if not uncovered or config.lambda_ == math.inf:
        return ()
    one = len(uncovered) == 1
    why = (
        "no --omega is given" if omega is None else f"the omega was not measured on {'its' if one else 'their'} answers"
    )
    why = "--lambda is 0" if config.lambda_ == 0 else why
    line = f"nothing protects {'task' if one else 'tasks'} {', '.join(uncovered)}: {why}"
    if config.require_protection:
        raise CheckpointError(f"{line}; measure them with mascli estimate --task")
    observer.note(line)
    return uncovered


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
