"""The fused kernel against bmm, abs and sum on a GPU: ResNet-50 and ViT-B/16 at 224x224 without their heads.

    python benchmarks/fused_kernel.py [--images 32] [--dtypes float32 tf32 bfloat16] [--networks resnet50 vit_b_16]
        [--repeats 20] [--json FILE]

Both get the same factors: of a convolution the gradient [N, O, T] and the input's patches [N, I, T], of
a linear layer [N, T, O] and [N, T, I]. What makes the patches is not timed. `bmm` writes the gradient of
as many images as fit into 1 GiB, then reads them back for their absolute value and sum. Times are medians
in milliseconds; memory is what is allocated on top of the factors, at most; errors are the largest
difference from float64 in parts of the largest sum, for the first 4 images.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from mascli.importance.rules import fused

DTYPES = {
    "float32": torch.float32,
    "tf32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}
CHUNK_BYTES = 1 << 30


@dataclass(frozen=True)
class Layer:
    """A weight [O, I], the positions it is used at, and how often a network has such a layer."""

    name: str
    count: int
    outs: int
    ins: int
    positions: int
    channels_first: bool = True


NETWORKS = {
    "resnet50": (
        Layer("7x7 stem", 1, 64, 3 * 49, 112 * 112),
        Layer("1x1 64>64", 1, 64, 64, 56 * 56),
        Layer("3x3 64>64", 3, 64, 64 * 9, 56 * 56),
        Layer("1x1 64>256", 4, 256, 64, 56 * 56),
        Layer("1x1 256>64", 2, 64, 256, 56 * 56),
        Layer("1x1 256>128", 1, 128, 256, 56 * 56),
        Layer("3x3 128>128", 4, 128, 128 * 9, 28 * 28),
        Layer("1x1 128>512", 4, 512, 128, 28 * 28),
        Layer("1x1 256>512", 1, 512, 256, 28 * 28),
        Layer("1x1 512>128", 3, 128, 512, 28 * 28),
        Layer("1x1 512>256", 1, 256, 512, 28 * 28),
        Layer("3x3 256>256", 6, 256, 256 * 9, 14 * 14),
        Layer("1x1 256>1024", 6, 1024, 256, 14 * 14),
        Layer("1x1 512>1024", 1, 1024, 512, 14 * 14),
        Layer("1x1 1024>256", 5, 256, 1024, 14 * 14),
        Layer("1x1 1024>512", 1, 512, 1024, 14 * 14),
        Layer("3x3 512>512", 3, 512, 512 * 9, 7 * 7),
        Layer("1x1 512>2048", 3, 2048, 512, 7 * 7),
        Layer("1x1 1024>2048", 1, 2048, 1024, 7 * 7),
        Layer("1x1 2048>512", 2, 512, 2048, 7 * 7),
    ),
    "vit_b_16": (
        Layer("patches", 1, 768, 768, 14 * 14),
        Layer("qkv", 12, 3 * 768, 768, 197, False),
        Layer("projection", 12, 768, 768, 197, False),
        Layer("mlp 1", 12, 4 * 768, 768, 197, False),
        Layer("mlp 2", 12, 768, 4 * 768, 197, False),
    ),
}


@dataclass(frozen=True)
class Row:
    """One layer in one dtype: both ways, and whether the kernel gave the same bytes twice."""

    network: str
    layer: str
    count: int
    dtype: str
    images: int
    fused_ms: float
    bmm_ms: float
    fused_mib: float
    bmm_mib: float
    fused_error: float
    bmm_error: float
    same_bytes: bool


def benchmark(networks: list[str], dtypes: list[str], images: int, repeats: int) -> list[Row]:
    """Measure every layer of the networks in every dtype on the current CUDA device, printing as it goes."""
    rows = []
    print(
        f"{'layer':<24} {'dtype':<9} {'fused ms':>9} {'bmm ms':>9} {'times':>6} {'fused MiB':>9} {'bmm MiB':>9}  errors"
    )
    for network in networks:
        for dtype in dtypes:
            torch.set_float32_matmul_precision("high" if dtype == "tf32" else "highest")
            rows += [measure(network, layer, dtype, images, repeats) for layer in NETWORKS[network]]
            same = [row for row in rows if row.network == network and row.dtype == dtype]
            fused_ms, bmm_ms = (sum(getattr(r, way) * r.count for r in same) for way in ("fused_ms", "bmm_ms"))
            print(f"{network + ', all layers':<24} {dtype:<9} {fused_ms:9.2f} {bmm_ms:9.2f} {bmm_ms / fused_ms:6.2f}")
    return rows


def measure(network: str, layer: Layer, dtype: str, images: int, repeats: int) -> Row:
    """Measure one layer, and print its row."""
    torch.manual_seed(0)
    g, a = (_factor(layer, width, images, DTYPES[dtype]) for width in (layer.outs, layer.ins))

    def fused_way(g: Tensor, a: Tensor) -> Tensor:
        return fused.sum_of_products(g[:, None], a[:, None], tf32=dtype == "tf32")[0]

    expected = bmm_way(g[:4].double(), a[:4].double())
    errors = [float((way(g[:4], a[:4]) - expected).abs().max() / expected.max()) for way in (fused_way, bmm_way)]
    (fused_ms, fused_mib), (bmm_ms, bmm_mib) = (_cost(way, g, a, repeats) for way in (fused_way, bmm_way))
    same_bytes = torch.equal(fused_way(g, a), fused_way(g, a))
    row = Row(
        network,
        layer.name,
        layer.count,
        dtype,
        images,
        fused_ms=fused_ms,
        bmm_ms=bmm_ms,
        fused_mib=fused_mib,
        bmm_mib=bmm_mib,
        fused_error=errors[0],
        bmm_error=errors[1],
        same_bytes=same_bytes,
    )
    print(
        f"{layer.name:<24} {dtype:<9} {fused_ms:9.3f} {bmm_ms:9.3f} {bmm_ms / fused_ms:6.2f} {fused_mib:9.1f} "
        f"{bmm_mib:9.1f}  {errors[0]:.0e} {errors[1]:.0e}{'' if same_bytes else '  OTHER BYTES EACH TIME'}",
        flush=True,
    )
    return row


def bmm_way(g: Tensor, a: Tensor) -> Tensor:
    """Sum over images of |G^T A| through the gradient of every image, a chunk of images at a time."""
    total_dtype = torch.promote_types(g.dtype, torch.float32)
    total = torch.zeros(g.shape[2], a.shape[2], dtype=total_dtype, device=g.device)
    chunk = max(1, CHUNK_BYTES // (total.numel() * g.element_size()))
    for part_g, part_a in zip(g.split(chunk), a.split(chunk), strict=True):
        total += torch.bmm(part_g.transpose(1, 2), part_a).abs_().sum(0, dtype=total_dtype)
    return total


def _factor(layer: Layer, width: int, images: int, dtype: torch.dtype) -> Tensor:
    """[N, T, width], as the layer has it in memory."""
    shape = (width, layer.positions) if layer.channels_first else (layer.positions, width)
    factor = torch.randn(images, *shape, dtype=dtype, device="cuda")
    return factor.transpose(1, 2) if layer.channels_first else factor


def _cost(way: Callable[[Tensor, Tensor], Tensor], g: Tensor, a: Tensor, repeats: int) -> tuple[float, float]:
    """Median milliseconds, and the most MiB allocated on top of what was."""
    for _ in range(3):
        way(g, a)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    times = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        way(g, a)
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return median(times), (torch.cuda.max_memory_allocated() - before) / 2**20


def main() -> None:
    """Run the benchmark if there is a GPU that the kernel runs on."""
    options = _options()
    if not torch.cuda.is_available():
        print("no CUDA device here: the fused kernel and this benchmark need one")
        return
    obstacle = fused.obstacle(torch.ones(1, device="cuda"))
    if obstacle:
        print(f"the fused kernel cannot run: {obstacle}")
        return
    rows = benchmark(options.networks, options.dtypes, options.images, options.repeats)
    if options.json:
        versions = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "cuda": torch.version.cuda}
        plain = {**versions, "repeats": options.repeats, "rows": [asdict(row) for row in rows]}
        options.json.write_text(json.dumps(plain, indent=2) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=["float32", "tf32", "bfloat16"])
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
