"""What holds the old tasks while a new one is learned: omegas that belong, and their penalty."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from mascli.config import UNIFORM, TrainTaskConfig, rehearsal_folders
from mascli.errors import CheckpointError, listed
from mascli.files.binding import uncovered_tasks
from mascli.files.tensor_file import file_sha256
from mascli.importance.combine_checks import check_counted_once, check_one_kind
from mascli.observer import Observer
from mascli.records import OmegaRecord
from mascli.training.drift import Drift, predicted_drift
from mascli.training.optimizers import effective_rate
from mascli.training.penalty import Penalty, Shares, make_penalty, scaled, shares
from mascli.training.recipe import Recipe
from mascli.workflows.bound_omega import BoundOmega, read_bound_omega
from mascli.workflows.learning.anchors import chosen_anchors
from mascli.workflows.loading import Opened


@dataclass(frozen=True)
class Protection:
    """The importance to hold on to (by name; empty: plain fine-tuning), and what it does not protect.

    `start` holds the shared parameters before training, `anchors` what the penalty pulls to. `scale`
    is E|F|^2 of the answers that the omegas were measured on. `unprotected` lists shared parameters
    that they say nothing about, `uncovered` tasks.
    """

    form: str
    omegas: dict[str, Tensor]
    anchors: dict[str, Tensor]
    start: dict[str, Tensor]
    scale: float | None
    unprotected: tuple[str, ...]
    uncovered: tuple[str, ...]
    omega_sha256: str | None

    def penalty(self, opened: Opened, recipe: Recipe, strength: float | None) -> Penalty | None:
        """The penalty at lambda = `strength`; None where there is nothing for it to do.

        Raises:
            UsageError: a lambda that the `loss` form cannot follow.
        """
        if not self.omegas or strength is None or strength in (0, math.inf):
            return None
        named = opened.model.shared_parameters()
        parameters = [named[name] for name in self.omegas]
        anchors = [self.anchors[name] for name in self.omegas]
        return make_penalty(self.form, recipe, parameters, anchors, list(self.omegas.values()), strength)

    def shares(self, recipe: Recipe, strength: float | None, penalty: Penalty | None) -> Shares | None:
        """The shares of parameters that are free, slowed and held; for SGD at the first epoch's rate.

        Args:
            penalty: the one that training went by. AdamW's steps are known after training only; None
                before.
        """
        if not self.omegas or strength is None:
            return None
        if strength == math.inf:
            return Shares(0.0, 0.0, 1.0)
        unpulled = sum(self.start[name].numel() for name in self.unprotected)
        if strength == 0:
            return Shares(1.0, 0.0, 0.0)
        if recipe.optimizer == "sgd":
            eta = effective_rate(recipe.lr, recipe.momentum, recipe.dampening)
            return shares(scaled(list(self.omegas.values()), 2 * eta * strength), unpulled)
        return None if penalty is None else shares(penalty.pulls(), unpulled)

    def drift(self, opened: Opened) -> Drift | None:
        """What the omegas say was disturbed since the start; None without any."""
        if not self.omegas:
            return None
        return predicted_drift(self.start, opened.model.shared_parameters(), self.omegas, self.scale)


def protection(config: TrainTaskConfig, opened: Opened, observer: Observer) -> Protection:
    """Bind the omegas to the checkpoint and sum them; say what stays unprotected.

    Raises:
        CheckpointError: an omega of another model or other weights, an anchor of another model, or a
            task that nothing protects although `--require-protection` asks for it.
    """
    named = opened.model.learning_parameters((config.task, *rehearsal_folders(config.rehearse)))
    start = {name: p.detach().clone() for name, p in named.items()} if config.omega or config.collect else {}
    if not config.omega:
        return Protection(config.penalty, {}, {}, start, None, (), _uncovered(config, opened, (), observer), None)
    if config.omega == (UNIFORM,):
        ones = {name: torch.ones_like(value) for name, value in start.items()}
        uncovered = opened.task_names if config.lambda_ == 0 else ()
        return Protection(config.penalty, ones, chosen_anchors(config, [ones], start), start, None, (), uncovered, None)
    found = [read_bound_omega(path, opened, named) for path in config.omega]
    named_records = [(omega.where, omega.record) for omega in found]
    check_one_kind(named_records, "used together")
    check_counted_once(named_records)
    for omega in found:
        _tell(omega, opened, observer, trained=config.lambda_ != math.inf)
    values = [{name: value.to(named[name].device) for name, value in omega.values.items()} for omega in found]
    total = _sum(values)
    _check_head(config, opened, total, observer)
    hashes = [file_sha256(path) for path in config.omega]
    return Protection(
        form=config.penalty,
        omegas={name: total[name] for name in named if name in total},
        anchors=chosen_anchors(config, values, start),
        start=start,
        scale=_scale([omega.record for omega in found]),
        unprotected=tuple(sorted(named.keys() - total.keys())),
        uncovered=_uncovered(config, opened, tuple(omega.record for omega in found), observer),
        omega_sha256=hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest(),
    )


def _tell(omega: BoundOmega, opened: Opened, observer: Observer, *, trained: bool) -> None:
    lacking = [name for name in omega.lacking if name in opened.model.network_parameters()]  # heads: see below
    if lacking and trained:
        observer.note(f"{omega.where} says nothing about {listed(lacking)}: free to change")
    if any(part.preprocessing != opened.preprocessing for part in omega.record.contributions):
        observer.note(f"{omega.where} was measured with another preprocessing than this checkpoint's")
    note = omega.note()
    if note is not None:
        observer.note(note)


def _check_head(config: TrainTaskConfig, opened: Opened, omegas: Mapping[str, Tensor], observer: Observer) -> None:
    """Say that nothing protects the head that the new task uses, or stop where the user wants protection."""
    head = opened.model.head_parameters([config.task]) if config.head_of is not None else {}
    if head.keys() <= omegas.keys() or config.lambda_ == math.inf:
        return
    line = f"nothing protects the head of {config.head_of}: the omega was measured without --heads"
    if config.require_protection:
        raise CheckpointError(f"{line}; measure it with mascli estimate --heads")
    observer.note(line)


def _sum(omegas: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The sum by name; what an omega lacks is zero there."""
    total: dict[str, Tensor] = {}
    for omega in omegas:
        for name, value in omega.items():
            total[name] = total[name] + value if name in total else value
    return total


def _scale(records: list[OmegaRecord]) -> float | None:
    """The sum of weight * E|F|^2 over all contributions; None where Omega is not of that norm."""
    if any((r.objective, r.reduction) != ("squared-l2", "abs") or r.combine == "max" for r in records):
        return None
    return math.fsum(part.weight * part.mean_squared_norm for record in records for part in record.contributions)


def _uncovered(
    config: TrainTaskConfig, opened: Opened, omegas: tuple[OmegaRecord, ...], observer: Observer
) -> tuple[str, ...]:
    """The tasks that no omega covers; says so, or stops where the user wants it. Distillation covers all."""
    rehearsed = {text.partition("=")[0] for text in config.rehearse}
    names = tuple(name for name in opened.task_names if name not in rehearsed)
    for omega in omegas if config.lambda_ != 0 else ():
        names = uncovered_tasks(names, omega)
    if not names or config.lambda_ == math.inf or config.distill:
        return ()
    one = len(names) == 1
    whose = "its" if one else "their"
    why = "no --omega is given" if not omegas else f"the omega was not measured on {whose} answers"
    if any(name in omega.zero_tasks for name in names for omega in omegas):
        why = f"{whose} importance is zero everywhere"
    why = "--lambda is 0" if config.lambda_ == 0 else why
    line = f"nothing protects {'task' if one else 'tasks'} {', '.join(names)}: {why}"
    if config.require_protection:
        way = "give a --lambda above 0" if config.lambda_ == 0 else "measure them with mascli estimate --task"
        raise CheckpointError(f"{line}; {way}")
    observer.note(line)
    return names
