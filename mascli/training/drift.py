"""What learning has disturbed according to an omega, told without any old data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from mascli.importance.layer_names import layer_of

# Numbers turned into float64 at a time, so that they stay in a processor's cache.
PIECE = 1 << 18


@dataclass(frozen=True)
class LayerDrift:
    """The drift of all parameters of one layer: `linear` is Σ Ω |Δθ|, `quadratic` Σ Ω Δθ²."""

    layer: str
    linear: float
    quadratic: float


@dataclass(frozen=True)
class Drift:
    """How far parameters have moved, weighted by importance, overall and by layer.

    `linear` is Σ Ω |Δθ| and `quadratic` Σ Ω Δθ². Where Ω is the mean of |∂‖F‖²/∂θ| over images, as
    for `mas`, `linear` bounds, to first order in Δθ, by how much ‖F‖² changes on those images on
    average, and `relative` is that bound in units of E‖F‖² (a share: 0.02 is 2 %; None: unknown).
    `layers` are in the order of their linear drift, the largest first.
    """

    linear: float
    quadratic: float
    relative: float | None
    layers: tuple[LayerDrift, ...]


def predicted_drift(
    before: Mapping[str, Tensor], after: Mapping[str, Tensor], omega: Mapping[str, Tensor], scale: float | None
) -> Drift:
    """The drift from the parameters `before` to those `after`, by name, with float64 sums.

    A parameter that is missing from one of the three does not count: without an omega its Ω is 0,
    and what has left the shared parameters no longer disturbs the old tasks.

    Args:
        scale: E‖F‖², the mean squared norm of the outputs that `omega` was measured on; for several
            contributions Σ weight · E‖F‖². None where Ω is not of that norm.

    Returns:
        The drift; `relative` is None as well where `scale` is zero.
    """
    parts: dict[str, list[tuple[float, float]]] = {}
    for name, importance in omega.items():
        if name in before and name in after:
            parts.setdefault(layer_of(name), []).append(_sums(before[name], after[name], importance))
    layers = [LayerDrift(layer, *map(math.fsum, zip(*found, strict=True))) for layer, found in parts.items()]
    layers.sort(key=lambda layer: (-layer.linear, layer.layer))
    linear, quadratic = math.fsum(found.linear for found in layers), math.fsum(found.quadratic for found in layers)
    return Drift(linear, quadratic, linear / scale if scale else None, tuple(layers))


def _sums(before: Tensor, after: Tensor, omega: Tensor) -> tuple[float, float]:
    """Σ Ω |Δθ| and Σ Ω Δθ² of one parameter."""
    linear, quadratic = 0.0, 0.0
    pieces = (tensor.detach().to("cpu").reshape(-1).split(PIECE) for tensor in (before, after, omega))
    for old, new, importance in zip(*pieces, strict=True):
        moved = (new.to(torch.float64) - old.to(torch.float64)).abs_()
        weighted = importance.to(torch.float64) * moved
        linear += float(weighted.sum())
        quadratic += float(weighted.mul_(moved).sum())
    return linear, quadratic
