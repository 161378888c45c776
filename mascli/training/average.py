"""Incremental Moment Matching: one network from several that were learned one after the other.

Lee, Kim, Jun, Ha, Zhang: *Overcoming Catastrophic Forgetting by Incremental Moment Matching*, NIPS
2017, arXiv 1703.08475. Each network k stands for a Gaussian over parameters with mean θ_k and
precision Ω_k (the paper takes the diagonal of the Fisher matrix; any omega will do).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mascli.training.anchors import weighted_anchor, weighted_mean

Parameters = Mapping[str, Tensor]


def mean_parameters(models: Sequence[Parameters], weights: Sequence[float] = ()) -> dict[str, Tensor]:
    """The mean of the mixture: θ = Σ α_k θ_k with α_k = weight_k / Σ weight.

    Batch norm's running statistics are not parameters: those of the result are neither network's,
    nor their mean, and must come from images.

    Args:
        models: the parameters of each network, all under the same names; floating point.
        weights: one a network, >= 0 and not all zero; without any, all are alike.

    Returns:
        The mean by name, computed in float64, in the precision of the last network.

    Raises:
        ValueError: weights that are no weights, or networks of which there are none.
    """
    factors = _factors(len(models), weights)
    return {
        name: weighted_mean([model[name] for model in models], factors, otherwise=last)
        for name, last in models[-1].items()
    }


def mode_parameters(
    models: Sequence[Parameters], omegas: Sequence[Parameters], weights: Sequence[float] = ()
) -> dict[str, Tensor]:
    """The mode of the mixture, to second order: θ = Σ α_k Ω_k θ_k / Σ α_k Ω_k.

    Element by element, so that each parameter comes from the networks that need it. Where no network
    does (Σ α_k Ω_k = 0, or no omega has the parameter), it is the mean.

    Args:
        models: the parameters of each network, all under the same names; floating point.
        omegas: the importance of each network's parameters, in the same order, >= 0.
        weights: one a network, >= 0 and not all zero; without any, all are alike.

    Returns:
        The mode by name, computed in float64, in the precision of the last network.

    Raises:
        ValueError: weights that are no weights, or networks of which there are none.
    """
    factors = _factors(len(models), weights)
    scaled = [
        {name: factor * value.detach().to("cpu", torch.float64) for name, value in omega.items()}
        for factor, omega in zip(factors, omegas, strict=True)
    ]
    return weighted_anchor(scaled, models, start=mean_parameters(models, weights))


def _factors(models: int, weights: Sequence[float]) -> list[Tensor]:
    """One weight a network, as tensors of a single element."""
    given = list(weights) or [1.0] * models
    if len(given) != models or not models or min(given) < 0 or not sum(given) > 0:
        raise ValueError(f"{models} networks need as many weights >= 0 that are not all zero, not {given}")
    return [torch.tensor(weight, dtype=torch.float64) for weight in given]
