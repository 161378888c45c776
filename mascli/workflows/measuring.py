"""From the settings of `mascli estimate` to what is measured, and what that needs of each image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from mascli.config import EstimateConfig
from mascli.data.loader import Batch
from mascli.importance.objective import OBJECTIVES, Measure
from mascli.importance.reduction import REDUCTIONS
from mascli.workflows.loading import Opened

# What an objective needs of each image beside its pixels, for a decoded batch (see `Images.given`).
Given = Callable[[Batch], Tensor | None]


@dataclass(frozen=True)
class Measured:
    """What is measured, by its names in the omega, and as the engine takes it."""

    method: str
    objective: str
    reduction: str
    measure: Measure
    given: Given


def settled_measure(config: EstimateConfig, opened: Opened, tasks: tuple[str, ...], files: Sequence[Path]) -> Measured:
    """What `config` asks for, of the heads of `tasks` on the images `files`."""
    measure = Measure(OBJECTIVES["squared-l2"], REDUCTIONS["abs"])
    return Measured(config.method, "squared-l2", "abs", measure, lambda batch: None)
