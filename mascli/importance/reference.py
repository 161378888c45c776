"""Importance the slow and obvious way: one image, one backward pass, absolute value, add.

This is the definition that every rule is judged by, and what runs where there is no rule.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mascli.importance.images import Images
from mascli.importance.objective import Measure, Objective
from mascli.models.heads import MultiHeadModel


def image_gradients(
    model: MultiHeadModel, image: Images, tasks: tuple[str, ...], objective: Objective
) -> tuple[dict[str, Tensor | None], Tensor]:
    """The gradient of one image's objective for every shared parameter, None for one unused or frozen.

    Args:
        image: one preprocessed image [1, C, H, W].

    Returns:
        The gradients by parameter name, and the objective's value [1].
    """
    parameters = model.shared_parameters()
    value = objective(model(image.pixels, tasks), image.given)
    trained = {name: parameter for name, parameter in parameters.items() if parameter.requires_grad}
    found = torch.autograd.grad(value.sum(), list(trained.values()), allow_unused=True) if trained else ()
    gradients = dict(zip(trained, found, strict=True))
    return {name: gradients.get(name) for name in parameters}, value.detach()


def reference_sums(
    model: MultiHeadModel, images: Images, tasks: tuple[str, ...], measure: Measure
) -> tuple[dict[str, Tensor], Tensor]:
    """Sum over images of |gradient| (or another reduction) for every shared parameter, and the values [N]."""
    parameters = model.shared_parameters()
    sums = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    values = []
    for image in images.split(1):
        gradients, value = image_gradients(model, image, tasks, measure.objective)
        for name, gradient in gradients.items():
            if gradient is not None:
                sums[name] += measure.reduction.of(gradient.clone(), parameters[name])
        values.append(value)
    return sums, torch.cat(values)
