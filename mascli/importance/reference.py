"""Importance the slow and obvious way: one image, one backward pass, absolute value, add.

This is the definition that every rule is judged by, and what runs where there is no rule.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from mascli.importance.images import Images
from mascli.importance.objective import Measure, Objective, squared_l2
from mascli.models.heads import MultiHeadModel


def image_gradients(
    model: MultiHeadModel, image: Images, tasks: tuple[str, ...], objective: Objective
) -> tuple[dict[str, Tensor | None], Tensor]:
    """The gradient of one image's objective for every shared parameter, None for one unused or frozen.

    Args:
        image: one preprocessed image [1, C, H, W]; of several, the gradient is that of the sum.

    Returns:
        The gradients by parameter name, and |F|^2 of each image.
    """
    parameters = model.shared_parameters()
    company = with_company(model, image)
    outputs = model(company.pixels, tasks)
    value = objective(outputs, company.given)[: len(image)]
    trained = {name: parameter for name, parameter in parameters.items() if parameter.requires_grad}
    found = torch.autograd.grad(value.sum(), list(trained.values()), allow_unused=True) if trained else ()
    dense = (g.to_dense() if g is not None and g.layout != torch.strided else g for g in found)
    gradients = dict(zip(trained, dense, strict=True))
    return {name: gradients.get(name) for name in parameters}, squared_l2(outputs)[: len(image)].detach()


def with_company(model: MultiHeadModel, image: Images) -> Images:
    """`image`, or two copies of a single one where the network has batch norms.

    In eval mode, PyTorch's backward pass of a batch norm gives wrong gradients for a single image
    whose gradient comes channels last with a batch stride that only a batch of one can have, as from
    `flatten(2).transpose(1, 2)` in LeViT and XCiT (seen in PyTorch 2.15). Two images never have it.
    """
    if len(image) > 1 or not any(isinstance(module, _BatchNorm) for module in model.modules()):
        return image
    given = None if image.given is None else torch.cat([image.given] * 2)
    return Images(torch.cat([image.pixels] * 2), given)


def reference_sums(
    model: MultiHeadModel, images: Images, tasks: tuple[str, ...], measure: Measure
) -> tuple[dict[str, Tensor], Tensor]:
    """Sum over images of |gradient| (or another reduction) for every shared parameter, and |F|^2 of each image [N]."""
    parameters = model.shared_parameters()
    sums = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    norms = []
    for image in images.split(1):
        gradients, norm = image_gradients(model, image, tasks, measure.objective)
        for name, gradient in gradients.items():
            if gradient is not None:
                sums[name] += measure.reduction.of(gradient.clone(), parameters[name])
        norms.append(norm)
    return sums, torch.cat(norms)
