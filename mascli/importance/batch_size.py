"""How many images at a time: a fixed function of the model and the size of its input."""

from __future__ import annotations

import torch
from torch import Tensor

from mascli.importance.images import Images
from mascli.importance.objective import Measure
from mascli.models.heads import MultiHeadModel, evaluating

# What a pass may keep for its backward pass, in bytes, unless the user says otherwise.
USUAL_MEMORY = 4e9

# More images at a time do not make a pass any faster.
MOST_IMAGES = 64
MOST_IMAGES_WHEN_ASKED = 1024


def bytes_an_image(model: MultiHeadModel, image: Images, tasks: tuple[str, ...], measure: Measure) -> int:
    """What a forward pass of one image keeps for the backward pass, in bytes, parameters not counted."""
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with evaluating(model), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        value = measure.objective(model(image.pixels, tasks), image.given)
    del value
    return sum(kept.values())


def usual_batch_size(each: int, memory: float | None) -> int:
    """The largest power of two of images that keep at most `memory` bytes (None: the usual), at `each` an image."""
    most = MOST_IMAGES if memory is None else MOST_IMAGES_WHEN_ASKED
    fitting = (USUAL_MEMORY if memory is None else memory) / max(each, 1)
    size = 1
    while size * 2 <= min(fitting, most):
        size *= 2
    return size


def even_batches(images: int, most: int) -> int:
    """The size of batches of at most `most` images that makes an even number of nearly equal ones.

    The batches fall by turns into two halves, whose omegas are compared (`reliability.py`).
    """
    pairs = -(-images // (2 * most))
    return max(1, -(-images // (2 * pairs)))
