"""How many images at a time: a fixed function of the model and the size of its input."""

from __future__ import annotations

from collections.abc import Sequence

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

# What decides how many of them go through the network at once (see `pass_size`).
MAPPED = 1 << 26
SECONDS_A_BYTE = 1e-9
SECONDS_A_TENSOR = 2.5e-4


def bytes_an_image(model: MultiHeadModel, image: Images, tasks: tuple[str, ...], measure: Measure) -> int:
    """What a forward pass of one image keeps for the backward pass, in bytes, parameters not counted."""
    return sum(kept_bytes(model, image, tasks, measure))


def kept_bytes(model: MultiHeadModel, image: Images, tasks: tuple[str, ...], measure: Measure) -> list[int]:
    """The bytes of each tensor that a forward pass of one image keeps for the backward pass, parameters not counted."""
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with evaluating(model), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        value = measure.objective(model(image.pixels.clone(), tasks), image.given)  # not a part of a larger batch
    del value
    return list(kept.values())


def pass_size(kept: Sequence[int], tensors: int, omega: int) -> int:
    """How many images go through the network at once, on a CPU: a batch of more is passed in parts.

    A tensor beyond `MAPPED` bytes is new memory for every operation, and every page of it costs as much
    as the arithmetic on it. Each pass costs something too, for every operation and for adding up omega.
    Both were measured (`benchmarks/engine.py`); where they balance depends on neither data nor machine.

    Args:
        kept: bytes of each tensor that one image keeps for the backward pass.
        tensors: number of shared parameters.
        omega: bytes of one omega.
    """
    a_pass = SECONDS_A_TENSOR * tensors + SECONDS_A_BYTE * omega

    def seconds_an_image(size: int) -> float:
        return a_pass / size + SECONDS_A_BYTE * sum(each for each in kept if each * size > MAPPED)

    return min((MOST_IMAGES >> power for power in range(MOST_IMAGES.bit_length())), key=seconds_an_image)


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
