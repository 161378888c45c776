"""Lets a model answer: the predicted class of every image of a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from mascli.models.heads import MultiHeadModel, evaluating


def predict(
    model: MultiHeadModel, task: str, batches: Iterable[Tensor], advance: Callable[[int], None] = lambda count: None
) -> Tensor:
    """The class that the head of `task` gives each image, in eval mode.

    Args:
        batches: preprocessed images [n, C, H, W].

    Returns:
        [N] class numbers, on the CPU.
    """
    predicted = []
    with evaluating(model), torch.inference_mode():
        for images in batches:
            (outputs,) = model(images, (task,))
            predicted.append(outputs.argmax(1).cpu())
            advance(len(images))
    return torch.cat(predicted) if predicted else torch.empty(0, dtype=torch.long)
