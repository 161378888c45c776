"""From the settings of `mascli estimate` to what is measured, and what that needs of each image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mascli.config import EstimateConfig
from mascli.config.methods import Chosen, chosen
from mascli.data.loader import Batch
from mascli.importance.labels import uniform_numbers
from mascli.importance.local import activations
from mascli.importance.methods import measure_named
from mascli.importance.objective import Measure
from mascli.importance.plan import Plan
from mascli.workflows.estimating.given_labels import check_classes, labels_by_folder
from mascli.workflows.loading import Opened

# What an objective needs of each image beside its pixels, for a decoded batch (see `Images.given`).
Given = Callable[[Batch], Tensor | None]


@dataclass(frozen=True)
class Measured:
    """What is measured, by its names in the omega, and as the engine takes it.

    An omega names the size of a batch, on which its gradient depends, and whether labels were given.
    `compat` is the implementation that is reproduced, and `lambda_factor` converts its lambda.
    """

    method: str
    objective: str
    reduction: str
    measure: Measure
    given: Given
    compat: str | None = None
    lambda_factor: float | None = None

    @property
    def by_batch(self) -> bool:
        """Whether the result depends on which images are in a batch: its size must be what the user said."""
        return self.measure.kind == "batch"

    def note(self) -> str | None:
        """What to tell the user of the lambda of another implementation."""
        if self.lambda_factor is None:
            return None
        return (
            f"--compat {self.compat}: --lambda here is {self.lambda_factor:g} times the lambda there (docs/compat.md)"
        )

    def activations(self, plan: Plan) -> dict[str, str] | None:
        """The activation that belongs to each parameter's layer, where each layer is measured on its own."""
        return activations(plan) if self.measure.kind == "local" else None


def settled_measure(config: EstimateConfig, opened: Opened, tasks: tuple[str, ...], files: Sequence[Path]) -> Measured:
    """What `config` asks for, of the heads of `tasks` on the images `files`.

    Raises:
        UsageError: settings that contradict each other, or a head with one class where that says nothing.
        DataError: class folders that are not named as the classes of the tasks.
    """
    choice = chosen(config)
    classes = {task.name: task.classes for task in opened.tasks if task.name in tasks}
    classes = {task: classes[task] for task in tasks}
    check_classes(choice.objective, classes)
    return Measured(
        choice.method,
        _objective_name(choice, config),
        f"batch-{config.batch_size}" if choice.reduction == "batch" else choice.reduction,
        measure_named(choice.objective, choice.reduction),
        _given(choice, config, classes, files),
        choice.compat,
        choice.lambda_factor,
    )


def _objective_name(choice: Chosen, config: EstimateConfig) -> str:
    return f"{choice.objective}-of-labels" if config.labels == "given" else choice.objective


def _given(choice: Chosen, config: EstimateConfig, classes: dict[str, tuple[str, ...]], files: Sequence[Path]) -> Given:
    if choice.objective != "log-likelihood":
        return lambda batch: None
    if config.labels == "drawn":
        return lambda batch: uniform_numbers(config.seed, batch.digests, tuple(classes))
    labels = torch.tensor(labels_by_folder(config.data, files, classes), dtype=torch.int64)  # [files, heads]
    return lambda batch: labels[list(batch.positions)]
