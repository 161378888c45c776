"""Folders of images, labelled or not, in one order that no file system can change."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mascli.data.kept_images import kept_listings
from mascli.errors import DataError, listed, printable

IMAGE_EXTENSIONS = tuple(
    f".{name}"
    for name in "avif bmp gif jfif jp2 jpe jpeg jpg pbm pgm png pnm ppm tga tif tiff webp".split()  # noqa: SIM905
)
_SPLITS = {"train", "test", "val", "valid", "validation"}


@dataclass(frozen=True)
class ImageFolder:
    """The images somewhere below `root`, and how many `others` (files that are no images) lie there."""

    root: Path
    files: tuple[Path, ...]
    others: int


@dataclass(frozen=True)
class LabelledFolder:
    """Images sorted into class folders: `labels[k]` is the index in `classes` of `files[k]`.

    A class may be without images only where that was allowed.

    `strays` are images that lie in `root` itself and so belong to no class.
    """

    root: Path
    classes: tuple[str, ...]
    files: tuple[Path, ...]
    labels: tuple[int, ...]
    strays: tuple[Path, ...]


def list_images(root: Path) -> ImageFolder:
    """Find every image below `root`, flat or nested, in the byte order of the paths relative to it.

    An image has a name with one of `IMAGE_EXTENSIONS`, in any case, and is no folder: a broken link or a
    pipe of such a name is for the reader to refuse. Names that start with a dot and `__MACOSX` are
    passed over; links are followed, each folder once on any way down.

    Raises:
        DataError: `root` is missing, is not a folder, cannot be read, or holds no image.
    """
    files, others = _images_and_others(root)
    if not files:
        found = f"only {others} other files" if others else "it is empty"
        raise DataError(f"{printable(root)}: no images ({found}); known are {', '.join(IMAGE_EXTENSIONS)}")
    return ImageFolder(root, tuple(files), others)


def labelled_folder(root: Path, *, allow_empty: bool = False) -> LabelledFolder:
    """Read `root` as one folder a class, named by the class; images may be nested deeper in it.

    Args:
        allow_empty: whether class folders without images are classes as well, while one has some.

    Raises:
        DataError: `root` has no class folders, or a class folder holds no image.
    """
    _require_folder(root)
    folders = [Path(entry.path) for entry in _entries(root) if _is(entry.is_dir)]
    if not folders:
        layout = f"put the images of each class in a folder of its own, such as {printable(root / 'cat' / '1.jpg')}"
        raise DataError(f"{printable(root)}: no class folders; {layout}")
    names = tuple(folder.name for folder in folders)
    if len(names) > 1 and _SPLITS.issuperset(name.lower() for name in names):
        raise DataError(f"{printable(root)}: its folders are {listed(names)}, not classes; give one of them")
    members = [_images_and_others(folder)[0] for folder in folders]
    empty = [folder.name for folder, images in zip(folders, members, strict=True) if not images]
    if empty and not (allow_empty and any(members)):
        raise DataError(f"{printable(root)}: no images in the class folders {listed(empty)}; remove or fill them")
    return LabelledFolder(
        root=root,
        classes=names,
        files=tuple(image for images in members for image in images),
        labels=tuple(label for label, images in enumerate(members) for _ in images),
        strays=tuple(Path(entry.path) for entry in _entries(root) if not _is(entry.is_dir) and _is_image(entry.name)),
    )


def labels_for(folder: LabelledFolder, classes: Sequence[str], task: str) -> tuple[int, ...]:
    """The labels of `folder` as positions in `classes`, the order in which `task` learned them.

    Raises:
        DataError: the folder holds a class that the task never learned.
    """
    unseen = [name for name in folder.classes if name not in classes]
    if unseen:
        knowledge = f"never learned {listed(unseen)}; its classes are {listed(classes, most=20)}"
        raise DataError(f"{printable(folder.root)}: task '{printable(task)}' {knowledge}")
    positions = [list(classes).index(name) for name in folder.classes]
    return tuple(positions[label] for label in folder.labels)


def task_folders(root: Path, tasks: Sequence[str]) -> dict[str, Path]:
    """The folder of each task that has one: `root/TASK/test`, else `root/TASK/val`, else `root/TASK`.

    Raises:
        DataError: `root` is missing or is not a folder.
    """
    _require_folder(root)
    candidates = {task: (root / task / "test", root / task / "val", root / task) for task in tasks}
    found = {task: next((path for path in paths if path.is_dir()), None) for task, paths in candidates.items()}
    return {task: path for task, path in found.items() if path is not None}


def _images_and_others(root: Path) -> tuple[list[Path], int]:
    known = kept_listings()
    if root in known:
        return known[root]
    _require_folder(root)
    names = list(_files_below(root, "", ()))
    images = sorted((name for name in names if _is_image(name)), key=os.fsencode)
    known[root] = [root / name for name in images], len(names) - len(images)
    return known[root]


def _files_below(folder: Path, prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator[str]:
    """The files below `folder`, as text relative to the root: paths are slow, and there may be very many."""
    status = folder.stat()
    here = (status.st_dev, status.st_ino)
    if here in above:  # a link that leads back up
        return
    for entry in _entries(folder):
        if _is(entry.is_dir):
            yield from _files_below(Path(entry.path), f"{prefix}{entry.name}/", (*above, here))
        elif _is_image(entry.name) or _is(entry.is_file):
            yield prefix + entry.name


def _is(kind: Callable[[], bool]) -> bool:
    """What an entry of a folder says of itself; no for a link that leads nowhere, or round in circles."""
    try:
        return kind()
    except OSError:
        return False


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What lies in `folder` and is not hidden, in byte order."""
    try:
        with os.scandir(folder) as scan:
            visible = [entry for entry in scan if not entry.name.startswith(".") and entry.name != "__MACOSX"]
    except OSError as error:
        raise DataError(f"{printable(folder)}: cannot be read ({error.strerror}); check its permissions") from error
    return sorted(visible, key=lambda entry: os.fsencode(entry.name))


def _require_folder(path: Path) -> None:
    if not path.exists():
        raise DataError(f"{printable(path)}: no such folder; check the path")
    if not path.is_dir():
        raise DataError(f"{printable(path)}: this is a file; give the folder that holds the images")


def _is_image(name: str) -> bool:
    return name.lower().endswith(IMAGE_EXTENSIONS)
