"""Where text goes: the result to standard output, everything else to standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from mascli.errors import printable
from mascli.observer import Advance, Observer
from mascli.reports.export import to_csv, to_json
from mascli.reports.numbers import duration
from mascli.reports.render import text

if TYPE_CHECKING:
    from mascli.reports.report import Report


PATIENCE = 0.5  # seconds; shorter work would only flicker


class TerminalObserver(Observer):
    """Shows on standard error what a workflow tells; bars only where a terminal can take them back."""

    def __init__(self, *, quiet: bool = False, verbose: bool = False) -> None:
        self._console = plain_console(stderr=True)
        self._quiet, self._verbose = quiet, verbose
        self._bars: Progress | None = None

    def note(self, text: str) -> None:
        """Print one line that the user should know."""
        if not self._quiet:
            self._console.print(Text.assemble(("note: ", "yellow"), printable(text)))

    def step(self, text: str) -> None:
        """Print what begins or has ended, with `-v`."""
        if self._verbose and not self._quiet:
            self._console.print(Text(printable(text)))

    def command(self, text: str) -> None:
        """Print a command line as a user would type it."""
        if not self._quiet:
            self._console.print(Text.assemble(("$ ", "dim"), (printable(text), "bold")))

    @contextmanager
    def progress(self, label: str, total: int, unit: str = "images") -> Iterator[Advance]:
        """Show a bar with rate and time left while work is done, and remove it after.

        Work that ends within `PATIENCE` seconds shows none; nested work shows one bar each.
        """
        begun, done, bar = time.monotonic(), 0, None
        shown = not self._quiet and sys.stderr.isatty() and not self._console.is_dumb_terminal

        def advance(count: int) -> None:
            nonlocal done, bar
            done += count
            if bar is None and shown and time.monotonic() - begun > PATIENCE:
                bars = self._started_bars()
                bar = bars.add_task(printable(label), total=total, completed=done, unit=unit, begun=begun)
            elif bar is not None and self._bars is not None:
                self._bars.update(bar, completed=done)

        try:
            yield advance
        finally:
            if bar is not None and self._bars is not None:
                self._bars.remove_task(bar)
                if not self._bars.tasks:
                    self._bars.stop()
                    self._bars = None

    def _started_bars(self) -> Progress:
        if self._bars is None:
            columns: list[Any] = [TextColumn("{task.description}", markup=False), BarColumn(bar_width=None)]
            columns += [MofNCompleteColumn(), _Pace()]
            self._bars = Progress(*columns, console=self._console, transient=True)
            self._bars.start()
        return self._bars


def plain_console(*, stderr: bool = False) -> Console:
    """A console that prints text as it is: no markup, no highlighting, no wrapping of its own."""
    return Console(stderr=stderr, markup=False, highlight=False, emoji=False, soft_wrap=True)


def show(report: Report, form: str, *, ascii_only: bool = False) -> None:
    """Print the result on standard output as `form`: table, json or csv; drawn in ASCII if asked to or if need be."""
    if form != "table":
        sys.stdout.write(to_json(report) if form == "json" else to_csv(report))
        return
    console = plain_console()
    width = console.width if sys.stdout.isatty() else None
    colour = console.color_system in ("256", "truecolor") and not console.no_color  # 16 are too few for a scale
    console.print(text(report, width, ascii_only or not can_draw(console.encoding), colour))


def can_draw(encoding: str) -> bool:
    """Whether `encoding` has the characters that bars are drawn with."""
    try:
        "█▏▁·…".encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


class _Pace(ProgressColumn):
    """Units a second over all that was done, and the time left at that rate."""

    def render(self, task: Task) -> Text:
        elapsed = time.monotonic() - task.fields["begun"]
        if not task.completed or elapsed <= 0:
            return Text("")
        rate = task.completed / elapsed
        left = duration(max((task.total or 0) - task.completed, 0) / rate)
        return Text(f"{rate:,.1f} {task.fields['unit']}/s, {left} left")
