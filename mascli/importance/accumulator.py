"""Adds up importance over very many images without losing the small parts."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

# A float32 sum is closed after this many images and added to one in float64.
IMAGES_PER_SUM = 4096


class Accumulator:
    """Sums of absolute gradients over images, and of the objective's values.

    Batches add up in their own precision; every `IMAGES_PER_SUM` images that sum goes into one of
    float64, so that the error does not grow with the number of images.
    """

    def __init__(self, shapes: Mapping[str, Tensor]) -> None:
        self.images = 0
        self.value = 0.0
        self._open = {name: _zeros(like) for name, like in shapes.items()}
        self._open_images = 0
        self._closed: dict[str, Tensor] = {}

    def add(self, sums: Mapping[str, Tensor], values: Tensor) -> None:
        """Add one batch: sums over its images for each parameter, and its values [N]."""
        for name, part in sums.items():
            self._open[name] += part
        self.value += float(values.double().sum())
        self.images += len(values)
        self._open_images += len(values)
        if self._open_images >= IMAGES_PER_SUM:
            self._close()

    def mean(self) -> dict[str, Tensor]:
        """Omega: the sums over all images divided by their number, in the parameters' precision."""
        self._close()
        return {name: (total / self.images).to(self._open[name].dtype) for name, total in self._closed.items()}

    @property
    def mean_value(self) -> float:
        """Mean of the objective over the images: E|F|^2 for the squared norm."""
        return self.value / self.images

    def _close(self) -> None:
        for name, part in self._open.items():
            closed = self._closed.get(name)
            exact = part.to("cpu", torch.float64, copy=True)  # not every accelerator has float64
            self._closed[name] = exact if closed is None else closed + exact
            part.zero_()
        self._open_images = 0


def _zeros(like: Tensor) -> Tensor:
    dtype = like.dtype if like.is_floating_point() else torch.float32
    return torch.zeros(like.shape, dtype=dtype, device=like.device)
