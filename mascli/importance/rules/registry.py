"""What a rule is, and the table that finds the rule for an operation.

A rule turns what one operation of a batch saw (the tensors it kept for the backward pass, and the
gradient at its output) into the gradient of its parameters for each image. It is found by the exact
name of the operation in autograd's graph. So it does not matter which module called it, and a
subclass that computes something else has other operations.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from mascli.importance.layout import Layout
from mascli.importance.reduction import Pointwise, sum_dtype

# A chunk of per-image gradients stays within this many numbers, so that it does not leave the cache
# by much and memory does not grow with the batch.
CHUNK_NUMBERS = 1 << 22


@dataclass(frozen=True)
class Visit:
    """One operation that the backward pass has come by.

    Args:
        node: the operation, with what it saved.
        slots: which of its inputs come from parameters.
        shapes: the shape of each of these inputs.
        gradient: the gradient of the objective at its output.
        layout: where the images are in the output.
    """

    node: Any
    slots: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]
    gradient: Tensor
    layout: Layout

    @property
    def images(self) -> int:
        """The number of images in the batch."""
        return self.layout.images(self.gradient.shape)


class Seen(ABC):
    """What one operation gives for a batch, ready to be asked for its parts."""

    def __init__(self, visit: Visit) -> None:
        self.visit = visit

    @abstractmethod
    def per_image(self, images: slice) -> dict[int, Tensor]:
        """The gradient for each of `images` by slot: [n, *shape of the input], new tensors that may be changed."""

    def sum_over_images(self, pointwise: Pointwise) -> dict[int, Tensor]:
        """Sum over all images of |gradient| (or its square) by slot: [*shape of the input]."""
        numbers = sum(_count(shape) for shape in self.visit.shapes)
        chunk = max(1, CHUNK_NUMBERS // max(1, numbers))
        sums: dict[int, Tensor] = {}
        for start in range(0, self.visit.images, chunk):
            for slot, gradients in self.per_image(slice(start, start + chunk)).items():
                part = pointwise(gradients).sum(0, dtype=sum_dtype(gradients))
                sums[slot] = sums[slot].add_(part) if slot in sums else part
        return sums


class Rule(ABC):
    """How one kind of operation gives its parameters' gradient for each image."""

    name: ClassVar[str]

    @abstractmethod
    def takes(self, node: Any, slots: tuple[int, ...], layout: Layout) -> bool:
        """Whether the rule knows this use of the operation; others go to the rule for any operation."""

    @abstractmethod
    def see(self, visit: Visit) -> Seen:
        """Take hold of what the operation saved, before the backward pass lets it go."""


RULES: dict[str, Rule] = {}


def rule_for(*operations: str) -> Callable[[type[Rule]], type[Rule]]:
    """Register the decorated rule for autograd operations of exactly these names."""

    def register(kind: type[Rule]) -> type[Rule]:
        RULES.update(dict.fromkeys(operations, kind()))
        return kind

    return register


def split(sums: Mapping[int, Tensor | None]) -> dict[int, Tensor]:
    """`sums` without the slots that nobody asked for."""
    return {slot: value for slot, value in sums.items() if value is not None}


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count
