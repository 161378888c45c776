"""Importance of every shared parameter, from batches of images: the method itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain

from torch import Tensor

from mascli.errors import DataError, NumericsError
from mascli.files.tensors import shared_sha256
from mascli.importance.accumulator import Accumulator
from mascli.importance.capture import Surprise
from mascli.importance.objective import Objective
from mascli.importance.passes import batch_sums
from mascli.importance.plan import Plan
from mascli.importance.trial import tried_plan
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
    after. A batch that does not run as planned goes, with all later ones, one image at a time.

    Args:
        batches: preprocessed images [n, C, H, W], n from 1 and free to vary.
        tasks: whose heads answer; their outputs count as one long vector.

    Raises:
        DataError: no image at all.
        NumericsError: an importance that is not finite, or a model that the estimate changed.
        UnsupportedModelError: images of a batch influence each other, or answers are random.
    """
    iterator = iter(batches)
    first = next(iterator, None)
    if first is None:
        raise DataError("there is no image to estimate importance from")
    before = _fingerprint(model)
    with evaluating(model):
        plan = tried_plan(model, first, tasks, objective)
        _check_unchanged(model, before)
        total = Accumulator(model.shared_parameters())
        for images in chain([first], iterator):
            try:
                part = batch_sums(plan, model, images, tasks, objective)
            except Surprise as surprise:
                plan = plan.without(surprise.path, surprise.reason)
                part = batch_sums(plan, model, images, tasks, objective)
            total.add(*part)
    _check_unchanged(model, before)
    omega = total.mean()
    for name, values in omega.items():
        if not values.isfinite().all():
            raise NumericsError(
                f"the importance of {name} is not finite: the model's outputs or gradients overflow on these images; "
                "check the weights and the preprocessing (mascli inspect)"
            )
    return Estimate(omega, total.images, total.mean_value, plan)


def _fingerprint(model: MultiHeadModel) -> str:
    """A hash of all parameters and all buffers, also those that no file keeps."""
    return shared_sha256({**model.state_dict(), **dict(model.named_buffers())})


def _check_unchanged(model: MultiHeadModel, before: str) -> None:
    if _fingerprint(model) != before:
        raise NumericsError(
            "the estimate changed the model's parameters or buffers, so nothing was written; does its forward pass "
            "update itself in eval mode?"
        )
