"""Random changes to training images that leave their class alone, reproducible from a generator."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Augmentation = Literal["none", "flip", "standard"]


def augment(pixels: Tensor, kind: Augmentation, generator: torch.Generator) -> Tensor:
    """A changed copy of the images `pixels` [N, C, H, W], of any type and on any device.

    `flip` mirrors each image left to right with probability 1/2. `standard` also moves it by up to an
    eighth of its height and width, reflecting it at the edges. Draws come from `generator` (CPU).
    """
    if kind == "none":
        return pixels
    count, _, height, width = pixels.shape
    reach = (height // 8, width // 8) if kind == "standard" else (0, 0)
    rows = _moved(height, reach[0], count, generator)
    columns = _moved(width, reach[1], count, generator)
    mirrored = torch.rand(count, 1, generator=generator) < 0.5
    columns = torch.where(mirrored, columns.flip(1), columns)
    images = torch.arange(count).view(-1, 1, 1, 1)
    channels = torch.arange(pixels.shape[1]).view(1, -1, 1, 1)
    index = images, channels, rows[:, None, :, None], columns[:, None, None, :]
    return pixels[tuple(part.to(pixels.device) for part in index)]


def _moved(size: int, reach: int, count: int, generator: torch.Generator) -> Tensor:
    """For each of `count` images, where its `size` pixels come from [count, size], moved by -reach to +reach."""
    shift = torch.randint(-reach, reach + 1, (count, 1), generator=generator)
    source = (torch.arange(size) + shift).abs()
    return (size - 1) - ((size - 1) - source).abs()
