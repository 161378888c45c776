"""The rule for convolutions: of any dimension, transposed, grouped, strided, dilated.

How a layer pads (`same`, circular, reflect ...) is an operation of its own before this one, so only
padding with zeros is left.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from mascli.importance.layout import Layout
from mascli.importance.reduction import Pointwise, sum_dtype
from mascli.importance.rules import fused
from mascli.importance.rules.cost import Convolution, Way, by_fastest_way
from mascli.importance.rules.products import sum_of_products, sum_one_by_one, uses_fused_kernel
from mascli.importance.rules.registry import CHUNK_NUMBERS, Rule, Seen, Visit, rule_for

_WEIGHT, _BIAS = 1, 2


class _Convolution(Seen):
    """x [N * rows, in, ...] and g [N * rows, out, ...], with `rows` inputs an image (1 but for windows)."""

    def __init__(self, visit: Visit) -> None:
        super().__init__(visit)
        node = visit.node
        self._g = visit.layout.image_major(visit.gradient)
        self._rows = len(self._g) // visit.images
        if _WEIGHT in visit.slots:
            self._x = visit.layout.image_major(node._saved_input)
            self._weight = node._saved_weight
            self._geometry = tuple(node._saved_stride), tuple(node._saved_padding), tuple(node._saved_dilation)
            self._transposed, self._output_padding = node._saved_transposed, tuple(node._saved_output_padding)
            self._groups = node._saved_groups

    def per_image(self, images: slice) -> dict[int, Tensor]:
        found = {}
        if _WEIGHT in self.visit.slots:
            found[_WEIGHT] = torch.stack([self._alone(image) for image in range(self.visit.images)[images]])
        if _BIAS in self.visit.slots:
            found[_BIAS] = self._bias(images)
        return found

    def sum_over_images(self, pointwise: Pointwise) -> dict[int, Tensor]:
        found = {}
        if _WEIGHT in self.visit.slots:
            found[_WEIGHT] = by_fastest_way(self.described(), lambda way: self.sum_of_weights(way, pointwise))
        if _BIAS in self.visit.slots:
            found[_BIAS] = pointwise(self._bias(slice(0, self.visit.images))).sum(0, dtype=sum_dtype(self._g))
        return found

    def sum_of_weights(self, way: Way, pointwise: Pointwise) -> Tensor:
        """Sum over images of the absolute weight gradient, by one of `possible_ways`: [*shape of the weight]."""
        if way == "products":
            x, g = (self._positions(tensor) for tensor in (self._x, self._g))
            return sum_of_products(g, x, pointwise).view_as(self._weight)
        if way == "patches":
            return self._by_patches(pointwise)
        total = torch.zeros_like(self._weight, dtype=sum_dtype(self._weight))
        if way == "together":
            chunk = max(1, CHUNK_NUMBERS // total.numel())
            for start in range(0, self.visit.images, chunk):
                total += pointwise(self._together(start, min(start + chunk, self.visit.images))).sum(
                    0, dtype=total.dtype
                )
        else:
            for image in range(self.visit.images):
                total += pointwise(self._alone(image))
        return total

    def _positions(self, maps: Tensor) -> Tensor:
        """Every position of every map as a row: [N, rows * T, C]."""
        each = maps.flatten(2).transpose(1, 2)  # [N * rows, T, C]
        if self._rows > 1:
            each = each.reshape(self.visit.images, -1, each.shape[2])
        return each

    def _alone(self, image: int) -> Tensor:
        """The library's weight gradient of one image."""
        part = slice(image * self._rows, (image + 1) * self._rows)
        return self._gradient(self._x[part], self._g[part], self._weight, self._groups)

    def _together(self, start: int, stop: int) -> Tensor:
        """The same of several images at once, as the groups of one convolution: [n, *shape of the weight]."""
        n, weight = stop - start, self._weight
        x, g = (t[start:stop].reshape(1, -1, *t.shape[2:]) for t in (self._x, self._g))
        shape = (n * weight.shape[0], *weight.shape[1:])
        found = self._gradient(x, g, weight.new_empty(1).expand(shape), n * self._groups)
        return found.view(n, *weight.shape)

    def _gradient(self, x: Tensor, g: Tensor, weight: Tensor, groups: int) -> Tensor:
        stride, padding, dilation = self._geometry
        found = torch.ops.aten.convolution_backward(
            g,
            x,
            weight,
            None,
            stride,
            padding,
            dilation,
            self._transposed,
            self._output_padding,
            groups,
            [False, True, False],
        )
        return cast(Tensor, found[1])

    def _by_patches(self, pointwise: Pointwise) -> Tensor:
        """One matrix product an image: gradient [out, T] times patches [in * kh * kw, T]."""
        (stride, padding, dilation), kernel = self._geometry, self._weight.shape[2:]
        shape = self._weight.shape[0], self._weight[0].numel()
        if self._g[0, 0].numel() * self._rows == 1 or uses_fused_kernel(self._g, pointwise):
            a = F.unfold(
                self._x, cast(tuple[int, int], kernel), dilation, padding, stride
            )  # [N * rows, in * kh * kw, T]
            a, g = (t.unflatten(0, (-1, self._rows)).transpose(1, 2).flatten(2) for t in (a, self._g.flatten(2)))
            total = sum_of_products(g.transpose(1, 2), a.transpose(1, 2), pointwise)
            return total.reshape(self._weight.shape)
        padded = F.pad(self._x, (padding[1], padding[1], padding[0], padding[0])) if any(padding) else self._x
        windows = _windows(padded, tuple(kernel), stride, dilation, tuple(self._g.shape[2:]))

        def matrices(image: int) -> tuple[Tensor, Tensor]:
            part = slice(image * self._rows, (image + 1) * self._rows)
            g, a = self._g[part].transpose(0, 1), windows[part].movedim(0, 3)
            return g.reshape(shape[0], -1), a.reshape(shape[1], -1)

        return sum_one_by_one(self.visit.images, matrices, shape, pointwise).reshape(self._weight.shape)

    def _bias(self, images: slice) -> Tensor:
        part = slice(images.start * self._rows, images.stop * self._rows)
        each = self._g[part].flatten(2).sum(2) if self._g.dim() > 2 else self._g[part]
        return each.reshape(-1, self._rows, each.shape[1]).sum(1)

    def described(self) -> Convolution:
        """What the choice of a way depends on."""
        stride, padding, _ = self._geometry
        return Convolution(
            images=self.visit.images,
            weight=tuple(self._weight.shape),
            output=tuple(self._g.shape[2:]),
            point=all(s == 1 for s in stride) and not any(padding),
            groups=self._groups,
            rows=self._rows,
            transposed=self._transposed,
            fused=self._g.is_cuda and fused.available(self._g),
        )


def _windows(
    x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...], output: tuple[int, ...]
) -> Tensor:
    """The input under each place of the kernel for each position, a view: [N, in, kh, kw, oh, ow]."""
    n, c, h, w = x.stride()
    steps = (n, c, h * dilation[0], w * dilation[1], h * stride[0], w * stride[1])
    return x.as_strided((*x.shape[:2], *kernel, *output), steps)


@rule_for("ConvolutionBackward0")
class ConvolutionRule(Rule):
    """Gradient of an image: the convolution's weight gradient for that image alone, and the sum of g."""

    name = "convolution"

    def takes(self, node: Any, slots: tuple[int, ...], layout: Layout) -> bool:
        """See `Rule.takes`."""
        return layout.dim == 0 and set(slots) <= {_WEIGHT, _BIAS}

    def see(self, visit: Visit) -> Seen:
        """See `Rule.see`."""
        return _Convolution(visit)
