"""Sum over images of |g a^T|, the gradient of an image being a product of two matrices.

This is where most of the time of an estimate goes: linear layers, and convolutions as patches.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from mascli.importance.reduction import ABS, SQUARE, Pointwise, sum_dtype
from mascli.importance.rules import fused

# The product of one image is made, reduced and added up while it is in the cache: in blocks of rows
# of at most this many numbers.
BLOCK_NUMBERS = 1 << 20

# Up to this many numbers, the products of several images are made at once: starting an operation
# would take longer than the operation.
SMALL_NUMBERS = 1 << 14

_FUSED = (ABS.pointwise, SQUARE.pointwise)


def products(g: Tensor, a: Tensor) -> Tensor:
    """g^T a of each image: [N, out, in] for g [N, T, out] and a [N, T, in]."""
    return torch.bmm(g.transpose(1, 2), a)


def sum_of_products(g: Tensor, a: Tensor, pointwise: Pointwise) -> Tensor:
    """Sum over images of |g^T a| (or its square), [out, in], for g [N, T, out] and a [N, T, in].

    With one position the product is an outer one, |g a^T| = |g| |a|^T, so that the sum over images
    is a single matrix product. With more positions that product would be too large.
    """
    rows, columns = g.shape[2], a.shape[2]
    if g.shape[1] == 1:
        g, a = (pointwise(tensor[:, 0].to(sum_dtype(tensor), copy=True)) for tensor in (g, a))
        return g.t() @ a
    if uses_fused_kernel(g, pointwise):
        reduction: Literal["abs", "square"] = "abs" if pointwise is ABS.pointwise else "square"
        return fused.sum_of_products(g[:, None], a[:, None], reduction=reduction)[0]
    if rows * columns <= SMALL_NUMBERS:
        chunk = max(1, BLOCK_NUMBERS // (rows * columns))
        parts = zip(g.split(chunk), a.split(chunk), strict=True)
        return torch.stack([pointwise(products(*part)).sum(0, dtype=sum_dtype(g)) for part in parts]).sum(0)
    return sum_one_by_one(len(g), lambda image: (g[image].t(), a[image].t()), (rows, columns), pointwise)


def sum_one_by_one(
    images: int, matrices: Callable[[int], tuple[Tensor, Tensor]], shape: tuple[int, int], pointwise: Pointwise
) -> Tensor:
    """The same, one image after the other, from matrices that are made when they are due.

    The product has the larger side as its rows: the library is up to four times faster than with
    the sides exchanged.

    Args:
        matrices: from the number of an image to g [out, T] and a [in, T].
        shape: (out, in).
    """
    turned = shape[1] > shape[0]
    total: Tensor | None = None
    for image in range(images):
        small, large = matrices(image) if turned else matrices(image)[::-1]
        if total is None:
            total = large.new_zeros(max(shape), min(shape), dtype=sum_dtype(large))
            block = max(1, BLOCK_NUMBERS // total.shape[1])
            buffer = torch.empty_like(total[:block], dtype=large.dtype)
        for start in range(0, len(total), block):
            part = total[start : start + block]
            product = torch.mm(large[start : start + block], small.t(), out=buffer[: len(part)])
            part.add_(pointwise(product))
    assert total is not None
    return total.t() if turned else total


def uses_fused_kernel(tensor: Tensor, pointwise: Pointwise) -> bool:
    """Whether products of such tensors go to the kernel that never writes an image's gradient to memory."""
    return tensor.is_cuda and pointwise in _FUSED and fused.available(tensor)
