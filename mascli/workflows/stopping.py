"""Ctrl-C and SIGTERM as a question: what is at work finishes its batch, keeps what it has, and then stops."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mascli.errors import printable
from mascli.observer import Observer

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def asked_to_stop() -> Iterator[threading.Event]:
    """An event that Ctrl-C or SIGTERM sets: the batch is finished and the work so far kept; a second stops at once."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    usual = {number: signal.getsignal(number) for number in SIGNALS}
    usual = {number: handler for number, handler in usual.items() if handler is not signal.SIG_IGN}

    def ask(number: int, frame: Any) -> None:
        if event.is_set():
            raise KeyboardInterrupt
        event.set()

    for number in usual:
        signal.signal(number, ask)
    try:
        yield event
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)


@contextmanager
def telling_what_is_kept(unfinished: Path, observer: Observer) -> Iterator[None]:
    """Let SIGTERM stop what is at work as Ctrl-C does, and say then that `unfinished` is there, if it is.

    Raises:
        KeyboardInterrupt: the user wants to stop.
    """
    usual = signal.getsignal(signal.SIGTERM)
    taken = threading.current_thread() is threading.main_thread() and usual is signal.SIG_DFL
    if taken:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        if unfinished.exists():
            observer.note(f"the work so far is kept in {printable(unfinished)}: --resume goes on")
        raise
    finally:
        if taken:
            signal.signal(signal.SIGTERM, usual)
