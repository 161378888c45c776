"""Adds up importance over very many images without losing the small parts."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

# On a CPU, float32 is turned into float64 in pieces of so many numbers, which stay in the cache: a
# mixed addition is six times slower.
PIECE = 1 << 18


class Accumulator:
    """Sums over images for each parameter, and of |F|^2, in float64.

    The error then does not grow with the number of images. Where the parameters' device has no
    float64, the sums are kept on the CPU.

    Args:
        like: a tensor of each parameter's shape, dtype and device, by name.
    """

    def __init__(self, like: Mapping[str, Tensor]) -> None:
        self.images = 0
        self.value = 0.0
        self._dtypes = {name: p.dtype if p.is_floating_point() else torch.float32 for name, p in like.items()}
        self._sums = {
            name: torch.zeros(p.shape, dtype=torch.float64, device="cpu" if p.device.type == "mps" else p.device)
            for name, p in like.items()
        }

    def add(self, sums: Mapping[str, Tensor], values: Tensor) -> None:
        """Add one batch: sums over its images for each parameter, and its values [N]."""
        for name, part in sums.items():
            _add(self._sums[name], part.to(self._sums[name].device))
        self.value += float(values.double().sum())
        self.images += len(values)

    def mean(self) -> dict[str, Tensor]:
        """Omega: the sums over all images divided by their number, in the parameters' precision."""
        return {name: (total / self.images).to(self._dtypes[name]) for name, total in self._sums.items()}

    @property
    def mean_value(self) -> float:
        """E|F|^2, the mean squared norm of the outputs over the images."""
        return self.value / self.images

    def state(self) -> dict[str, Tensor]:
        """The sums so far, by parameter: what `load_state` continues from, to the bit."""
        return self._sums

    def load_state(self, sums: Mapping[str, Tensor], images: int, value: float) -> None:
        """Continue from the sums of so many images."""
        for name, total in self._sums.items():
            total.copy_(sums[name])
        self.images, self.value = images, value


def _add(total: Tensor, part: Tensor) -> None:
    if total.device.type != "cpu" or part.dtype == torch.float64:
        total += part
        return
    for exact, piece in zip(total.view(-1).split(PIECE), part.reshape(-1).split(PIECE), strict=True):
        exact += piece.double()
