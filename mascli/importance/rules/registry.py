"""What a rule is, and the table that finds the rule for a module.

A rule turns what one layer saw in a pass (its input, and the gradient at its output) into the
gradient of its parameters for each image. It is found by the *exact* type of the module, because a
subclass may compute something else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

# A chunk of per-image gradients stays within this many numbers, so that it does not leave the cache
# by much and memory does not grow with the batch.
CHUNK_NUMBERS = 1 << 22


class Rule(ABC):
    """How the parameters of one kind of layer get their gradient for each image.

    In all methods `inputs` is what the layer received, [N, ...], and `gradient` is the gradient of
    the objective at its output, [N, ...], N images in the same order.
    """

    name: ClassVar[str]
    parameters: ClassVar[frozenset[str]] = frozenset({"weight", "bias"})

    @abstractmethod
    def per_image(self, module: nn.Module, inputs: Tensor, gradient: Tensor) -> dict[str, Tensor]:
        """The gradient of each parameter for each image: name -> [N, *shape of the parameter]."""

    def absolute_sum(self, module: nn.Module, inputs: Tensor, gradient: Tensor) -> dict[str, Tensor]:
        """Sum over images of the absolute gradient: name -> [*shape of the parameter]."""
        return absolute_sum_of_uses(self, module, [(inputs, gradient)])


def absolute_sum_of_uses(rule: Rule, module: nn.Module, uses: list[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """Sum over images of |sum over uses of the gradient|, for a layer called once or more in a pass.

    The uses are added for each image before the absolute value, in chunks of images.
    """
    images = uses[0][0].shape[0]
    numbers = sum(p.numel() for p in module.parameters(recurse=False))
    chunk = max(1, CHUNK_NUMBERS // max(1, numbers))
    sums: dict[str, Tensor] = {}
    for start in range(0, images, chunk):
        part = slice(start, start + chunk)
        parts = [rule.per_image(module, inputs[part], gradient[part]) for inputs, gradient in uses]
        for name in parts[0]:
            total = parts[0][name] if len(parts) == 1 else torch.stack([p[name] for p in parts]).sum(0)
            absolute = total.abs().sum(0)
            sums[name] = sums[name] + absolute if name in sums else absolute
    return sums


RULES: dict[type[nn.Module], Rule] = {}


def rule_for(*types: type[nn.Module]) -> Callable[[type[Rule]], type[Rule]]:
    """Register the decorated rule for modules of exactly these types."""

    def register(kind: type[Rule]) -> type[Rule]:
        RULES.update(dict.fromkeys(types, kind()))
        return kind

    return register
