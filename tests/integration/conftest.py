"""A small world for whole commands: folders of coloured images, and networks that tell them apart."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import in_a_process, write_images


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `data/TASK/train|test/CLASS` for the tasks flowers and birds, and `photos` without labels."""
    root = tmp_path_factory.mktemp("world")
    tasks = {"flowers": {"rose": 1, "tulip": 2, "[bold]": 3}, "birds": {"crow": 4, "swan": 5}}
    for task, classes in tasks.items():
        write_images(root / "data" / task / "train", classes, 10)
        write_images(root / "data" / task / "test", classes, 5)
    write_images(root / "photos", {".": 6, "deep/er": 7}, 9)
    return root


@pytest.fixture(scope="session")
def checkpoints(world: Path) -> Path:
    """A folder with start.st, flowers.st (one task), birds.st (two tasks) and their omegas, of a small convnet."""
    out = world / "made"
    out.mkdir()
    train = ["--epochs", "3", "--lr", "0.05", "--seed", "1"]
    data = world / "data"
    for words in (
        ["init", "--model", "mascli:convnet", "--model-arg", "width=4", "--model-arg", "norm=true"]
        + ["--image-size", "12", "-o", out / "start.st"],
        ["train-task", out / "start.st", "--task", "flowers", "--data", data / "flowers/train", *train]
        + ["-o", out / "flowers.st"],
        ["estimate", out / "flowers.st", "--data", world / "photos", "-o", out / "flowers.omega"],
        ["train-task", out / "flowers.st", "--task", "birds", "--data", data / "birds/train", *train]
        + ["--omega", out / "flowers.omega", "--lambda", "1", "-o", out / "birds.st"],
        ["estimate", out / "birds.st", "--data", data / "birds/train", "-o", out / "birds.omega"],
    ):
        done = in_a_process(*words)
        assert done.returncode == 0, done.stderr
    return out
