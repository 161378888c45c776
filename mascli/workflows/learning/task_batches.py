"""Epochs of the images to learn from: those of the new task, and those of old ones that are learned along."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass

import torch
from torch import Tensor

from mascli.data.augment import Augmentation, augment
from mascli.data.loader import ImageSet, normalize, parts_of
from mascli.records import Preprocessing
from mascli.training.batches import Batch


@dataclass(frozen=True)
class Source:
    """The images of a task to learn from: those of `images` that `chosen` numbers."""

    task: str
    images: ImageSet
    chosen: Sequence[int]


class ImageBatches:
    """The images of all sources, mixed: batches in a new seeded order in each epoch, ready for the network."""

    def __init__(
        self,
        sources: Sequence[Source],
        batch_size: int,
        preprocessing: Preprocessing,
        device: torch.device,
        augmentation: Augmentation,
        seed: int,
    ) -> None:
        self._sources, self._batch_size, self._augmentation = tuple(sources), batch_size, augmentation
        self._preprocessing, self._device = preprocessing, device
        self._places = [(owner, n) for owner, source in enumerate(self._sources) for n in source.chosen]
        self.generator = torch.Generator().manual_seed(seed)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks whose heads learn, the new one first."""
        return tuple(source.task for source in self._sources)

    @property
    def images(self) -> int:
        """The number of images in an epoch."""
        return len(self._places)

    def epoch(self, skip: int = 0, state: Tensor | None = None) -> Iterator[Batch]:
        """An epoch in a new order, without its first `skip` batches.

        Args:
            state: the state of the generator behind the batches left out.
        """
        order = torch.randperm(len(self._places), generator=self.generator).tolist()
        if state is not None:
            self.generator.set_state(state)
        return self._batches(parts_of(order, self._batch_size)[skip:])

    def _batches(self, parts: list[list[int]]) -> Iterator[Batch]:
        if len(self._sources) == 1:
            own = [[self._places[at][1] for at in part] for part in parts]
            with closing(self._sources[0].images.in_parts(own)) as found:
                for pixels, labels in found:
                    yield Batch(self._prepared(pixels), labels.to(self._device))
            return
        with ExitStack() as streams:
            split = [self._of_source(owner, parts) for owner in range(len(self._sources))]
            readers = [
                streams.enter_context(closing(source.images.in_parts([numbers for numbers in own if numbers])))
                for source, own in zip(self._sources, split, strict=True)
            ]
            for at in range(len(parts)):
                owners = [owner for owner, own in enumerate(split) if own[at]]
                read = [next(readers[owner]) for owner in owners]
                pixels, labels = torch.cat([one for one, _ in read]), torch.cat([one for _, one in read])
                who = torch.tensor(owners).repeat_interleave(torch.tensor([len(one) for _, one in read]))
                yield Batch(self._prepared(pixels), labels.to(self._device), who.to(self._device))

    def _of_source(self, owner: int, parts: list[list[int]]) -> list[list[int]]:
        """Which images of one source each part has."""
        return [[number for own, number in (self._places[at] for at in part) if own == owner] for part in parts]

    def _prepared(self, pixels: Tensor) -> Tensor:
        changed = augment(pixels, self._augmentation, self.generator)
        return normalize(changed, self._preprocessing, self._device)
