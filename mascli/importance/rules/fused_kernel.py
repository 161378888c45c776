"""The Triton kernel behind `fused`, in a file of its own because its body needs triton as a module's global.

Import it through `fused` only, and never at the top of a file: triton is not there on every platform.
"""

# mypy: disable-error-code="import-untyped, import-not-found"

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl


def _sum_of_products(
    g: tl.tensor,
    a: tl.tensor,
    sums: tl.tensor,
    g_image: tl.tensor,
    g_group: tl.tensor,
    g_position: tl.tensor,
    g_out: tl.tensor,
    a_image: tl.tensor,
    a_group: tl.tensor,
    a_position: tl.tensor,
    a_in: tl.tensor,
    images: tl.tensor,
    slice_images: tl.tensor,
    groups: tl.tensor,
    positions: tl.tensor,
    outs: tl.tensor,
    ins: tl.tensor,
    SQUARE: tl.constexpr,
    PRECISION: tl.constexpr,
    ONE_BLOCK: tl.constexpr,
    WIDE: tl.constexpr,
    BLOCK_OUT: tl.constexpr,
    BLOCK_IN: tl.constexpr,
    BLOCK_POSITION: tl.constexpr,
) -> None:
    """One tile of `sums` [slices, G, O, I] (contiguous): one slice of the images, one group.

    Where a tile starts is a 64-bit address; within a tile offsets have 32 bits unless `WIDE`, because a
    tile of 64-bit addresses does not fit into the registers beside the two tiles of sums. What is masked
    off reads as 0, and adds 0.
    """
    tiles_in = tl.cdiv(ins, BLOCK_IN)
    tiles = tl.cdiv(outs, BLOCK_OUT) * tiles_in
    tile = tl.program_id(0) % tiles
    part = tl.program_id(0) // tiles  # slice * G + group
    group = (part % groups).to(tl.int64)
    first_out = (tile // tiles_in) * BLOCK_OUT
    first_in = (tile % tiles_in) * BLOCK_IN
    out, in_, position = tl.arange(0, BLOCK_OUT), tl.arange(0, BLOCK_IN), tl.arange(0, BLOCK_POSITION)
    g_mask, a_mask = (out < outs - first_out)[:, None], (in_ < ins - first_in)[None, :]
    if WIDE:
        out, in_, position = out.to(tl.int64), in_.to(tl.int64), position.to(tl.int64)
    g_offsets = out[:, None] * g_out + position[None, :] * g_position  # [out, position]
    a_offsets = position[:, None] * a_position + in_[None, :] * a_in  # [position, in]
    g_start = g + group * g_group + first_out.to(tl.int64) * g_out
    a_start = a + group * a_group + first_in.to(tl.int64) * a_in

    first = (part // groups) * slice_images
    total = tl.zeros((BLOCK_OUT, BLOCK_IN), tl.float32)
    for image in range(first, tl.minimum(first + slice_images, images)):
        g_now = g_start + tl.cast(image, tl.int64) * g_image
        a_now = a_start + tl.cast(image, tl.int64) * a_image
        gradient = tl.zeros((BLOCK_OUT, BLOCK_IN), tl.float32)
        if ONE_BLOCK:  # no inner loop, so that the compiler fetches the next image during this product
            inside = position < positions
            x = tl.load(g_now + g_offsets, mask=g_mask & inside[None, :], other=0.0)
            y = tl.load(a_now + a_offsets, mask=a_mask & inside[:, None], other=0.0)
            gradient = tl.dot(x, y, gradient, input_precision=PRECISION)
        else:
            for start in range(0, positions, BLOCK_POSITION):
                inside = position < positions - start
                step = tl.cast(start, tl.int64)
                x = tl.load(g_now + step * g_position + g_offsets, mask=g_mask & inside[None, :], other=0.0)
                y = tl.load(a_now + step * a_position + a_offsets, mask=a_mask & inside[:, None], other=0.0)
                gradient = tl.dot(x, y, gradient, input_precision=PRECISION)
        if SQUARE:
            total += gradient * gradient
        else:
            total += tl.abs(gradient)
    target = sums + part.to(tl.int64) * outs * ins + first_out.to(tl.int64) * ins + first_in
    tl.store(target + out[:, None].to(tl.int64) * ins + in_[None, :], total, mask=g_mask & a_mask)


# What changes from batch to batch must not compile the kernel anew.
kernel: Any = triton.jit(do_not_specialize=["images", "slice_images"])(_sum_of_products)
