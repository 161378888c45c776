"""Three tasks of three digits whose pixels are permuted from task to task, for tests of one head for all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from mascli.config import ImageOptions
from mascli.data.samples.digits import write_digit_tasks
from mascli.observer import Observer
from mascli.workflows.loading import Opened, open_checkpoint

HEAD = {"mascli.head.a.weight", "mascli.head.a.bias"}


def write_permuted_digits(place: Path) -> None:
    """d/a, d/b and d/c in `place`: three digits, 60 images each, in three orders of their pixels."""
    write_digit_tasks(place / "plain", {"a": tuple("012")})
    random = np.random.default_rng(0)
    for task, order in (("a", np.arange(64)), ("b", random.permutation(64)), ("c", random.permutation(64))):
        for folder in sorted((place / "plain" / "a").glob("*/*")):
            target = place / "d" / task / folder.relative_to(place / "plain" / "a")
            target.mkdir(parents=True)
            for file in sorted(folder.iterdir())[:60]:
                pixels = np.asarray(Image.open(file).convert("L")).reshape(-1)[order].reshape(8, 8)
                Image.fromarray(pixels).save(target / file.name)


def opened(path: Path | str) -> Opened:
    return open_checkpoint(Path(path), ImageOptions(checkpoint=Path(path)), torch.device("cpu"), Observer())
