"""Importance of every shared parameter, from batches of images: the method itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain

from torch import Tensor

from mascli.errors import DataError, NumericsError
from mascli.files.tensors import shared_sha256
from mascli.importance.accumulator import Accumulator
from mascli.importance.objective import Objective
from mascli.importance.plan import Plan, make_plan, rule_sums
from mascli.importance.reference import reference_sums
from mascli.models.heads import MultiHeadModel, evaluating


@dataclass(frozen=True)
class Estimate:
    """Importance of each shared parameter: omega, over how many images, and E|F|^2 of these."""

    omega: dict[str, Tensor]
    images: int
    mean_squared_norm: float
    plan: Plan


def estimate_importance(
    model: MultiHeadModel, batches: Iterable[Tensor], tasks: tuple[str, ...], objective: Objective
) -> Estimate:
    """Omega = (1/N) sum over images of |d objective / d theta|, exact for each image (paper, Eq. 2).

    The model is measured in eval mode and left exactly as it was: its tensors are hashed before and
    after.

    Args:
        batches: preprocessed images [n, C, H, W], n from 1 and free to vary.
        tasks: whose heads answer; their outputs count as one long vector.

    Raises:
        DataError: no image at all.
        NumericsError: an importance that is not finite, or a model that the estimate changed.
        UnsupportedModelError: images of a batch influence each other.
    """
    iterator = iter(batches)
    first = next(iterator, None)
    if first is None:
        raise DataError("there is no image to estimate importance from")
    before = shared_sha256(model.state_dict())
    with evaluating(model):
        plan = make_plan(model, first, tasks, objective)
        total = Accumulator(model.shared_parameters())
        for images in chain([first], iterator):
            total.add(*batch_sums(plan, model, images, tasks, objective))
    if shared_sha256(model.state_dict()) != before:
        raise NumericsError(
            "the estimate changed the model's parameters or buffers, so nothing was written; does its forward pass "
            "update itself in eval mode?"
        )
    omega = total.mean()
    for name, values in omega.items():
        if not values.isfinite().all():
            raise NumericsError(
                f"the importance of {name} is not finite: the model's outputs or gradients overflow on these images; "
                "check the weights and the preprocessing (mascli inspect)"
            )
    return Estimate(omega, total.images, total.mean_value, plan)


def batch_sums(
    plan: Plan, model: MultiHeadModel, images: Tensor, tasks: tuple[str, ...], objective: Objective
) -> tuple[dict[str, Tensor], Tensor]:
    """Sum over the images of a batch of |gradient| for each shared parameter, and the values [N]."""
    if plan.fallback:  # the one-image pass gives every parameter at once
        return reference_sums(model, images, tasks, objective)
    return rule_sums(plan, model, images, tasks, objective)
