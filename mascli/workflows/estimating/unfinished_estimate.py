"""The sums of an estimate that was stopped, and how far it had come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mascli.importance.engine import Estimator, EstimatorState
from mascli.training.state import prefixed, within
from mascli.workflows.unfinished import Content, Unfinished

_SUMS, _HALVES, _DIGESTS = "sums/", "halves/", "digests"


@dataclass
class Position:
    """How far an estimate has come: the next place in the order of images, and what the images so far were.

    `unreadable` holds the reason for each file, by its place in the list of files, that was left out.
    """

    next: int = 0
    digests: list[bytes] = field(default_factory=list)
    unreadable: dict[int, str] = field(default_factory=dict)


class UnfinishedEstimate:
    """The file beside `out` that holds the sums so far.

    Args:
        settings: everything that the sums depend on; another estimate's sums are refused.
    """

    def __init__(self, out: Path, settings: Mapping[str, Any]) -> None:
        self._file = Unfinished(out, settings)
        self.path = self._file.path

    def load(self, estimator: Estimator) -> Position:
        """Put the stored sums into `estimator`; where there are none, it starts from the beginning.

        Raises:
            UsageError: the sums are of an estimate with other settings.
            CheckpointError: the file is damaged.
        """
        content = self._file.load()
        if content is None:
            return Position()
        tensors, stored = content
        try:
            estimator.load_state(
                EstimatorState(
                    sums=within(tensors, _SUMS),
                    halves=within(tensors, _HALVES),
                    images=stored["images"],
                    value=float.fromhex(stored["value"]),
                    fallback=stored["fallback"],
                )
            )
            digests = [bytes(row) for row in tensors[_DIGESTS].numpy()]
            unreadable = {int(place): reason for place, reason in stored["unreadable"].items()}
            return Position(stored["next"], digests, unreadable)
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise self._file.damaged() from error

    def save_in_time(self, estimator: Estimator, position: Position) -> None:
        """Write the sums so far, if the last time was long enough ago."""
        self._file.save_in_time(lambda: _content(estimator, position))

    def save(self, estimator: Estimator, position: Position) -> None:
        """Write the sums so far."""
        self._file.save(_content(estimator, position))

    def remove(self) -> None:
        """Remove the file: the estimate is finished."""
        self._file.remove()


def _content(estimator: Estimator, position: Position) -> Content:
    state = estimator.state()
    digests = np.frombuffer(b"".join(position.digests), np.uint8).reshape(len(position.digests), -1)
    tensors = {**prefixed(_SUMS, state.sums), **prefixed(_HALVES, state.halves)}
    return {**tensors, _DIGESTS: torch.from_numpy(digests.copy())}, {
        "images": state.images,
        "value": state.value.hex(),
        "fallback": state.fallback,
        "next": position.next,
        "unreadable": {str(place): reason for place, reason in position.unreadable.items()},
    }
