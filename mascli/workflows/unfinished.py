"""What an estimate leaves behind when it is stopped, so that it can go on to the same bytes."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mascli.errors import CheckpointError, UsageError, printable
from mascli.files.partial_file import partial_path, read_partial, write_partial
from mascli.files.records_json import canonical_json
from mascli.files.tensor_file import array_source, read_array
from mascli.files.tensors import shared_sha256, to_source
from mascli.importance.engine import Estimator, EstimatorState

# At most a minute of work is lost, also where a batch takes long.
SECONDS_BETWEEN = 30.0

_SUMS, _HALVES, _DIGESTS = "sums/", "halves/", "digests"


@dataclass
class Position:
    """How far an estimate has come: the next place in the order of images, and what the images so far were.

    `unreadable` holds the reason for each file, by its place in the list of files, that was left out.
    """

    next: int = 0
    digests: list[bytes] = field(default_factory=list)
    unreadable: dict[int, str] = field(default_factory=dict)


class Unfinished:
    """The file beside `out` that holds the sums so far.

    Args:
        settings: everything that the sums depend on; another estimate's sums are refused.
    """

    def __init__(self, out: Path, settings: Mapping[str, Any]) -> None:
        self.path = partial_path(out)
        self._settings = dict(settings)
        self._saved = time.monotonic()

    def load(self, estimator: Estimator) -> Position:
        """Put the stored sums into `estimator`; where there are none, it starts from the beginning.

        Raises:
            UsageError: the sums are of an estimate with other settings.
            CheckpointError: the file is damaged.
        """
        if not self.path.exists():
            return Position()
        header, stored = read_partial(self.path)
        for name, value in self._settings.items():
            if stored.get("settings", {}).get(name) != value:
                raise UsageError(
                    f"--resume: {printable(self.path)} was begun with another {name}; give the same settings and "
                    "images as then, or --overwrite to start anew"
                )
        try:
            tensors = {name: torch.from_numpy(read_array(header, name).copy()) for name in header.tensors}
            if stored.pop("sha256") != _sha256(stored, tensors):
                raise ValueError("the content is not what was written")
            estimator.load_state(
                EstimatorState(
                    sums=_within(tensors, _SUMS),
                    halves=_within(tensors, _HALVES),
                    images=stored["images"],
                    value=float.fromhex(stored["value"]),
                    fallback=stored["fallback"],
                )
            )
            digests = [bytes(row) for row in tensors[_DIGESTS].numpy()]
            unreadable = {int(place): reason for place, reason in stored["unreadable"].items()}
            return Position(stored["next"], digests, unreadable)
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise CheckpointError(f"{printable(self.path)} is damaged; remove it to start anew") from error

    def save_in_time(self, estimator: Estimator, position: Position) -> None:
        """Write the sums so far, if the last time was long enough ago."""
        if time.monotonic() - self._saved >= SECONDS_BETWEEN:
            self.save(estimator, position)

    def save(self, estimator: Estimator, position: Position) -> None:
        """Write the sums so far."""
        state = estimator.state()
        tensors = {_SUMS + name: tensor for name, tensor in state.sums.items()}
        tensors |= {_HALVES + name: tensor for name, tensor in state.halves.items()}
        sources = {name: to_source(tensor) for name, tensor in tensors.items()}
        digests = np.frombuffer(b"".join(position.digests), np.uint8).reshape(len(position.digests), -1)
        facts = {
            "settings": self._settings,
            "images": state.images,
            "value": state.value.hex(),
            "fallback": state.fallback,
            "next": position.next,
            "unreadable": {str(place): reason for place, reason in position.unreadable.items()},
        }
        tensors[_DIGESTS] = torch.from_numpy(digests.copy())
        facts["sha256"] = _sha256(facts, tensors)
        write_partial(self.path, {**sources, _DIGESTS: array_source(digests)}, facts)
        self._saved = time.monotonic()

    def remove(self) -> None:
        """Remove the file: the estimate is finished."""
        self.path.unlink(missing_ok=True)


def _sha256(facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """A hash of everything that is stored, so that nothing that was changed is gone on from."""
    return hashlib.sha256((canonical_json(facts) + shared_sha256(tensors)).encode()).hexdigest()


def _within(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
