"""The sequences of tasks that methods are compared on: their folders, their networks, their settings and grids.

Each task has folders train, val and test, with one folder a class. Validation images are taken from
those to train on and never learned from, whatever the method; nothing is chosen on test images.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mascli.config import ModelOptions
from mascli.data.folders import list_images
from mascli.data.samples.digits import DIGIT_TASKS, write_digit_tasks

# Every third image of a class to train on is for validation instead.
HELD_OUT = 3
PERMUTATIONS = 10


@dataclass(frozen=True)
class Training:
    """Passes over the images, learning rate of everything, and images at a time, of plain SGD with momentum 0.9."""

    epochs: int
    lr: float
    batch_size: int


@dataclass(frozen=True)
class Subject:
    """A sequence of tasks and the network that learns it.

    `training` is the same for every method, here and elsewhere. `ours` are settings of `train-task` that
    others do not have. `limit` images a class are taken to learn and validate with. `grids` holds the
    strengths (lambda) to compare by family: a method here and its counterpart elsewhere share one. With
    `heads` "one", all tasks have the head of the first.
    """

    name: str
    title: str
    model: ModelOptions
    training: Training
    grids: Mapping[str, tuple[float, ...]]
    ours: Mapping[str, Any]
    limit: int | None = None
    heads: str = "own"
    weights: Path | None = None
    tasks: tuple[str, ...] = ()
    root: Path = Path()

    @property
    def settings(self) -> str:
        """The network and how it learns, in one line: what was found with other settings is void."""
        size, training = (self.model.image_size or (0,))[0], self.training
        parts = [str(self.model.model), *self.model.model_arg, f"{size} pixels", f"{training.epochs} epochs"]
        parts += [f"lr {training.lr:g}", f"batches of {training.batch_size}"]
        parts += [f"{key} {value}" for key, value in self.ours.items()]
        parts += ["one head"] if self.heads == "one" else []
        parts += [f"{self.limit} images a class"] if self.limit is not None else []
        return ", ".join(parts)

    def folder(self, task: str, part: str) -> Path:
        """The folder of one part (train, val, test) of a task."""
        return self.root / task / part


@dataclass(frozen=True)
class Photos:
    """Where the real images lie, as ROOT/TASK/train|test/CLASS/IMAGE, and what of them is used.

    `tasks` in the order to learn them; `limit` images a class are taken to learn and validate with.
    """

    root: Path | None
    weights: Path | None
    tasks: tuple[str, ...]
    limit: int


def decades(low: int, high: int) -> tuple[float, ...]:
    """Powers of ten from 10^low to 10^high."""
    return tuple(float(f"1e{power}") for power in range(low, high + 1))


GRIDS = {
    "mas": decades(-3, 3),
    "ewc": decades(0, 6),
    "si": decades(0, 6),
    "l2": decades(-3, 3),
    "lwf": decades(-3, 3),
}
PERMUTED = Subject(
    name="permuted-digits",
    title="permuted digits: ten tasks of ten digits, each with its own order of pixels, perceptron 512-512",
    model=ModelOptions(model="mascli:mlp", model_arg=("hidden=512-512",), image_size=(8,), channels=1),
    training=Training(epochs=30, lr=0.05, batch_size=32),
    grids=GRIDS,
    ours={},
)
SUBJECTS = (
    Subject(
        name="split-digits",
        title="split digits: five tasks of two digits, 8 x 8 pixels, perceptron 64-64",
        model=ModelOptions(model="mascli:mlp", model_arg=("hidden=64-64",), image_size=(8,), channels=1),
        training=Training(epochs=20, lr=0.05, batch_size=32),
        grids=GRIDS,
        ours={},
    ),
    PERMUTED,
    replace(
        PERMUTED,
        name="permuted-digits-one-head",
        title="permuted digits: the same, all ten tasks with one head",
        heads="one",
    ),
    Subject(
        name="photos-squeezenet",
        title="real images: five tasks of two classes, 48 x 48 pixels, SqueezeNet with weights from ImageNet",
        model=ModelOptions(model="torchvision:squeezenet1_0", image_size=(48,), head_name="imagenet"),
        training=Training(epochs=3, lr=0.002, batch_size=16),
        grids=GRIDS,
        ours={},
    ),
    Subject(
        name="photos-resnet",
        title="real images: the same five tasks at 32 x 32 pixels, a small residual network from scratch",
        model=ModelOptions(model="timm:test_resnet", image_size=(32,)),
        training=Training(epochs=10, lr=0.02, batch_size=16),
        grids=GRIDS,
        ours={"batchnorm": "per-task"},
    ),
)


def subjects(limit: int) -> dict[str, Subject]:
    """All sequences by name, without images; `limit` images a class are taken of the real ones."""
    found = {subject.name: subject for subject in SUBJECTS}
    return {n: replace(s, limit=limit) if n.startswith("photos") else s for n, s in found.items()}


def prepared(name: str, folder: Path, photos: Photos) -> Subject:
    """The sequence called `name`, with the images of its tasks below `folder`.

    Raises:
        SystemExit: images or weights that it needs are not given.
    """
    subject = subjects(photos.limit)[name]
    root = folder / ("photos" if name.startswith("photos") else name)
    if name == "split-digits":
        write_digit_tasks(root, DIGIT_TASKS)
        for task in DIGIT_TASKS:
            _hold_out(root / task)
        return replace(subject, tasks=tuple(DIGIT_TASKS), root=root)
    if name.startswith("permuted-digits"):
        return replace(subject, tasks=_permuted(root), root=root)
    if photos.root is None or (name == "photos-squeezenet" and photos.weights is None):
        lacking = "--photos-root" if photos.root is None else "--weights"
        raise SystemExit(f"{name} needs {lacking}; name other --sequences to leave it out")
    tasks = photos.tasks or tuple(sorted(entry.name for entry in photos.root.iterdir() if entry.is_dir()))
    _link_photos(root, photos.root, tasks, photos.limit)
    if name == "photos-squeezenet":
        subject = replace(subject, weights=photos.weights)
    return replace(subject, tasks=tasks, root=root)


def permutation(number: int) -> NDArray[np.intp]:
    """The order of the 64 pixels in a task: the first task has them as they are."""
    return np.random.default_rng(number).permutation(64) if number else np.arange(64)


def _permuted(root: Path) -> tuple[str, ...]:
    """The digits 0 to 9 once for each permutation."""
    plain = root / "plain"
    write_digit_tasks(root, {"plain": tuple("0123456789")})
    _hold_out(plain)
    tasks = tuple(f"permuted-{number}" for number in range(PERMUTATIONS))
    for file in list_images(plain).files:
        pixels = np.asarray(Image.open(file))
        for number, task in enumerate(tasks):
            target = root / task / file.relative_to(plain)
            target.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.reshape(-1)[permutation(number)].reshape(8, 8)).save(target)
    return tasks


def _hold_out(task: Path) -> None:
    """Move every third training image of each class to the validation folder."""
    for source in sorted((task / "train").iterdir()):
        target = task / "val" / source.name
        target.mkdir(parents=True, exist_ok=True)
        for file in list_images(source).files[::HELD_OUT]:
            file.rename(target / file.name)


def _link_photos(root: Path, source: Path, tasks: tuple[str, ...], limit: int) -> None:
    """Link the first `limit` training images of each class, every third of them to validate on, and all test images."""
    for task in tasks:
        for folder in (entry for part in ("train", "test") for entry in sorted((source / task / part).iterdir())):
            testing = folder.parent.name == "test"
            for number, file in enumerate(list_images(folder).files[: None if testing else limit]):
                part = "test" if testing else "val" if number % HELD_OUT == 0 else "train"
                link = root / task / part / folder.name / file.name
                link.parent.mkdir(parents=True, exist_ok=True)
                if not link.is_symlink():
                    os.symlink(file.resolve(), link)
