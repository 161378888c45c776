"""What the epochs of a training came to, and the place that it is at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

PHASES = ("head", "main")


@dataclass(frozen=True)
class Validation:
    """What a model comes to on validation images: accuracy in percent, mean cross-entropy in nats."""

    accuracy: float
    loss: float


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to: mean loss of the new task in nats, and what was measured on validation images if any.

    Epoch 0 is a model of which nothing could learn; its loss is nan.
    """

    phase: str
    epoch: int
    loss: float
    validation: Validation | None

    @property
    def val_accuracy(self) -> float | None:
        """Validation accuracy in percent, if it was measured."""
        return self.validation.accuracy if self.validation else None

    def better_than(self, other: Epoch) -> bool:
        """Whether this epoch has the higher validation accuracy, or an equal one and the lower validation loss.

        Few validation images are soon all right, long before the task is learned as well as it can be.
        """
        if self.validation is None or other.validation is None:
            return False
        mine, others = self.validation, other.validation
        return (mine.accuracy, -mine.loss) > (others.accuracy, -others.loss)


@dataclass(frozen=True)
class Learned:
    """All epochs, and the number of the best one (0: nothing could learn)."""

    epochs: tuple[Epoch, ...]
    best_epoch: int

    @property
    def kept(self) -> Epoch | None:
        """The epoch at which the model was left."""
        return next((e for e in self.epochs if e.phase == "main" and e.epoch == self.best_epoch), None)


@dataclass(frozen=True)
class Position:
    """The place in a training: the batch that comes next, and what the batches of this epoch came to so far.

    `loss` is summed over the `own_images`, those of the new task, among all `images`.
    """

    phase: str = PHASES[0]
    epoch: int = 1
    batch: int = 0
    loss: float = 0.0
    images: int = 0
    own_images: int = 0


@dataclass(frozen=True)
class Best:
    """The best epoch so far, and all tensors as they were after it."""

    epoch: Epoch
    tensors: dict[str, Tensor]


def epoch_facts(epoch: Epoch) -> list[Any]:
    """An epoch as JSON that gives back the same numbers."""
    found = epoch.validation
    return [epoch.phase, epoch.epoch, epoch.loss.hex(), [found.accuracy.hex(), found.loss.hex()] if found else None]


def epoch_of(facts: Sequence[Any]) -> Epoch:
    """The epoch that `epoch_facts` wrote."""
    phase, number, loss, found = facts
    return Epoch(phase, number, float.fromhex(loss), Validation(*map(float.fromhex, found)) if found else None)
