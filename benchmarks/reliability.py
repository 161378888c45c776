"""Whether the reliability of an omega tells the truth: it is compared with what more images come to.

    python benchmarks/reliability.py CHECKPOINT --data FOLDER [--model SPEC] [--image-size 48]
        [--task NAME] [--batch-size 16] [--seed 0] [--limit N]

For N = 64, 128, ... images of a seeded order, it prints what an estimate from N images says of itself
and what the folder then shows:

    said      reliability and half-difference of the N images (of two halves, sampled parameters)
    next N    Spearman correlation with the omega of the next N images: what the reliability predicts
    all       Spearman correlation with the omega of the whole folder
    error     sum |omega(N) - omega(all)| / sum omega(all), which the half-difference bounds from below
    corrected the same divided by sqrt(1 - N/all), as the N images are part of the whole

Correlations are over all parameters of a layer, averaged over layers by their number of parameters.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mascli.config import ImageOptions
from mascli.data.folders import list_images
from mascli.data.loader import ImageReader, normalize
from mascli.data.order import seeded_order
from mascli.importance.images import Images
from mascli.importance.layer_names import layer_of
from mascli.importance.objective import Measure
from mascli.importance.passes import batch_sums
from mascli.importance.reliability import FEWEST_IMAGES, Halves, spearman
from mascli.importance.trial import tried_plan
from mascli.models.heads import MultiHeadModel, evaluating
from mascli.observer import Observer
from mascli.records import Reliability
from mascli.workflows.loading import Opened, open_checkpoint

Omega = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Snapshot:
    """The estimate from the first `images` images: its omega by layer, and what it says of itself."""

    images: int
    omega: Omega
    said: Reliability | None


def main() -> None:
    """Measure once through the folder, and compare every N with the whole."""
    options = _options()
    size = None if options.image_size is None else (options.image_size,)
    reading = ImageOptions(checkpoint=options.checkpoint, model=options.model, image_size=size, seed=options.seed)
    opened = open_checkpoint(options.checkpoint, reading, torch.device("cpu"), Observer())
    tasks = (options.task or opened.task_names[-1],)
    batches = _batches(opened, options)
    snapshots = list(_snapshots(sums_by_batch(opened.model, batches, tasks), opened.model, options.seed))
    whole = snapshots.pop()
    print(f"{whole.images} images; answers of {tasks[0]}; said of all: {_said(whole.said)}\n")
    columns = ("N", "reliability", "next N", "all", "half-diff.", "error", "corrected", "lowest layer")
    print(" ".join(f"{column:>11}" for column in columns))
    by_images = {snapshot.images: snapshot for snapshot in (*snapshots, whole)}
    for snapshot in snapshots:
        print(_row(snapshot, by_images.get(2 * snapshot.images), whole), flush=True)


def sums_by_batch(
    model: MultiHeadModel, batches: Iterable[Tensor], tasks: tuple[str, ...]
) -> Iterator[tuple[Mapping[str, Tensor], int]]:
    """For each batch: the sums over its images of |gradient|, and their number. All that this needs of the engine."""
    iterator = iter(batches)
    first = next(iterator)
    with evaluating(model):
        plan = tried_plan(model, Images(first), tasks, Measure())
        for images in chain([first], iterator):
            yield batch_sums(plan, model, Images(images), tasks, Measure())[0], len(images)


def _batches(opened: Opened, options: argparse.Namespace) -> Iterator[Tensor]:
    files = list_images(options.data).files
    reader = ImageReader(files, opened.preprocessing, on_error="fail")
    order = seeded_order(len(files), options.seed)[: options.limit]
    with closing(reader.batches(order, options.batch_size)) as read:
        for batch in read:
            yield normalize(batch.pixels, opened.preprocessing, "cpu")


def _snapshots(
    batches: Iterable[tuple[Mapping[str, Tensor], int]], model: MultiHeadModel, seed: int
) -> Iterator[Snapshot]:
    """The estimate at 64 images, 128, and so on, each from the batch that reaches it, and at the end."""
    halves = Halves(model.shared_parameters(), seed)
    total = {name: np.zeros(p.shape, np.float64) for name, p in model.shared_parameters().items()}
    images, milestone = 0, FEWEST_IMAGES
    for sums, count in batches:
        halves.add(sums, count)
        for name, part in sums.items():
            total[name] += part.double().numpy()
        images += count
        if images >= milestone:
            yield Snapshot(images, _by_layer(total, images), halves.reliability())
            milestone *= 2
    yield Snapshot(images, _by_layer(total, images), halves.reliability())


def _by_layer(total: Omega, images: int) -> Omega:
    layers: dict[str, list[NDArray[np.float64]]] = {}
    for name, values in total.items():
        layers.setdefault(layer_of(name), []).append(values.ravel())
    return {layer: np.concatenate(parts) / images for layer, parts in layers.items()}


def _row(snapshot: Snapshot, double: Snapshot | None, whole: Snapshot) -> str:
    said = snapshot.said
    assert said is not None
    error = _relative_error(snapshot.omega, whole.omega)
    part = snapshot.images / whole.images
    following = ""
    if double is not None:
        others = {layer: 2 * values - snapshot.omega[layer] for layer, values in double.omega.items()}
        following = f"{_correlation(snapshot.omega, others):.3f}"
    corrected = f"{error / np.sqrt(1 - part):.3f}" if part < 1 else ""
    numbers = (
        f"{said.overall:.3f}",
        following,
        f"{_correlation(snapshot.omega, whole.omega):.3f}",
        f"{said.half_difference:.3f}",
        f"{error:.3f}",
        corrected,
    )
    columns = " ".join(f"{text:>11}" for text in (f"{snapshot.images}", *numbers))
    return f"{columns}  {said.lowest_layer} {said.lowest:.3f}"


def _correlation(one: Omega, other: Omega) -> float:
    found = [(spearman(values, other[layer]), values.size) for layer, values in one.items()]
    defined = [(r, size) for r, size in found if r is not None]
    return float(np.average([r for r, _ in defined], weights=[size for _, size in defined]))


def _relative_error(one: Omega, other: Omega) -> float:
    difference = sum(float(np.abs(values - other[layer]).sum()) for layer, values in one.items())
    return difference / sum(float(values.sum()) for values in other.values())


def _said(reliability: Reliability | None) -> str:
    if reliability is None:
        return "nothing"
    return f"reliability {reliability.overall:.3f}, half-difference {reliability.half_difference:.3f}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="a checkpoint, or plain weights with --model")
    parser.add_argument("--model", help="architecture of plain weights")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--data", type=Path, required=True, help="any folder of images")
    parser.add_argument("--task", help="whose head answers (default: the newest task's)")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, help="so many images in a seeded order (default: all)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
