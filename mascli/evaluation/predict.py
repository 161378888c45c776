"""Lets a model answer: its outputs, or where they rank the class of each image of a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from mascli.models.heads import MultiHeadModel, evaluating

NO_ANSWER = -1


@dataclass(frozen=True)
class Predictions:
    """What a head answers for N images: the class with the greatest output, and the rank of the image's own.

    Both are int64 [N], on the CPU. `ranks` counts the classes that come before the image's own: those
    with a greater output, and of those with the same output the ones with a smaller number. So
    rank 0 is the predicted class, and ties are decided the same way each time. Where an output is nan there
    is no answer: `predicted` is `NO_ANSWER`, and the rank is that of no class.
    """

    predicted: Tensor
    ranks: Tensor

    @property
    def correct(self) -> Tensor:
        """Whether each image is put into its own class [N]."""
        return self.ranks == 0


def predict(
    model: MultiHeadModel,
    task: str,
    batches: Iterable[tuple[Tensor, Tensor]],
    advance: Callable[[int], None] = lambda count: None,
) -> Predictions:
    """What the head of `task` answers for each image, in eval mode.

    Args:
        batches: preprocessed images [n, C, H, W] with the number of each one's class [n].
    """
    found = []
    with evaluating(model), torch.inference_mode():
        for images, labels in batches:
            (outputs,) = model(images, (task,))
            found.append(ranked(outputs.cpu(), labels.cpu()))
            advance(len(images))
    empty = torch.empty(0, dtype=torch.long)
    return Predictions(
        torch.cat([part.predicted for part in found]) if found else empty,
        torch.cat([part.ranks for part in found]) if found else empty,
    )


def ranked(outputs: Tensor, labels: Tensor) -> Predictions:
    """Rank the classes `labels` [N] by the outputs [N, classes] of a head."""
    own = outputs.gather(1, labels[:, None])  # [N, 1]
    earlier = torch.arange(outputs.shape[1]) < labels[:, None]  # [N, classes]
    ranks = ((outputs > own) | ((outputs == own) & earlier)).sum(1)
    unknown = outputs.isnan().any(1)
    return Predictions(outputs.argmax(1).masked_fill(unknown, NO_ANSWER), ranks.masked_fill(unknown, outputs.shape[1]))


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
