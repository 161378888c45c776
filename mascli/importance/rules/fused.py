"""Sum over images of |G^T A| on a GPU, without a gradient of any image in memory.

The plain way writes the gradient of every image, N times the size of the weight, only to read it back,
take its absolute value and add. Here each program of a Triton kernel owns one tile of the weight: it
multiplies the tile of one image in registers, adds its absolute value to a second tile in registers,
goes on to the next image, and writes once, at the end.

Which program adds what, in which order, is a pure function of shapes and dtype: there is nothing
measured at run time and there are no atomics, so that the same inputs give the same bytes.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

Reduction = Literal["abs", "square"]
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
LEAST_CAPABILITY = (8, 0)  # bfloat16 and tf32 products, and copies that run beside them, begin here

# Two programs for each multiprocessor of a large GPU (108 to 148 of them). A constant, not asked of the
# device, so that two GPUs of one kind but another size split the images alike.
PROGRAMS = 256


def available(tensor: Tensor) -> bool:
    """Whether `sum_of_products` can take `tensor` as its `g` or `a`."""
    return obstacle(tensor) is None


def obstacle(tensor: Tensor) -> str | None:
    """Why `sum_of_products` cannot take `tensor`, in a few words, or None if it can.

    The first question about a device runs the kernel once on a single number, because triton needs more
    than its package (a C compiler, a driver that knows the code).
    """
    if not tensor.is_cuda or torch.version.cuda is None:
        return "the tensor is not on a CUDA device"
    if tensor.dtype not in DTYPES:
        return f"{str(tensor.dtype).removeprefix('torch.')} is not among its dtypes"
    return _obstacle_of_device(tensor.device)


@functools.cache
def _obstacle_of_device(device: torch.device) -> str | None:
    if torch.cuda.get_device_capability(device) < LEAST_CAPABILITY:
        return f"the GPU's compute capability is below {LEAST_CAPABILITY[0]}.{LEAST_CAPABILITY[1]}"
    try:
        one = torch.ones(1, 1, 1, 1, device=device)
        works = sum_of_products(-one, one).item() == 1.0
    except ImportError:
        return "triton is not installed"
    except Exception as error:  # whatever keeps triton from compiling or launching
        return f"triton does not work here: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return None if works else "triton gives a wrong result here"


def sum_of_products(g: Tensor, a: Tensor, *, reduction: Reduction = "abs", tf32: bool = False) -> Tensor:
    """Sum over images of the reduced product of two matrices that share their positions, for each group.

        S[o, i] = sum_n | sum_t g[n, t, o] a[n, t, i] |        (`abs`)
        S[o, i] = sum_n ( sum_t g[n, t, o] a[n, t, i] )^2      (`square`)

    `g` is [N, G, T, O] and `a` is [N, G, T, I], both of one dtype (float32, float16 or bfloat16) on one CUDA
    device, with any strides: a view, transposed or expanded, is read in place. The result is [G, O, I] in
    float32, in which everything is added. Products of float32 are exact float32 products, rounded to tf32
    only with `tf32=True`. With g the gradient at a layer's output and a its input, `abs` is the layer's
    part of Aljundi et al. 2018, eq. 2, times N.

    Raises:
        ValueError: If shapes, dtypes or devices do not fit together, or the reduction is another.
    """
    _check(g, a, reduction)
    from mascli.importance.rules.fused_kernel import kernel  # here, because not every platform has triton

    images, groups, positions, outs = g.shape
    tiling = choose_tiling(images, groups, positions, outs, a.shape[3], g.dtype, tf32)
    sums = torch.empty(tiling.slices, groups, outs, a.shape[3], dtype=torch.float32, device=g.device)
    programs = tiling.slices * groups * _tiles(outs, tiling.block_out) * _tiles(a.shape[3], tiling.block_in)
    with torch.cuda.device_of(g):  # triton launches on the current device, whatever the tensors say
        kernel[(programs,)](**launch_arguments(g, a, sums, tiling, reduction, tf32))
    return sums[0] if tiling.slices == 1 else sums.sum(0)


def _check(g: Tensor, a: Tensor, reduction: Reduction) -> None:
    if reduction not in get_args(Reduction):
        raise ValueError(f"one of {', '.join(get_args(Reduction))} is needed: {reduction}")
    if g.ndim != 4 or a.ndim != 4 or g.shape[:3] != a.shape[:3] or 0 in g.shape or 0 in a.shape:
        raise ValueError(f"[N, G, T, O] and [N, G, T, I], none of them 0, are needed: {[*g.shape]} and {[*a.shape]}")
    if g.dtype != a.dtype or g.dtype not in DTYPES or g.device != a.device:
        raise ValueError(f"one dtype and one device are needed: {g.dtype} on {g.device}, {a.dtype} on {a.device}")


@dataclass(frozen=True)
class Tiling:
    """How the work is cut: into tiles of the weight, steps over positions, and slices of the images."""

    block_out: int
    block_in: int
    block_position: int
    slice_images: int
    slices: int
    warps: int
    stages: int


def choose_tiling(
    images: int, groups: int, positions: int, outs: int, ins: int, dtype: torch.dtype, tf32: bool
) -> Tiling:
    """The tiling for these shapes: a pure function, because another tiling adds in another order.

    - Tile: two tiles of float32 sums stay in registers, of which a thread has 255. At 128x128 with 8
      warps they take 2 x 64 of them and leave the rest for addresses and factors. Exact float32
      products run without tensor cores and hold rows of both factors in registers, hence 64x64 with 4 warps.
      No wider than the weight rounded up to a power of two, and at least 16, the least that tensor
      cores take. Half the size again, down to 32, while there are fewer programs than
      `PROGRAMS` even with one image for each.
    - Positions: 64 bytes of each row in a step, 32 numbers of 2 bytes or 16 of 4. Twice that where it
      takes all positions at once (7x7 maps in 2 bytes): then there is a single step for an image.
    - Stages: 3 steps in flight, 2 of the double ones: their buffers hold at most 64 KiB, below the 99 KiB
      that the smallest of these GPUs give one program.
    - Slices: as many as it takes to have `PROGRAMS`, each with the same number of images but the last.
      Their partial sums hold fewer than 2 x `PROGRAMS` tiles, 32 MiB.
    """
    fastest = dtype != torch.float32 or tf32
    size = 128 if fastest else 64
    while True:
        block_out, block_in = (min(size, max(16, _power_of_two(width))) for width in (outs, ins))
        tiles = groups * _tiles(outs, block_out) * _tiles(ins, block_in)
        if size == 32 or tiles * images >= PROGRAMS:
            break
        size //= 2
    step = 64 // dtype.itemsize
    one_step = positions <= 2 * step
    slice_images = _tiles(images, min(images, _tiles(PROGRAMS, tiles)))
    return Tiling(
        block_out,
        block_in,
        max(16, _power_of_two(positions)) if one_step else step,
        slice_images,
        _tiles(images, slice_images),
        warps=4 if block_out * block_in <= 64 * 64 else 8,
        stages=2 if one_step else 3,
    )


def launch_arguments(
    g: Tensor, a: Tensor, sums: Tensor, tiling: Tiling, reduction: Reduction, tf32: bool
) -> dict[str, Any]:
    """All arguments of the kernel and the options of its launch, by name.

    Offsets within one tile of a factor need 64 bits where the tile spans 2^31 numbers of memory.
    """
    images, groups, positions, outs = g.shape
    strides = dict(zip(("g_image", "g_group", "g_position", "g_out"), g.stride(), strict=True))
    strides |= dict(zip(("a_image", "a_group", "a_position", "a_in"), a.stride(), strict=True))
    spans = [
        tiling.block_position * factor.stride(2) + block * factor.stride(3)
        for factor, block in ((g, tiling.block_out), (a, tiling.block_in))
    ]
    return {
        "g": g,
        "a": a,
        "sums": sums,
        **strides,
        "images": images,
        "slice_images": tiling.slice_images,
        "groups": groups,
        "positions": positions,
        "outs": outs,
        "ins": a.shape[3],
        "SQUARE": reduction == "square",
        "PRECISION": "tf32" if tf32 else "ieee",
        "ONE_BLOCK": positions <= tiling.block_position,
        "WIDE": max(spans) >= 2**31,
        "BLOCK_OUT": tiling.block_out,
        "BLOCK_IN": tiling.block_in,
        "BLOCK_POSITION": tiling.block_position,
        "num_warps": tiling.warps,
        "num_stages": tiling.stages,
        "enable_fp_fusion": True,  # a default that triton is about to change
    }


def _tiles(width: int, block: int) -> int:
    return -(-width // block)


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()
