"""Compares the fast way with the slow and obvious one, on the user's own model and images."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch

from mascli.errors import NumericsError
from mascli.importance.images import Images
from mascli.importance.objective import Measure
from mascli.importance.sums import planned, slow_sums_of, sums_of
from mascli.models.heads import MultiHeadModel, evaluating

# Largest difference of a network's importance in float64, as a part of each tensor's maximum.
TOLERANCE = 1e-9

# A tensor whose maximum is less than this part of the largest one holds rounding errors only, as the
# bias of the keys in attention does.
NOTHING = 1e-6


@dataclass(frozen=True)
class Verified:
    """On so many images, the largest error (see `TOLERANCE`) and the parameter that has it."""

    images: int
    error: float
    parameter: str


def verify(model: MultiHeadModel, images: Images, tasks: tuple[str, ...], measure: Measure) -> Verified:
    """Measure `images` both ways, in float64 on the CPU, and compare every parameter.

        error = max |Omega_fast - Omega_slow| / max Omega_slow

    Raises:
        NumericsError: the error of a parameter is beyond `TOLERANCE`, or not a number.
    """
    exact = copy.deepcopy(model).to("cpu", torch.float64)
    given = None if images.given is None else images.given.cpu()
    images = Images(images.pixels.to("cpu", torch.float64), given)
    with evaluating(exact):
        plan = planned(exact, images, tasks, measure)
        fast, _ = sums_of(plan, exact, images, tasks, measure)
        slow, _ = slow_sums_of(plan, exact, images, tasks, measure)
    floor = NOTHING * max((float(value.max()) for value in slow.values() if value.numel()), default=0.0)
    worst = Verified(len(images), 0.0, next(iter(slow), ""))
    for name, value in slow.items():
        if not value.numel():
            continue
        difference = float((fast.get(name, torch.zeros_like(value)) - value).abs().max())
        error = difference / max(float(value.max()), floor) if difference else 0.0
        if not error <= TOLERANCE:
            raise NumericsError(
                f"verification failed: the importance of {name} differs from the reference by {error:.1e} of its "
                f"maximum on {len(images)} images in float64 (allowed: {TOLERANCE:g}); nothing was written. Please "
                "report it with the model"
            )
        if error > worst.error:
            worst = Verified(len(images), error, name)
    return worst
