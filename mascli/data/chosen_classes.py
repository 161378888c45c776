"""A folder of links to chosen class folders of another one, so that every command can read it as a task."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from mascli.errors import UsageError, printable


def link_classes(folder: Path, source: Path, classes: Sequence[str]) -> None:
    """Make FOLDER/CLASS a link to SOURCE/CLASS for each of `classes`, and remove links to others.

    Raises:
        UsageError: links cannot be made there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for entry in folder.iterdir():
        if entry.is_symlink() and entry.name not in classes:
            entry.unlink()
    for name in classes:
        link, target = folder / name, (source / name).resolve()
        if link.is_symlink() and Path(os.readlink(link)) == target:
            continue
        try:
            if link.is_symlink():
                link.unlink()
            link.symlink_to(target, target_is_directory=True)
        except OSError as error:
            raise UsageError(
                f"{printable(link)}: no link to {printable(target)} can be made ({error.strerror}); copy the class "
                "folders of each task into a folder of its own, and leave out `classes`"
            ) from error
