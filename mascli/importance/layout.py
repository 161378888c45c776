"""Which part of a tensor belongs to which image of the batch.

Inside a network the images need not be the first dimension: windows of one image follow each other
in it, attention may have time first, a sequence layer flattens both. Where the images are is found
from shapes (two passes of different size) and from gradients (which numbers one image's value
depends on), never from what a layer is called.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """Images in dimension `dim`, whose size is before x images x after, the image counting in between."""

    dim: int
    before: int = 1
    after: int = 1

    def fits(self, shape: Sequence[int], images: int) -> bool:
        """Whether a tensor of that shape can hold so many images in this way."""
        return self.dim < len(shape) and shape[self.dim] == self.before * images * self.after

    def images(self, shape: Sequence[int]) -> int:
        """The number of images in a tensor of that shape."""
        return shape[self.dim] // (self.before * self.after)

    def by_image(self, tensor: Tensor) -> Tensor:
        """`tensor` with the images in front: [N, *shape], where `dim` is left with before x after."""
        shape = tensor.shape
        split: Tensor = tensor.unflatten(self.dim, (self.before, self.images(shape), self.after))
        return split.movedim(self.dim + 1, 0).flatten(self.dim + 1, self.dim + 2)

    def alone(self, tensor: Tensor, image: int) -> Tensor:
        """`tensor` at the part of one image, zero elsewhere."""
        sizes = self.before, self.images(tensor.shape), self.after
        found = torch.zeros_like(tensor)
        part, own = (each.unflatten(self.dim, sizes).select(self.dim + 1, image) for each in (found, tensor))
        part.copy_(own)
        return found

    def image_major(self, tensor: Tensor) -> Tensor:
        """`tensor`, whose images are in dimension 0, with the `after` rows of an image together: [N * rows, ...]."""
        return tensor if self.before == 1 else self.by_image(tensor).flatten(0, 1)


def image_dimension(small: Sequence[int], large: Sequence[int], images: tuple[int, int]) -> tuple[int, int] | None:
    """The one dimension that grows with the number of images, and its size for one image; None if there is no such."""
    if len(small) != len(large):
        return None
    grown = [d for d, (one, other) in enumerate(zip(small, large, strict=True)) if one != other]
    if len(grown) != 1:
        return None
    (dim,) = grown
    each, rest = divmod(small[dim], images[0])
    return (dim, each) if not rest and each * images[1] == large[dim] else None


def layouts(dim: int, each: int) -> list[Layout]:
    """Every way in which `each` numbers an image can lie in dimension `dim`, the usual ones first."""
    divisors = [before for before in range(1, each + 1) if each % before == 0]
    usual = [1, each] if each > 1 else [1]
    return [Layout(dim, before, each // before) for before in [*usual, *divisors[1:-1]]]


def agrees(layout: Layout, gradient: Tensor, image: int) -> bool:
    """Whether the gradient of the value of one image is zero outside that image's part."""
    parts = layout.by_image(gradient)
    return not any(bool(parts[other].any()) for other in range(len(parts)) if other != image)
