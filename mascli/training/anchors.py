"""One anchor in place of several: penalties of many tasks are a single one around their weighted mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def weighted_anchor(
    omegas: Sequence[Mapping[str, Tensor]], anchors: Sequence[Mapping[str, Tensor]], start: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The anchor θ̄ = Σ_t Ω_t θ*_t / Σ_t Ω_t of each parameter, element by element.

    The penalties of several tasks t differ from one penalty around it by a constant,

        Σ_t Ω_t (θ − θ*_t)² = (Σ_t Ω_t) (θ − θ̄)² + what does not depend on θ,

    so that learning needs no more memory for ten tasks than for one. Where Σ Ω_t = 0 nothing pulls,
    and θ̄ is the start value.

    Args:
        omegas: one a task; a parameter that is missing has Ω = 0.
        anchors: the parameters θ*_t after each of these tasks, in the same order.
        start: the parameters that training starts from; they say which parameters there are.

    Returns:
        The anchors under the names of `start`, computed in float64, in the precision of `start`.
    """
    merged = {}
    for name, value in start.items():
        found = [(a[name], o[name]) for a, o in zip(anchors, omegas, strict=True) if name in o]
        merged[name] = weighted_mean([anchor for anchor, _ in found], [omega for _, omega in found], otherwise=value)
    return merged


def weighted_mean(values: Sequence[Tensor], weights: Sequence[Tensor], otherwise: Tensor) -> Tensor:
    """Σ weight · value / Σ weight, element by element, in float64, and `otherwise` where Σ weight = 0.

    Args:
        values, weights: of the shape of `otherwise`, or weights of a single element; weights >= 0.

    Returns:
        The mean in the precision and on the device of `otherwise`.
    """
    fallback = otherwise.detach().to("cpu", torch.float64)
    weighted, total = torch.zeros_like(fallback), torch.zeros_like(fallback)
    for value, weight in zip(values, weights, strict=True):
        exact = weight.detach().to("cpu", torch.float64)
        total += exact
        weighted += exact * value.detach().to("cpu", torch.float64)
    return torch.where(total > 0, weighted / total, fallback).to(otherwise.device, otherwise.dtype)
