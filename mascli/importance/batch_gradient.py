"""The gradient of a whole batch, as other implementations compute it: for reproducing their numbers.

    Omega = (1/N) sum over batches | sum over the images of the batch of g(x_k) |

The gradients of a batch cancel before the absolute value is taken, so that this depends on the batch
size and on the order of the images. A last batch that is smaller weighs by its number of images.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mascli.importance.images import Images
from mascli.importance.objective import Measure
from mascli.importance.plan import Plan
from mascli.importance.reference import image_gradients
from mascli.importance.trial import refuse_mixed_images, trial_images
from mascli.models.heads import MultiHeadModel

WAY = "one gradient a batch"


def batch_plan(model: MultiHeadModel, images: Images, tasks: tuple[str, ...], measure: Measure) -> Plan:
    """The plan of an ordinary backward pass: which shared parameters get a gradient from some of `images`.

    Raises:
        UnsupportedModelError: the model mixes the images of a batch, or its answers are random.
    """
    some = trial_images(images)
    refuse_mixed_images(model, some, tasks)
    gradients, _ = image_gradients(model, some, tasks, measure.objective)
    used = [name for name, value in gradients.items() if value is not None]
    places = {name: place for place, name in enumerate(used)}
    return Plan(leaves=places, unused=tuple(name for name in gradients if name not in places), way=WAY)


def batch_gradient_sums(
    plan: Plan, model: MultiHeadModel, images: Images, tasks: tuple[str, ...], measure: Measure
) -> tuple[dict[str, Tensor], Tensor]:
    """|gradient of the sum over the batch| for each shared parameter, and |F|^2 of each image [N]."""
    gradients, norms = image_gradients(model, images, tasks, measure.objective)
    return _reduced(model, gradients, measure), norms


def reference_batch_gradient(
    plan: Plan, model: MultiHeadModel, images: Images, tasks: tuple[str, ...], measure: Measure
) -> tuple[dict[str, Tensor], Tensor]:
    """The same from the gradients of single images."""
    total: dict[str, Tensor | None] = {}
    norms = []
    for image in images.split(1):
        gradients, norm = image_gradients(model, image, tasks, measure.objective)
        for name, gradient in gradients.items():
            before = total.get(name)
            total[name] = gradient if before is None or gradient is None else before + gradient
        norms.append(norm)
    return _reduced(model, total, measure), torch.cat(norms)


def _reduced(model: MultiHeadModel, gradients: dict[str, Tensor | None], measure: Measure) -> dict[str, Tensor]:
    parameters = model.shared_parameters()
    return {
        name: measure.reduction.of(gradient.clone(), parameters[name])
        for name, gradient in gradients.items()
        if gradient is not None
    }
