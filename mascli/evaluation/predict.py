"""Lets a model answer: its outputs, or the predicted class, for every image of a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from mascli.models.heads import MultiHeadModel, evaluating


def predict(
    model: MultiHeadModel, task: str, batches: Iterable[Tensor], advance: Callable[[int], None] = lambda count: None
) -> Tensor:
    """The class that the head of `task` gives each image, in eval mode: [N] numbers, on the CPU."""
    outputs = answers(model, task, batches, advance)
    return outputs.argmax(1) if len(outputs) else torch.empty(0, dtype=torch.long)


def answers(
    model: MultiHeadModel, task: str, batches: Iterable[Tensor], advance: Callable[[int], None] = lambda count: None
) -> Tensor:
    """The outputs of the head of `task` for each image, in eval mode.

    Args:
        batches: preprocessed images [n, C, H, W].

    Returns:
        [N, classes], on the CPU; [0, 0] without any image.
    """
    found = []
    with evaluating(model), torch.inference_mode():
        for images in batches:
            (outputs,) = model(images, (task,))
            found.append(outputs.cpu())
            advance(len(images))
    return torch.cat(found) if found else torch.empty(0, 0)
