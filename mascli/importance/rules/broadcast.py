"""The rules for parameters that are added to images, or multiplied with them.

Position embeddings, class tokens, layer scale, relative position bias, biases outside a layer.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mascli.importance.layout import Layout
from mascli.importance.rules.registry import Rule, Seen, Visit, rule_for


class _Broadcast(Seen):
    """`parts` gives, for each slot, the gradient before it is summed to the parameter's shape."""

    def __init__(self, visit: Visit, parts: dict[int, Tensor]) -> None:
        super().__init__(visit)
        self._parts = {slot: visit.layout.by_image(part) for slot, part in parts.items()}

    def per_image(self, images: slice) -> dict[int, Tensor]:
        found = {}
        for slot, shape in zip(self.visit.slots, self.visit.shapes, strict=True):
            part = self._parts[slot][images]  # [n, *shape of the output]
            padding = (1,) * (part.dim() - 1 - len(shape))
            summed = part.sum_to_size(len(part), *padding, *shape)
            found[slot] = (summed.clone() if summed is part else summed).reshape(len(part), *shape)
        return found


@rule_for("AddBackward0")
class AddRule(Rule):
    """Gradient of an image: the gradient at the sum, summed over what the parameter is broadcast over."""

    name = "addition"

    def takes(self, node: Any, slots: tuple[int, ...], layout: Layout) -> bool:
        """See `Rule.takes`."""
        return bool(node._saved_alpha == 1)

    def see(self, visit: Visit) -> Seen:
        """See `Rule.see`."""
        return _Broadcast(visit, dict.fromkeys(visit.slots, visit.gradient))


@rule_for("ExpandBackward0")
class ExpandRule(AddRule):
    """Gradient of an image: the gradient at its own copy of the parameter, as of a class token."""

    def takes(self, node: Any, slots: tuple[int, ...], layout: Layout) -> bool:
        """See `Rule.takes`."""
        return True


@rule_for("MulBackward0")
class MultiplyRule(Rule):
    """Gradient of an image: gradient times the other factor, summed over what the parameter is broadcast over."""

    name = "multiplication"

    def takes(self, node: Any, slots: tuple[int, ...], layout: Layout) -> bool:
        """See `Rule.takes`."""
        return len(slots) == 1

    def see(self, visit: Visit) -> Seen:
        """See `Rule.see`."""
        (slot,) = visit.slots
        other = visit.node._saved_other if slot == 0 else visit.node._saved_self
        return _Broadcast(visit, {slot: visit.gradient * other.conj()})
