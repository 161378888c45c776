"""Where a training is, in a file beside the checkpoint that it will become."""

from __future__ import annotations

import threading
from typing import Any

from torch import Tensor

from mascli.observer import Observer
from mascli.training.loop import Learner
from mascli.training.state import TrainingState, prefixed, within
from mascli.workflows.unfinished import Content, Unfinished

_TRAINING, _KEPT = "training/", "kept/"


class TrainingProgress:
    """Keeps the state of the training at hand, and what a search for lambda has found out so far.

    `search` are the facts of that search, `kept` the tensors of the trial it would choose.

    Args:
        stop: set when the user wants to stop.
        resume: whether to go on from what is stored.
    """

    def __init__(self, unfinished: Unfinished, stop: threading.Event, observer: Observer, *, resume: bool) -> None:
        self._unfinished, self._stop, self._observer = unfinished, stop, observer
        self.search: dict[str, Any] = {}
        self.kept: dict[str, Tensor] = {}
        self._strength: str | None = None
        self._stored: Content | None = unfinished.load() if resume else None
        if self._stored is not None:
            tensors, facts = self._stored
            self.search, self.kept = facts.get("search", {}), within(tensors, _KEPT)

    def begin(self, strength: float | None, learner: Learner) -> None:
        """Begin to follow `learner`, and put it where the stored training at this lambda was.

        Raises:
            CheckpointError: the file is damaged.
        """
        self._strength = None if strength is None else strength.hex()
        if self._stored is None:
            return
        tensors, facts = self._stored
        self._stored = None
        try:
            if facts["strength"] == self._strength:
                learner.load_state(TrainingState(within(tensors, _TRAINING), facts["training"]))
                at = learner.position
                self._observer.step(f"going on in {at.phase} epoch {at.epoch} after {at.images} images")
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise self._unfinished.damaged() from error

    def after_step(self, learner: Learner) -> None:
        """Write the state from time to time, and when the user wants to stop.

        Raises:
            KeyboardInterrupt: the user wants to stop; the state is written.
        """
        if self._stop.is_set():
            self._unfinished.save(self._content(learner))
            raise KeyboardInterrupt
        self._unfinished.save_in_time(lambda: self._content(learner))

    def mark(self) -> None:
        """Leave a file to go on from, if only from the beginning, where none was written yet."""
        if not self._unfinished.path.exists():
            self._unfinished.save(({}, {"strength": "", "training": {}, "search": {}}))

    def remove(self) -> None:
        """Remove the file: the checkpoint is written, or never will be."""
        self._unfinished.remove()

    def _content(self, learner: Learner) -> Content:
        state = learner.state()
        facts = {"strength": self._strength, "training": state.facts, "search": self.search}
        return {**prefixed(_TRAINING, state.tensors), **prefixed(_KEPT, self.kept)}, facts
