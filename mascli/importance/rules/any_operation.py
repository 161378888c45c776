"""The rule for an operation that has no rule of its own: autograd's own gradient of it, image by image.

Exact for every operation, at the price of its backward pass once for each image.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from mascli.importance.layout import Layout
from mascli.importance.rules.registry import Rule, Seen, Visit

# The operations whose gradient is being asked for right now, within a backward pass that has come by them.
_asked: set[int] = set()


class _Stored(Seen):
    def __init__(self, visit: Visit, gradients: dict[int, Tensor]) -> None:
        super().__init__(visit)
        self._gradients = gradients

    def per_image(self, images: slice) -> dict[int, Tensor]:
        return {slot: gradients[images] for slot, gradients in self._gradients.items()}


class AnyOperationRule(Rule):
    """Gradient of an image: what the operation's backward gives for the gradient at that image's part alone."""

    name = "any operation"

    def takes(self, node: Any, slots: tuple[int, ...], layout: Layout) -> bool:
        """See `Rule.takes`."""
        return True

    def see(self, visit: Visit) -> Seen:
        """See `Rule.see`."""
        edges = [GradientEdge(*visit.node.next_functions[slot]) for slot in visit.slots]
        found: dict[int, list[Tensor]] = {slot: [] for slot in visit.slots}
        for image in range(visit.images):
            alone = visit.layout.alone(visit.gradient, image)
            with _asking(visit.node):
                gradients = torch.autograd.grad(
                    [GradientEdge(visit.node, 0)], edges, [alone], retain_graph=True, allow_unused=True
                )
            for slot, shape, gradient in zip(visit.slots, visit.shapes, gradients, strict=True):
                found[slot].append(visit.gradient.new_zeros(shape) if gradient is None else gradient.reshape(shape))
        return _Stored(visit, {slot: torch.stack(gradients) for slot, gradients in found.items()})


ANY_OPERATION = AnyOperationRule()


def is_asked(node: Any) -> bool:
    """Whether a backward pass comes by `node` only because this rule asked for its gradient."""
    return id(node) in _asked


@contextmanager
def _asking(node: Any) -> Iterator[None]:
    _asked.add(id(node))
    try:
        yield
    finally:
        _asked.discard(id(node))
