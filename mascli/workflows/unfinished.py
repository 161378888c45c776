"""What a command leaves behind when it is stopped, so that it can go on to the same bytes."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from mascli.errors import CheckpointError, UsageError, printable
from mascli.files.partial_file import partial_path, read_partial, write_partial
from mascli.files.records_json import canonical_json
from mascli.files.tensors import read_tensors, shared_sha256, to_source

# At most a minute of work is lost, also where a batch takes long.
SECONDS_BETWEEN = 30.0

# Tensors, and facts that JSON can hold.
Content = tuple[dict[str, Tensor], dict[str, Any]]


class Unfinished:
    """The file beside `out` that holds what was done so far.

    Args:
        settings: everything that this depends on; the file of other settings is refused.
    """

    def __init__(self, out: Path, settings: Mapping[str, Any]) -> None:
        self.path = partial_path(out)
        self._settings = dict(settings)
        self._saved = time.monotonic()

    def load(self) -> Content | None:
        """What is stored; None where there is nothing.

        Raises:
            UsageError: it was begun with other settings.
            CheckpointError: the file is damaged.
        """
        if not self.path.exists():
            return None
        try:
            header, stored = read_partial(self.path)
        except CheckpointError as error:
            raise CheckpointError(f"{error}; remove it to start anew") from error
        for name, value in self._settings.items():
            if canonical_json(stored.get("settings", {}).get(name)) != canonical_json(value):
                raise UsageError(
                    f"--resume: {printable(self.path)} was begun with another {name}; give the same settings and "
                    "images as then, or --overwrite without --resume to start anew"
                )
        try:
            tensors = {name: tensor.clone() for name, tensor in read_tensors(header, header.tensors).items()}
            if stored.pop("sha256") != _sha256(stored, tensors):
                raise ValueError("the content is not what was written")
            return tensors, stored
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise self.damaged() from error

    def damaged(self) -> CheckpointError:
        """The error for content that cannot be gone on from."""
        return CheckpointError(f"{printable(self.path)} is damaged; remove it to start anew")

    def save_in_time(self, content: Callable[[], Content]) -> None:
        """Write what `content` gives, if the last time was long enough ago."""
        if time.monotonic() - self._saved >= SECONDS_BETWEEN:
            self.save(content())

    def save(self, content: Content) -> None:
        """Write or replace what was done so far."""
        tensors, facts = content
        facts = {**facts, "settings": self._settings}
        facts["sha256"] = _sha256(facts, tensors)
        write_partial(self.path, {name: to_source(tensor) for name, tensor in tensors.items()}, facts)
        self._saved = time.monotonic()

    def remove(self) -> None:
        """Remove the file: the work is finished."""
        self.path.unlink(missing_ok=True)


def _sha256(facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """A hash of everything that is stored, so that nothing that was changed is gone on from."""
    return hashlib.sha256((canonical_json(facts) + shared_sha256(tensors)).encode()).hexdigest()
