"""A batch as the estimate sees it: pixels, and what is known of each image beside them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Images:
    """Preprocessed images.

    Args:
        pixels: [N, C, H, W].
        given: one row an image, [N, ...], for objectives that need one (labels, or numbers to draw
            them by: see `objective.py`).
    """

    pixels: Tensor
    given: Tensor | None = None

    def __len__(self) -> int:
        return len(self.pixels)

    def part(self, images: slice) -> Images:
        """Some of the images."""
        return Images(self.pixels[images], None if self.given is None else self.given[images])

    def split(self, size: int) -> list[Images]:
        """All images in parts of at most `size`."""
        return [self.part(slice(start, start + size)) for start in range(0, len(self), size)]
