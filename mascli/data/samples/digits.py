"""The UCI optical digits as folders of PNG files, a task a folder, ready for `train-task` and `evaluate`."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

DIGIT_TASKS: Mapping[str, tuple[str, ...]] = {
    "digits-12": ("1", "2"),
    "digits-34": ("3", "4"),
    "digits-56": ("5", "6"),
    "digits-78": ("7", "8"),
    "digits-90": ("9", "0"),
}


@dataclass(frozen=True)
class DigitTask:
    """The folders of one task, each with one folder a class."""

    train: Path
    test: Path


def write_digit_tasks(folder: Path, tasks: Mapping[str, tuple[str, ...]] = DIGIT_TASKS) -> dict[str, DigitTask]:
    """Write the images of `tasks` (name -> digits) as FOLDER/TASK/train|test/DIGIT/NUMBER.png.

    Every third image of a digit is for testing. The files are 8x8 greys (0 is paper, 255 is ink) and
    the same to the byte everywhere.
    """
    images, labels = _digits()
    written: dict[str, DigitTask] = {}
    for name, digits in tasks.items():
        written[name] = DigitTask(train=folder / name / "train", test=folder / name / "test")
        for digit in digits:
            for part in (written[name].train, written[name].test):
                (part / digit).mkdir(parents=True, exist_ok=True)
            for number, image in enumerate(images[labels == int(digit)]):
                part = written[name].test if number % 3 == 2 else written[name].train
                (part / digit / f"{number:03d}.png").write_bytes(_png(image))
    return written


def _digits() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images [1797, 8, 8] with greys 0 to 255, and the digit that each shows [1797]."""
    file = resources.files("mascli.data.samples") / "digits.npz"
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        sixteenths, labels = arrays["images"].astype(np.int64), arrays["labels"]
    return ((sixteenths * 255 + 8) // 16).astype(np.uint8), labels


def _png(image: NDArray[np.uint8]) -> bytes:
    """`image` [H, W] as a greyscale PNG, not compressed: libraries compress to different bytes."""
    height, width = image.shape
    rows = b"".join(b"\0" + row.tobytes() for row in image)
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows, 0)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
