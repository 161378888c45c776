"""One at a time in a folder: whoever works there holds a lock, where the file system has locks."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mascli.errors import UsageError, printable
from mascli.files.atomic import remove_abandoned


@contextmanager
def alone_at(mark: Path, command: str) -> Iterator[None]:
    """Hold a lock on the file `mark`, which is made if need be, while `command` works in its folder.

    The system takes the lock back when the process ends, however it ends. What one that was killed left half
    written is removed first, but not where links lead.

    Raises:
        UsageError: another one holds it.
    """
    descriptor = os.open(mark, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"another {command} is at work in {printable(mark.parent)}; wait until it has ended, or choose "
                "another folder with -o"
            ) from error
        except OSError:  # a file system without locks
            pass
        for folder, _, _ in os.walk(mark.parent):
            remove_abandoned(Path(folder))
        yield
    finally:
        os.close(descriptor)
