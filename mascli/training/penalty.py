"""The MAS penalty on the shared parameters, in two forms that have the same stationary points.

    loss = task loss + lambda * sum_i Omega_i (theta_i - theta*_i)^2         (paper, Eq. 5; no factor 1/2)

theta* is the anchor: usually the shared parameters of the checkpoint that training starts from.
Both forms act on all parameters at once, in a few passes over memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mascli.errors import UnstableError
from mascli.training.optimizers import adaptive_divisors, effective_rate, group_of
from mascli.training.recipe import Recipe
from mascli.training.regularizer import Regularizer

FREE_BELOW, HELD_ABOVE = 0.01, 1.0
# Factors and pulls stay below half the largest float32, so that nothing that is added makes them infinite.
LARGEST = torch.finfo(torch.float32).max / 2
# AdamW squares gradients: a factor 2 lambda Omega above this, with its distances, nears what float32 can hold.
LARGEST_SQUARED = 1e15


@dataclass(frozen=True)
class Shares:
    """Which share (0 to 1) of the shared parameters is free, slowed, and held by the penalty.

    A parameter is free where 2 eta lambda Omega < 0.01 and held where it is > 1.
    """

    free: float
    slowed: float
    held: float


def shares(pulls: Sequence[Tensor], unpulled: int = 0) -> Shares:
    """The shares of free, slowed and held parameters.

    Args:
        pulls: x = 2 eta lambda Omega of each parameter.
        unpulled: how many parameters no omega speaks of.
    """
    total = max(1, unpulled + sum(pull.numel() for pull in pulls))
    free = (unpulled + sum(int((pull < FREE_BELOW).sum()) for pull in pulls)) / total
    held = sum(int((pull > HELD_ABOVE).sum()) for pull in pulls) / total
    return Shares(free, max(0.0, 1 - free - held), held)


def scaled(omegas: Sequence[Tensor], factor: float) -> list[Tensor]:
    """Factor * Omega of each parameter, finite whatever the factor."""
    pulls = list(torch._foreach_mul(list(omegas), min(factor, LARGEST)))
    torch._foreach_clamp_max_(pulls, LARGEST)
    return pulls


def largest_stable(recipe: Recipe) -> float:
    """The curvature h of the penalty, 2 lambda Omega, from which on SGD on h d^2 / 2 moves away from its minimum.

    lr h = 2 (1 + m) / (1 - dampening) for momentum m; 2 (1 + m) / (1 + 2 m) with Nesterov's. The
    eigenvalues of the step (velocity, distance) leave the unit circle there, through -1.
    """
    m = recipe.momentum
    reach = 2 * (1 + m) / (1 + 2 * m) if recipe.nesterov else 2 * (1 + m) / (1 - recipe.dampening if m else 1)
    return reach / recipe.lr


class Penalty(Regularizer):
    """What both forms share: parameters, anchors and omegas alike in order, and lambda."""

    def __init__(
        self, parameters: Sequence[Tensor], anchors: Sequence[Tensor], omegas: Sequence[Tensor], strength: float
    ) -> None:
        self.parameters, self.anchors, self.omegas = list(parameters), list(anchors), list(omegas)
        self.strength = strength
        self._optimizer: torch.optim.Optimizer | None = None

    def new_epoch(self, optimizer: torch.optim.Optimizer) -> None:
        """Take over the optimiser, whose rates may have changed."""
        self._optimizer = optimizer

    def pulls(self) -> list[Tensor]:
        """The pull x = 2 eta lambda Omega of each parameter at the rates of now.

        With AdamW at the rate that training begins with, the sizes of gradients being those of now; 0 without any.
        """
        assert self._optimizer is not None, "new_epoch comes first"
        if not self.parameters:
            return []
        group = group_of(self._optimizer, self.parameters[0])
        if "betas" not in group:
            eta = effective_rate(group["lr"], group["momentum"], group["dampening"])
            return scaled(self.omegas, 2 * eta * self.strength)
        return [self._adaptive_pull(p, omega, group) for p, omega in zip(self.parameters, self.omegas, strict=True)]

    def _adaptive_pull(self, parameter: Tensor, omega: Tensor, group: Mapping[str, Any]) -> Tensor:
        assert self._optimizer is not None
        squares = self._optimizer.state.get(parameter, {}).get("exp_avg_sq")
        if squares is None:
            return torch.zeros_like(omega)
        divisors = adaptive_divisors(self._optimizer, [parameter], [torch.full_like(omega, group["eps"])])
        (pull,) = scaled([omega], 2 * group.get("initial_lr", group["lr"]) * self.strength)
        return torch.where(squares > 0, (pull / divisors[0]).clamp_(max=LARGEST), 0)


class LossPenalty(Penalty):
    """The gradient of the penalty, 2 lambda Omega (theta - theta*), added to that of the task loss."""

    def __init__(
        self, parameters: Sequence[Tensor], anchors: Sequence[Tensor], omegas: Sequence[Tensor], strength: float
    ) -> None:
        super().__init__(parameters, anchors, omegas, strength)
        self._factors = scaled(self.omegas, 2 * strength)
        self._distances = [torch.empty_like(anchor) for anchor in self.anchors]

    def before_step(self) -> None:
        """Add the gradient of the penalty to the gradients."""
        with torch.no_grad():
            torch._foreach_copy_(self._distances, self.parameters)
            torch._foreach_sub_(self._distances, self.anchors)
            every = zip(self.parameters, self._factors, self._distances, strict=True)
            found = [(p.grad, factor, distance) for p, factor, distance in every if p.grad is not None]
            if found:
                gradients, factors, distances = zip(*found, strict=True)
                torch._foreach_addcmul_(gradients, factors, distances)


class DecoupledPenalty(Penalty):
    """An implicit step of the penalty after the optimiser's own: it cannot blow up at any lambda.

        theta <- theta + w (theta* - theta),  w = x / (1 + x),  x = 2 eta lambda Omega

    is the exact minimiser of |theta' - theta|^2 / (2 eta) + lambda Omega (theta' - theta*)^2. The
    interpolation is exact at w = 0 and w = 1. eta is the step that a constant gradient comes to, so
    that it comes to rest where the `loss` form does: lr (1 - dampening) / (1 - momentum) for SGD. As
    the rates change from epoch to epoch only, so does w.
    """

    def __init__(
        self, parameters: Sequence[Tensor], anchors: Sequence[Tensor], omegas: Sequence[Tensor], strength: float
    ) -> None:
        super().__init__(parameters, anchors, omegas, strength)
        self._weights: list[Tensor] = []
        self._rate: float | None = None

    def new_epoch(self, optimizer: torch.optim.Optimizer) -> None:
        """Settle w for the learning rate of this epoch."""
        super().new_epoch(optimizer)
        rate = group_of(optimizer, self.parameters[0])["lr"] if self.parameters else None
        if rate != self._rate:
            self._rate = rate
            self._weights = self.pulls()
            torch._foreach_div_(self._weights, torch._foreach_add(self._weights, 1))

    def after_step(self) -> None:
        """Move every parameter its share of the way back to its anchor."""
        with torch.no_grad():
            torch._foreach_lerp_(self.parameters, self.anchors, self._weights)


class AdaptivePenalty(Penalty):
    """The decoupled form for AdamW, whose step differs from element to element and from step to step.

        eta = lr / (sqrt(v) + epsilon),  so that  w = a / (a + sqrt(v) + epsilon),  a = 2 lr lambda Omega

    with v the bias-corrected mean of squared gradients after the step.
    """

    def __init__(
        self, parameters: Sequence[Tensor], anchors: Sequence[Tensor], omegas: Sequence[Tensor], strength: float
    ) -> None:
        super().__init__(parameters, anchors, omegas, strength)
        self._unscaled: list[Tensor] = []
        self._shifts: list[Tensor] = []

    def new_epoch(self, optimizer: torch.optim.Optimizer) -> None:
        """Settle a for the learning rate of this epoch."""
        super().new_epoch(optimizer)
        if self.parameters:
            group = group_of(optimizer, self.parameters[0])
            self._unscaled = scaled(self.omegas, 2 * group["lr"] * self.strength)
            self._shifts = list(torch._foreach_add(self._unscaled, group["eps"]))

    def after_step(self) -> None:
        """Move every parameter that learns its share of the way back to its anchor."""
        assert self._optimizer is not None, "new_epoch comes first"
        every = zip(self.parameters, self.anchors, self._unscaled, self._shifts, strict=True)
        moving = [row for row in every if "exp_avg_sq" in self._optimizer.state.get(row[0], {})]
        if not moving:
            return
        parameters, anchors, unscaled, shifts = (list(column) for column in zip(*moving, strict=True))
        with torch.no_grad():
            divisors = adaptive_divisors(self._optimizer, parameters, shifts)
            torch._foreach_lerp_(parameters, anchors, torch._foreach_div(unscaled, divisors))


def make_penalty(
    form: str,
    recipe: Recipe,
    parameters: Sequence[Tensor],
    anchors: Sequence[Tensor],
    omegas: Sequence[Tensor],
    strength: float,
) -> Penalty:
    """The penalty of a form ("decoupled" or "loss") for the optimiser of `recipe`.

    Raises:
        UnstableError: the `loss` form's step would overshoot further each time under SGD, or its squares
            overflow under AdamW; the line names the largest lambda that the optimiser can follow.
    """
    if form == "loss":
        largest = max((float(omega.max()) for omega in omegas if omega.numel()), default=0.0)
        limit = largest_stable(recipe)
        if recipe.optimizer == "sgd" and 2 * strength * largest >= limit:
            raise UnstableError(
                f"--penalty loss diverges at --lambda {strength:g}: with --lr {recipe.lr:g}, --momentum "
                f"{recipe.momentum:g} and the largest importance {largest:.3g} it is stable below "
                f"{limit / (2 * largest):.3g}; use --penalty decoupled, or less"
            )
        if recipe.optimizer == "adamw" and 2 * strength * largest > LARGEST_SQUARED:
            raise UnstableError(
                f"--penalty loss holds nothing at --lambda {strength:g} with --optimizer adamw: its squared gradients "
                f"overflow: with the largest importance {largest:.3g} it takes at most "
                f"{LARGEST_SQUARED / (2 * largest):.3g}; use --penalty decoupled, or less"
            )
        return LossPenalty(parameters, anchors, omegas, strength)
    kind = AdaptivePenalty if recipe.optimizer == "adamw" else DecoupledPenalty
    return kind(parameters, anchors, omegas, strength)
