"""Very many images: the time of each and the memory must not grow; and what reading files costs.

    python benchmarks/long_run.py [--images 60000] [--model mascli:convnet --model-arg width=16] [--image-size 32]
        [--batch-size 64] [--threads 2] [--json FILE]
    python benchmarks/long_run.py --data FOLDER [--model torchvision:resnet18] [--limit 512] [--rounds 3] ...

Without --data, noise from memory goes through `Estimator.add`; for every thousand images it prints the
time of one and the resident set, and in the end the last thousand over the first, and the slope.

With --data it reads JPEG or other image files as `mascli estimate` does and prints images a second, each
the median of --rounds that take turns:

    files     read, decode, normalize and estimate
    memory    the same batches, decoded before: normalize and estimate
    decode    read and decode, and nothing else
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import linear_regression, median
from typing import Any

import torch
from conditions import conditions, described, peak_mib, resident_mib
from torch import Tensor

from mascli.data.folders import list_images
from mascli.data.loader import ImageReader, normalize
from mascli.data.order import seeded_order
from mascli.importance.engine import Estimator
from mascli.importance.images import Images
from mascli.importance.objective import Measure
from mascli.models.heads import MultiHeadModel
from mascli.records import Preprocessing

TASKS = ("base",)
THOUSAND = 1000
POOL_BATCHES = 16


@dataclass(frozen=True)
class Thousand:
    """The images up to `images`: milliseconds of one, and MiB of resident memory after the last."""

    images: int
    ms_an_image: float
    resident_mib: float


def main() -> None:
    """Run one of the two, and say under what conditions."""
    options = _options()
    found = conditions("cpu", options.threads)
    names = ("model", "model_arg", "image_size", "batch_size")
    found |= {name: getattr(options, name) for name in names}
    print(described(found))
    results = throughput(options) if options.data else long_run(options)
    if options.json:
        options.json.write_text(json.dumps({"conditions": found, **results}, indent=2) + "\n")


def long_run(options: argparse.Namespace) -> dict[str, Any]:
    """Estimate from --images images, and print each thousand."""
    size = (options.batch_size, 3, options.image_size, options.image_size)
    generator = torch.Generator().manual_seed(0)
    pool = [Images(torch.randn(size, generator=generator)) for _ in range(POOL_BATCHES)]
    with Estimator(_model(options, pool[0].pixels), TASKS, Measure()) as estimator:
        estimator.prepare(pool[0])
        for images in pool:  # warm up
            estimator.add(images)
        print(f"{'images':>8} {'ms an image':>12} {'resident MiB':>13}")
        rows = []
        for row in _thousands(estimator, pool, options.images):
            rows.append(row)
            print(f"{row.images:8d} {row.ms_an_image:12.4f} {row.resident_mib:13.1f}", flush=True)
        estimator.result()
    first, last, times = rows[0], rows[-1], [row.ms_an_image for row in rows]
    summary = {
        "time_last_over_first": last.ms_an_image / first.ms_an_image,
        "median_ms_an_image": median(times),
        "least_ms_an_image": min(times),
        "most_ms_an_image": max(times),
        "resident_last_minus_first_mib": last.resident_mib - first.resident_mib,
        "peak_mib": peak_mib(),
    }
    if len(rows) > 1:
        counts = [row.images for row in rows]
        summary["slope_percent_over_the_run"] = (
            100 * linear_regression(counts, times).slope * (counts[-1] - counts[0]) / median(times)
        )
    _print(summary)
    return {"summary": summary, "thousands": [asdict(row) for row in rows]}


def _thousands(estimator: Estimator, pool: list[Images], images: int) -> Iterator[Thousand]:
    done, seconds, counted = 0, 0.0, 0
    for number in range(-(-images // len(pool[0]))):
        part = pool[number % len(pool)].part(slice(images - done))
        begun = time.perf_counter()
        estimator.add(part)
        seconds += time.perf_counter() - begun
        done, counted = done + len(part), counted + len(part)
        if counted >= THOUSAND or done == images:
            yield Thousand(done, 1e3 * seconds / counted, resident_mib())
            seconds, counted = 0.0, 0


def throughput(options: argparse.Namespace) -> dict[str, Any]:
    """Images a second from files, from memory, and of decoding alone."""
    size = options.image_size
    preprocessing = Preprocessing((size, size), resize_to=round(size * 256 / 224))
    files = list_images(options.data).files
    order = seeded_order(len(files), 0)[: options.limit]
    kept = list(_read(files, order, preprocessing, options))
    images = sum(len(pixels) for pixels in kept)
    with Estimator(_model(options, normalize(kept[0][:1], preprocessing, "cpu")), TASKS, Measure()) as estimator:
        estimator.prepare(Images(normalize(kept[0], preprocessing, "cpu")))

        def estimate(batches: Iterator[Tensor]) -> None:
            for pixels in batches:
                estimator.add(Images(normalize(pixels, preprocessing, "cpu")))

        runs: dict[str, Callable[[], object]] = {
            "files": lambda: estimate(_read(files, order, preprocessing, options)),
            "memory": lambda: estimate(iter(kept)),
            "decode": lambda: sum(len(pixels) for pixels in _read(files, order, preprocessing, options)),
        }
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        for number in range(options.rounds + 1):
            for name, run in runs.items():
                begun = time.perf_counter()
                run()
                if number > 0:
                    seconds[name].append(time.perf_counter() - begun)
    summary = {f"{name}_images_a_second": images / median(times) for name, times in seconds.items()}
    summary["memory_over_files"] = summary["memory_images_a_second"] / summary["files_images_a_second"]
    print(f"{images} images, {options.rounds} rounds, {options.workers or 'as many as cores'} decoding threads")
    _print(summary)
    return {"images": images, "rounds": options.rounds, "summary": summary, "seconds": seconds}


def _read(
    files: tuple[Path, ...], order: list[int], preprocessing: Preprocessing, options: argparse.Namespace
) -> Iterator[Tensor]:
    reader = ImageReader(files, preprocessing, workers=options.workers, on_error="fail")
    with closing(reader.batches(order, options.batch_size)) as batches:
        for batch in batches:
            yield batch.pixels


def _model(options: argparse.Namespace, example: Tensor) -> MultiHeadModel:
    """The model of --model with random weights, and its own classifier as the only head."""
    torch.manual_seed(0)
    library, _, name = options.model.partition(":")
    arguments = {key: json.loads(value) for key, _, value in (text.partition("=") for text in options.model_arg)}
    if library == "mascli":
        from mascli.models.small import MLP, ConvNet

        inputs = 3 * options.image_size**2
        network = MLP(inputs, 10, **arguments) if name == "mlp" else ConvNet(3, 10, **arguments)
    elif library == "timm":
        import timm

        network = timm.create_model(name, pretrained=False, **arguments)
    else:
        import torchvision

        network = torchvision.models.get_model(name, weights=None, **arguments)
    model = MultiHeadModel(network.eval(), "", example[:1])
    model.import_head(TASKS[0])
    return model


def _print(summary: dict[str, float]) -> None:
    for name, value in summary.items():
        print(f"{name.replace('_', ' '):<32} {value:10.3f}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--data", type=Path, help="a folder of images: measure throughput from files")
    parser.add_argument("--limit", type=int, default=512, help="so many of the files, in a seeded order")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", help="default: mascli:convnet, with --data torchvision:resnet18")
    parser.add_argument("--model-arg", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--image-size", type=int, help="default: 32, with --data 224")
    parser.add_argument("--batch-size", type=int, help="default: 64, with --data 32")
    parser.add_argument("--workers", type=int, help="decoding threads (default: one a core, at most 8)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    options.model = options.model or ("torchvision:resnet18" if options.data else "mascli:convnet")
    options.image_size = options.image_size or (224 if options.data else 32)
    options.batch_size = options.batch_size or (32 if options.data else 64)
    return options


if __name__ == "__main__":
    main()
