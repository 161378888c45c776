"""Keeps images decoded while several commands read the same ones in one process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mascli.data.memory import available_memory
from mascli.records import Preprocessing

Decoded = tuple[bytes, NDArray[np.uint8]]
OBJECT_BYTES = 500  # of a key, a digest and an array beside the pixels, about


class KeptImages(dict[Path, Decoded]):
    """The content hash and the pixels [C, H, W] of image files of one preprocessing."""

    def __init__(self, room: Room) -> None:
        super().__init__()
        self._room = room

    def keep(self, file: Path, digest: bytes, pixels: NDArray[np.uint8]) -> None:
        """Add an image if there is room; any thread may."""
        if file not in self and self._room.take(pixels.nbytes + OBJECT_BYTES):
            self[file] = (digest, pixels)


class Room:
    """How many bytes may still be kept, and what is kept for each preprocessing.

    `listings` holds what was found below a folder, images and number of other files.
    """

    def __init__(self, limit: int) -> None:
        self.listings: dict[Path, tuple[list[Path], int]] = {}
        self._left, self._lock = limit, Lock()
        self._kept: dict[tuple[Any, ...], KeptImages] = {}

    def of(self, preprocessing: Preprocessing) -> KeptImages:
        """The images kept for one preprocessing."""
        key = tuple(vars(preprocessing).values())
        return self._kept.setdefault(key, KeptImages(self))

    def take(self, needed: int) -> bool:
        """Whether there was room for so many bytes, which are taken then."""
        with self._lock:
            enough = needed <= self._left
            self._left -= needed if enough else 0
        return enough


_CURRENT: ContextVar[Room | None] = ContextVar("kept images", default=None)


@contextmanager
def keeping_images() -> Iterator[None]:
    """Decode no image twice in this block, as far as a quarter of the memory available goes, and list no folder twice.

    Folders and files must not change meanwhile: a change would go unnoticed.
    """
    token = _CURRENT.set(Room(available_memory() // 4))
    try:
        yield
    finally:
        _CURRENT.reset(token)


def kept_listings() -> dict[Path, tuple[list[Path], int]]:
    """What was found below folders so far; outside of `keeping_images` nothing, and nothing is kept in it."""
    room = _CURRENT.get()
    return {} if room is None else room.listings


def kept_images(preprocessing: Preprocessing) -> KeptImages | None:
    """The images that are kept here and now, or None outside of `keeping_images`."""
    room = _CURRENT.get()
    return None if room is None else room.of(preprocessing)
