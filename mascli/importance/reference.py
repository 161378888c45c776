"""Importance the slow and obvious way: one image, one backward pass, absolute value, add.

This is the definition that every rule is judged by, and what runs where there is no rule.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mascli.importance.objective import Objective
from mascli.models.heads import MultiHeadModel


def image_gradients(
    model: MultiHeadModel, image: Tensor, tasks: tuple[str, ...], objective: Objective
) -> tuple[dict[str, Tensor | None], Tensor]:
    """The gradient of one image's objective for every shared parameter, None for one unused or frozen.

    Args:
        image: one preprocessed image [1, C, H, W].

    Returns:
        The gradients by parameter name, and the objective's value [1].
    """
    parameters = model.shared_parameters()
    value = objective(model(image, tasks))
    trained = {name: parameter for name, parameter in parameters.items() if parameter.requires_grad}
    found = torch.autograd.grad(value.sum(), list(trained.values()), allow_unused=True) if trained else ()
    gradients = dict(zip(trained, found, strict=True))
    return {name: gradients.get(name) for name in parameters}, value.detach()


def reference_sums(
    model: MultiHeadModel, images: Tensor, tasks: tuple[str, ...], objective: Objective
) -> tuple[dict[str, Tensor], Tensor]:
    """Sum over images of |gradient| for every shared parameter, and the objective's values [N]."""
    sums = {name: torch.zeros_like(p) for name, p in model.shared_parameters().items()}
    values = []
    for image in images.split(1):
        gradients, value = image_gradients(model, image, tasks, objective)
        for name, gradient in gradients.items():
            if gradient is not None:
                sums[name] += gradient.abs()
        values.append(value)
    return sums, torch.cat(values)
