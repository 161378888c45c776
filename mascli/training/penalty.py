"""The MAS penalty on the shared parameters, in two forms that have the same stationary points.

    loss = task loss + lambda * sum_i Omega_i (theta_i - theta*_i)^2         (paper, Eq. 5; no factor 1/2)

theta* is the anchor: the shared parameters of the checkpoint that training starts from.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mascli.errors import UsageError

FREE_BELOW, HELD_ABOVE = 0.01, 1.0


@dataclass(frozen=True)
class Shares:
    """Which share (0 to 1) of the shared parameters is free, slowed, and held by the penalty.

    A parameter is free where 2 eta lambda Omega < 0.01 and held where it is > 1.
    """

    free: float
    slowed: float
    held: float


def effective_rate(lr: float, momentum: float) -> float:
    """The step eta = lr / (1 - momentum) that a constant gradient comes to under SGD."""
    return lr / (1 - momentum)


def shares(omegas: Sequence[Tensor], strength: float, eta: float) -> Shares:
    """The shares of free, slowed and held parameters at lambda = `strength` and step `eta`."""
    total = max(1, sum(omega.numel() for omega in omegas))
    pulls = [_pull(omega, 2 * eta * strength) for omega in omegas]
    free = sum(int((pull < FREE_BELOW).sum()) for pull in pulls) / total
    held = sum(int((pull > HELD_ABOVE).sum()) for pull in pulls) / total
    return Shares(free, max(0.0, 1 - free - held), held)


class Penalty(ABC):
    """What the penalty does around an optimiser's step, for parameters, anchors and omegas alike in order."""

    @abstractmethod
    def before_step(self) -> None:
        """Act on the gradients, between the backward pass and the optimiser's step."""

    @abstractmethod
    def after_step(self) -> None:
        """Act on the parameters, after the optimiser's step."""


class LossPenalty(Penalty):
    """The gradient of the penalty, 2 lambda Omega (theta - theta*), added to that of the task loss.

    Raises:
        UsageError: the step would overshoot further each time; the line names the largest lambda
            that SGD can follow, (1 + momentum) / (lr max Omega).
    """

    def __init__(
        self,
        parameters: Sequence[Tensor],
        anchors: Sequence[Tensor],
        omegas: Sequence[Tensor],
        strength: float,
        *,
        lr: float,
        momentum: float,
    ) -> None:
        largest = max((float(omega.max()) for omega in omegas if omega.numel()), default=0.0)
        if 2 * lr * strength * largest >= 2 * (1 + momentum):
            most = (1 + momentum) / (lr * largest)
            raise UsageError(
                f"--penalty loss diverges at --lambda {strength:g}: with --lr {lr:g}, --momentum {momentum:g} and the "
                f"largest importance {largest:.3g} it is stable below {most:.3g}; use --penalty decoupled, or less"
            )
        self.parameters, self.anchors = list(parameters), list(anchors)
        self.factors = [2 * strength * omega for omega in omegas]

    def before_step(self) -> None:
        """Add the gradient of the penalty to the gradients."""
        for parameter, anchor, factor in zip(self.parameters, self.anchors, self.factors, strict=True):
            if parameter.grad is not None:
                parameter.grad.addcmul_(factor, parameter.detach() - anchor)

    def after_step(self) -> None:
        """Do nothing: the optimiser has done it."""


class DecoupledPenalty(Penalty):
    """An implicit step of the penalty after the optimiser's own: it cannot blow up at any lambda.

        theta <- theta + w (theta* - theta),  w = x / (1 + x),  x = 2 eta lambda Omega

    is the exact minimiser of |theta' - theta|^2 / (2 eta) + lambda Omega (theta' - theta*)^2. The
    interpolation is exact at w = 0 and w = 1.
    """

    def __init__(
        self,
        parameters: Sequence[Tensor],
        anchors: Sequence[Tensor],
        omegas: Sequence[Tensor],
        strength: float,
        *,
        eta: float,
    ) -> None:
        self.parameters, self.anchors = list(parameters), list(anchors)
        pulls = [_pull(omega, 2 * eta * strength) for omega in omegas]
        self.weights = [(x / (1 + x)).to(omega) for x, omega in zip(pulls, omegas, strict=True)]

    def before_step(self) -> None:
        """Do nothing: the task's gradient stays as it is."""

    def after_step(self) -> None:
        """Move every parameter its share of the way back to its anchor."""
        with torch.no_grad():
            torch._foreach_lerp_(self.parameters, self.anchors, self.weights)


def _pull(omega: Tensor, factor: float) -> Tensor:
    """X = 2 eta lambda Omega in float64 on the CPU, at most the largest float32."""
    largest = torch.finfo(torch.float32).max
    return (omega.to("cpu", torch.float64) * min(factor, largest)).clamp(max=largest)
