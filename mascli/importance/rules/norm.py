"""The rules for norms: batch norm in eval mode, layer norm and group norm, by the library's own kernels."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from mascli.importance.layout import Layout
from mascli.importance.rules.registry import Rule, Seen, Visit, rule_for

_WEIGHT, _BIAS = 1, 2
_aten = torch.ops.aten


class _BatchNorm(Seen):
    """Every channel of every image as a channel of one large image: the kernel then sums each by itself."""

    def __init__(self, visit: Visit) -> None:
        super().__init__(visit)
        node = visit.node
        self._x, self._g = (visit.layout.image_major(tensor) for tensor in (node._saved_input, visit.gradient))
        self._mean, self._variance, self._eps = node._saved_running_mean, node._saved_running_var, node._saved_eps

    def per_image(self, images: slice) -> dict[int, Tensor]:
        rows, channels = self._x.shape[0] // self.visit.images, self._x.shape[1]
        part = slice(images.start * rows, images.stop * rows)
        x, g = self._x[part], self._g[part]
        both = _aten.native_batch_norm_backward(
            g.reshape(1, len(g) * channels, -1),
            x.reshape(1, len(x) * channels, -1),
            None,
            self._mean.repeat(len(x)),
            self._variance.repeat(len(x)),
            None,
            None,
            False,
            self._eps,
            [False, True, True],
        )
        return {slot: both[slot].view(-1, rows, channels).sum(1) for slot in self.visit.slots}


@rule_for("NativeBatchNormBackward0")
class BatchNormRule(Rule):
    """Gradient of an image: sum over positions of g (x - mean) / sqrt(var + eps), and of g."""

    name = "batch norm"

    def takes(self, node: Any, slots: tuple[int, ...], layout: Layout) -> bool:
        """See `Rule.takes`."""
        return layout.dim == 0 and not node._saved_training and set(slots) <= {_WEIGHT, _BIAS}

    def see(self, visit: Visit) -> Seen:
        """See `Rule.see`."""
        return _BatchNorm(visit)


class _OneByOne(Seen):
    """The kernel's sums for the positions of one image after the other."""

    def per_image(self, images: slice) -> dict[int, Tensor]:
        found = [self._alone(image) for image in range(self.visit.images)[images]]
        shapes = zip(self.visit.slots, self.visit.shapes, strict=True)
        return {slot: torch.stack([both[slot - 1] for both in found]).view(-1, *shape) for slot, shape in shapes}

    @property
    def _wanted(self) -> list[bool]:
        return [False, _WEIGHT in self.visit.slots, _BIAS in self.visit.slots]

    @abstractmethod
    def _alone(self, image: int) -> tuple[Tensor, Tensor]:
        """The gradients of weight and bias for one image."""


class _LayerNorm(_OneByOne):
    def __init__(self, visit: Visit) -> None:
        super().__init__(visit)
        node, by_image = visit.node, visit.layout.by_image
        self._shape = node._saved_normalized_shape
        self._affine = node._saved_weight, node._saved_bias
        self._seen = [
            by_image(t) for t in (visit.gradient, node._saved_input, node._saved_result1, node._saved_result2)
        ]

    def _alone(self, image: int) -> tuple[Tensor, Tensor]:
        g, x, mean, rstd = (tensor[image].contiguous() for tensor in self._seen)
        found = _aten.native_layer_norm_backward(g, x, self._shape, mean, rstd, *self._affine, self._wanted)
        return found[1], found[2]


@rule_for("NativeLayerNormBackward0")
class LayerNormRule(Rule):
    """Gradient of an image: sum over positions of g (x - mean) / std, and of g, the statistics each position's own."""

    name = "layer norm"

    def takes(self, node: Any, slots: tuple[int, ...], layout: Layout) -> bool:
        """See `Rule.takes`."""
        positions = node._saved_input.dim() - len(node._saved_normalized_shape)
        return layout.dim < positions and set(slots) <= {_WEIGHT, _BIAS}

    def see(self, visit: Visit) -> Seen:
        """See `Rule.see`."""
        return _LayerNorm(visit)


class _GroupNorm(_OneByOne):
    def __init__(self, visit: Visit) -> None:
        super().__init__(visit)
        node, self._rows = visit.node, visit.layout.after
        self._sizes = node._saved_C, node._saved_HxW, node._saved_group
        self._weight = node._saved_weight
        self._seen = visit.gradient, node._saved_input, node._saved_result1, node._saved_result2

    def _alone(self, image: int) -> tuple[Tensor, Tensor]:
        part = slice(image * self._rows, (image + 1) * self._rows)
        g, x, mean, rstd = (tensor[part].contiguous() for tensor in self._seen)
        found = _aten.native_group_norm_backward(g, x, mean, rstd, self._weight, self._rows, *self._sizes, self._wanted)
        return found[1], found[2]


@rule_for("NativeGroupNormBackward0")
class GroupNormRule(Rule):
    """Gradient of an image: sum over positions of g (x - mean) / std, and of g, the statistics each group's own."""

    name = "group norm"

    def takes(self, node: Any, slots: tuple[int, ...], layout: Layout) -> bool:
        """See `Rule.takes`."""
        return layout.dim == 0 and layout.before == 1 and set(slots) <= {_WEIGHT, _BIAS}

    def see(self, visit: Visit) -> Seen:
        """See `Rule.see`."""
        return _GroupNorm(visit)
