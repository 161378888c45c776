"""Writes a file completely or not at all.

The bytes go into a temporary file beside the target, are flushed to the disk, and only then get the
target's name. Killed at any moment, the target is what it was or what it should be. The temporary
file is locked while it is written: one that nobody has locked was left by a writer that was killed,
and the next writer in that folder removes it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from mascli.errors import UsageError, printable

TEMPORARY = ".mascli-*.part"

# A file system that has no hard links says one of these.
NO_LINKS = {errno.EPERM, errno.EACCES, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV}


def output_problem(path: Path, overwrite: bool) -> str | None:
    """Why a file cannot be written at `path`, in one line, or None if it can."""
    shown = printable(path)
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return _folder_problem(path)
    except (OSError, ValueError) as error:
        return f"{shown} cannot be written: {_reason(error)}"
    if stat.S_ISDIR(mode):
        return f"{shown} is a folder; name a file"
    if not stat.S_ISREG(mode):
        return f"{shown} is not a regular file; choose another name"
    if not overwrite:
        return f"{shown} exists already; choose another name or give --overwrite"
    return _folder_problem(path)


@contextmanager
def replacing(path: Path, *, overwrite: bool) -> Iterator[BinaryIO]:
    """A new file that gets the name `path` when the block ends, and vanishes if it raises.

    Its mode is that of the file it replaces, else the usual one of new files. Where `path` is a
    link, the file it points to is replaced. Without `overwrite` a file of that name is never
    touched, even one that appeared meanwhile.

    Raises:
        UsageError: `path` is taken, its folder is missing or not writable, or the disk is full.
    """
    problem = output_problem(path, overwrite)
    if problem:
        raise UsageError(problem)
    target = Path(os.path.realpath(path))
    remove_abandoned(target.parent)
    temporary = target.with_name(TEMPORARY.replace("*", secrets.token_hex(8)))
    try:
        with _locked(temporary) as file:
            yield file
            file.flush()
            if overwrite and target.exists():
                os.chmod(temporary, stat.S_IMODE(target.stat().st_mode))
            os.fsync(file.fileno())
            _publish(temporary, target, overwrite)
    except OSError as error:
        raise UsageError(f"{printable(path)} cannot be written: {_reason(error)}") from error
    finally:
        temporary.unlink(missing_ok=True)
    _flush_folder(target.parent)


def remove_abandoned(folder: Path) -> None:
    """Remove the temporary files in `folder` whose writers were killed; what cannot be removed stays."""
    for path in folder.glob(TEMPORARY):
        with contextlib.suppress(OSError), open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)


def write_text(path: Path, text: str, *, overwrite: bool) -> None:
    """Write `text` as UTF-8; what UTF-8 cannot hold (half of a surrogate pair) becomes an escape.

    Raises:
        UsageError: as `replacing`.
    """
    with replacing(path, overwrite=overwrite) as file:
        file.write(text.encode("utf-8", "backslashreplace"))


def _locked(path: Path) -> BinaryIO:
    """A new file at `path`, locked for as long as it is open, where the file system has locks."""
    while True:
        file = os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666), "wb")
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            return file
        file.close()  # another writer took it for abandoned, in the moment before it was locked


def _folder_problem(path: Path) -> str | None:
    folder = Path(os.path.realpath(path)).parent
    shown = printable(path.parent)
    if not folder.exists():
        return f"the folder {shown} does not exist; make it first"
    if not folder.is_dir():
        return f"{shown} is not a folder"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"the folder {shown} is not writable"
    return None


def _publish(temporary: Path, target: Path, overwrite: bool) -> None:
    if overwrite:
        os.replace(temporary, target)
        return
    try:
        os.link(temporary, target)  # unlike a rename it fails where a file has appeared
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        if target.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from error
        os.rename(temporary, target)


def _flush_folder(folder: Path) -> None:
    """Make the new name survive a power cut, where folders can be flushed at all."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _reason(error: Exception) -> str:
    if isinstance(error, FileExistsError):
        return "a file of that name has appeared meanwhile"
    return printable((error.strerror if isinstance(error, OSError) else None) or str(error))
