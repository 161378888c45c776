"""The learned features: what the head of a task takes as its input."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mascli.models.heads import MultiHeadModel


class Features:
    """Collects the features of the images that a model answers for, in their order."""

    def __init__(self) -> None:
        self._batches: list[Tensor] = []

    def add(self, features: Tensor) -> None:
        """Keep the features [n, D] of a batch."""
        self._batches.append(features.detach().float().cpu())

    @property
    def values(self) -> NDArray[np.float32]:
        """The features [N, D] of all images; [0, 0] without any."""
        if not self._batches:
            return np.zeros((0, 0), np.float32)
        values: NDArray[np.float32] = torch.cat(self._batches).numpy()
        return values


@contextmanager
def recorded_features(model: MultiHeadModel, task: str) -> Iterator[Features]:
    """Within this context, keep what the head of `task` takes as its input: the penultimate layer's output.

    Where a head answers for every position of a map or a sequence, the mean over positions: [N, D].
    """
    found = Features()
    channels = -1 if model.task_heads.class_dimension == -1 else 1

    def keep(head: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        features = inputs[0]
        positions = [d for d in range(1, features.dim()) if d != channels % features.dim()]
        found.add(features.mean(positions) if positions else features)

    hook = model.head(task).register_forward_pre_hook(keep)
    try:
        yield found
    finally:
        hook.remove()
