"""What a workflow tells whoever is watching it. The base class says nothing; `cli/` shows it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[int], None]


class Observer:
    """Receives what happens while a workflow runs; every method may be left as it is."""

    def note(self, text: str) -> None:
        """Receive one line that the user should know and that does not stop the work."""

    def step(self, text: str) -> None:
        """Receive one line that says what begins or has ended (shown with `-v`)."""

    @contextmanager
    def phase(self, text: str) -> Iterator[None]:
        """Time a part of the work, and tell by `step` how long it took."""
        begun = time.monotonic()
        yield
        self.step(f"{text}: {time.monotonic() - begun:.1f} s")

    def command(self, text: str) -> None:
        """Receive a command line, as a user would type it, that is about to be carried out."""

    @contextmanager
    def progress(self, label: str, total: int, unit: str = "images") -> Iterator[Advance]:
        """Follow `total` units of work; the caller reports each part it has done."""
        yield lambda count: None
