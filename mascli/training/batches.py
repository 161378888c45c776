"""What training asks of the images: epochs in a seeded order that can be gone on with anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class Batch(NamedTuple):
    """Images [N, C, H, W], ready for the network, and their labels [N].

    `owners` [N] says to which task each belongs, by its place in `Batches.tasks`; None: all to the first.
    """

    images: Tensor
    labels: Tensor
    owners: Tensor | None = None

    @property
    def new_images(self) -> int:
        """The number of images of the first task."""
        return len(self.labels) if self.owners is None else int((self.owners == 0).sum())


class Batches(Protocol):
    """The images of a training: `images` of them an epoch, of `tasks`, the new one first.

    Everything random is drawn from `generator`: the order as soon as an epoch is asked for, what changes
    the images of a batch when that batch is due.
    """

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks whose heads learn, the new one first."""

    @property
    def images(self) -> int:
        """The number of images in an epoch."""

    @property
    def generator(self) -> torch.Generator:
        """Where order and changes are drawn from."""

    def epoch(self, skip: int = 0, state: Tensor | None = None) -> Iterator[Batch]:
        """An epoch in a new order, without its first `skip` batches.

        Args:
            state: the state of the generator behind the batches left out.
        """
