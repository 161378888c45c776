"""Checkpoints whose answers can be read off the images: they predict their grey value / 10; and `evaluate` of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import Run
from PIL import Image

from mascli.config import ModelOptions
from mascli.observer import Observer
from mascli.records import Step, Task
from mascli.workflows.loading import current_shared_sha256, save_checkpoint, start_checkpoint

NET = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(1, 1), nn.Linear(1, 2)

    def forward(self, x):
        return self.head(self.body(x.mean((2, 3))))
"""
SHORT, LONG = ("nought", "one", "two"), tuple("abcdefgh")


class Place:
    """A folder with checkpoints and images, and the command in it."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.hashes: dict[str, str] = {}

    def checkpoint(
        self,
        name: str,
        *,
        shift: float = 0.0,
        scale: float = 1.0,
        after: tuple[str, ...] = (),
        tasks: tuple[str, ...] = ("short", "long"),
    ) -> None:
        """A model that predicts the class number nearest to scale * (grey value / 10) + shift, in both tasks.

        The outputs of its heads are 2cx - c², whose greatest is that of the c nearest to x. Lineage:
        the checkpoints that `after` names.
        """
        options = ModelOptions(
            model="python:line_nets:Net",
            image_size=(4,),
            channels=1,
            mean=(0.0,),
            std=(10 / 255,),
            trust_model_code=True,
        )
        opened = start_checkpoint(options, None, torch.device("cpu"), Observer())
        tensors = opened.model.network.body  # type: ignore[union-attr]
        tensors.weight.data.fill_(scale)  # type: ignore[union-attr, operator]
        tensors.bias.data.fill_(shift)  # type: ignore[union-attr, operator]
        known = {"short": SHORT, "long": LONG}
        for task in tasks:
            classes = known[task]
            head = opened.model.add_head(task, len(classes))
            numbers = torch.arange(len(classes)).float()
            head.weight.data = 2 * numbers[:, None]  # type: ignore[union-attr]
            head.bias.data = -(numbers**2)  # type: ignore[union-attr]
        lineage = tuple(Step("init", self.hashes[earlier]) for earlier in after)
        self.hashes[name] = current_shared_sha256(opened.model)
        step = Step("train-task", self.hashes[name], "long")
        save_checkpoint(
            Path(name),
            replace(opened, tasks=tuple(Task(task, known[task]) for task in tasks), lineage=lineage),
            step,
            overwrite=True,
        )

    def images(self, folder: str, classes: dict[str, Sequence[float]]) -> None:
        """Images of each class by their grey values / 10, the first ones first by name."""
        for name, values in classes.items():
            (Path(folder) / name).mkdir(parents=True, exist_ok=True)
            for number, value in enumerate(values):
                pixels = np.full((4, 4), round(10 * value), dtype=np.uint8)
                Image.fromarray(pixels).save(Path(folder) / name / f"{number:03d}.png")

    def evaluate(self, *words: str) -> tuple[int, str, str]:
        return self.run("evaluate", *words, "--trust-model-code")

    def json(self, *words: str) -> Any:
        code, out, err = self.evaluate(*words, "--format", "json")
        assert code in (0, 7), err
        return json.loads(out)


def make_place(folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> Place:
    """before.st predicts the nearest number, after.st (its descendant) the nearest to 0.3 more."""
    (folder / "line_nets.py").write_text(NET)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    made = Place(run)
    made.checkpoint("before.st")
    made.checkpoint("after.st", shift=0.3, after=("before.st",))
    # before: 3 + 2 of 6 right; after: 1.3 to 1 + 0.3 = 1.6 is lost, and 1.4 of class two is gained
    made.images("data/short", {"nought": [0, 0.1, 0.2], "one": [1.3, 1.0], "two": [1.4]})
    made.images("data/long", {"a": [0, 1], "c": [2, 2, 2.1, 6], "h": [7]})
    return made


def row(result: Any, task: str) -> Any:
    return next(row for row in result["tasks"] if row["task"] == task)
