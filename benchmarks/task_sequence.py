"""Learns tasks in turn, with and without importance, through the workflows of the other commands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from mascli.config import Common, EstimateConfig, EvaluateConfig, TrainTaskConfig
from mascli.config.command_line import command_line
from mascli.evaluation.metrics import average_accuracy, forgetting, learning_accuracy
from mascli.observer import Observer
from mascli.reports.demo import MethodResult
from mascli.workflows.estimate import estimate
from mascli.workflows.evaluate import evaluate
from mascli.workflows.train_task import train_task

C = TypeVar("C", bound=Common)
R = TypeVar("R")


@dataclass(frozen=True)
class TaskSequence:
    """Tasks to learn one after the other, and the settings that all of them share.

    Args:
        data: a folder with TASK/train/CLASS/IMAGE and TASK/test/CLASS/IMAGE.
        tasks: the order to learn in.
        training: settings of `train-task` for every task.
        estimating: settings of `estimate` after every task.
    """

    data: Path
    tasks: tuple[str, ...]
    observer: Observer
    training: Mapping[str, Any] = field(default_factory=dict)
    estimating: Mapping[str, Any] = field(default_factory=dict)

    def run(self, command: Callable[[C, Observer], R], config: C) -> R:
        """Carry out one command, after showing it as a user would type it."""
        self.observer.command(command_line(config))
        return command(config, self.observer)

    def learn(self, start: Path, task: str, out: Path, omega: Path | None = None, strength: float = 0.0) -> Path:
        """Learn `task` from the checkpoint `start`; what `omega` says matters is held with lambda `strength`."""
        protection = {"omega": (omega,), "lambda_": strength} if omega else {}
        settings = {**self.training, **protection, "data": self.data / task / "train"}
        self.run(train_task, TrainTaskConfig(checkpoint=start, task=task, out=out, **settings))
        return out

    def finetune(self, first: Path, folder: Path) -> MethodResult:
        """Learn the second and later tasks by plain fine-tuning of `first`, which knows the first task."""
        rows, checkpoint = [self._measured(first)], first
        for task in self.tasks[1:]:
            checkpoint = self.learn(checkpoint, task, folder / f"{task}.safetensors")
            rows.append(self._measured(checkpoint))
        return _summary(rows)

    def mas(self, first: Path, folder: Path, strength: float, omega: Path | None = None) -> tuple[MethodResult, Path]:
        """The same with importance: measured after every task on its images, summed, and held on to.

        Args:
            omega: the importance that `first` was learned with, if any; the sum starts from it.

        Returns:
            The result, and the omega that the last task was learned with.
        """
        rows, checkpoint = [self._measured(first)], first
        for done, task in zip(self.tasks, self.tasks[1:], strict=False):
            newer = folder / f"{done}.omega"
            settings = {**self.estimating, "previous": omega, "data": self.data / done / "train", "out": newer}
            self.run(estimate, EstimateConfig(checkpoint=checkpoint, **settings))
            omega = newer
            checkpoint = self.learn(checkpoint, task, folder / f"{task}.safetensors", omega, strength)
            rows.append(self._measured(checkpoint))
        assert omega is not None  # a sequence has two tasks at least
        return _summary(rows), omega

    def _measured(self, checkpoint: Path) -> tuple[tuple[float, ...], tuple[int, ...]]:
        result = self.run(evaluate, EvaluateConfig(checkpoint=checkpoint, data_root=self.data))
        known = {row.task: row for row in result.tasks}
        rows = [known[task] for task in self.tasks if task in known]
        return tuple(row.accuracy for row in rows), tuple(row.images for row in rows)


def _summary(rows: list[tuple[tuple[float, ...], tuple[int, ...]]]) -> MethodResult:
    matrix = tuple(accuracies for accuracies, _ in rows)
    return MethodResult(
        accuracy_matrix=matrix,
        counts=rows[-1][1],
        average_accuracy=average_accuracy(matrix),
        learning_accuracy=learning_accuracy(matrix),
        forgetting=forgetting(matrix),
    )
