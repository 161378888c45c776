"""Sum over images of |g^T a|, the gradient of an image being a product of two matrices.

This is where most of the time of an estimate goes: linear layers, and convolutions as patches.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mascli.importance.reduction import Pointwise

# The product of one image is made, reduced and added up while it is in the cache: in blocks of rows
# of at most this many numbers.
BLOCK_NUMBERS = 1 << 22

# Below this many numbers, the products of several images are made at once: starting an operation
# would take longer than the operation.
SMALL_NUMBERS = 1 << 14


def products(g: Tensor, a: Tensor) -> Tensor:
    """g^T a of each image: [N, out, in] for g [N, T, out] and a [N, T, in]."""
    return torch.bmm(g.transpose(1, 2), a)


def sum_of_products(g: Tensor, a: Tensor, pointwise: Pointwise) -> Tensor:
    """Sum over images of |g^T a| (or its square), [out, in], for g [N, T, out] and a [N, T, in].

    With one position the product is an outer one, |g a^T| = |g| |a|^T, so that the sum over images
    is a single matrix product. With more positions that product would be too large.
    """
    images, positions, rows = g.shape
    columns = a.shape[2]
    if positions == 1:
        return pointwise(g[:, 0].clone()).t() @ pointwise(a[:, 0].clone())
    if rows * columns <= SMALL_NUMBERS:
        chunk = max(1, BLOCK_NUMBERS // (rows * columns))
        parts = zip(g.split(chunk), a.split(chunk), strict=True)
        return torch.stack([pointwise(products(*part)).sum(0) for part in parts]).sum(0)
    total = g.new_zeros(rows, columns)
    block = max(1, BLOCK_NUMBERS // columns)
    for start in range(0, rows, block):
        part = total[start : start + block]
        product = torch.empty_like(part)
        for image in range(images):
            torch.mm(g[image, :, start : start + block].t(), a[image], out=product)
            part.add_(pointwise(product))
    return total
