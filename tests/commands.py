"""Runs whole commands, and makes the images for them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

Run = Callable[..., tuple[int, str, str]]


def in_a_process(*words: str | Path, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The same in a process of its own."""
    command = [sys.executable, "-m", "mascli", *map(str, words)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


def overridden(words: Sequence[str | Path], *flags: str | Path) -> list[str | Path]:
    """`words` with `flags`, without their options of the same name, which take one value each."""
    names = {flag for flag in flags if str(flag).startswith("-")}
    places = [place for place, word in enumerate(words) if word in names]
    left_out = {place + step for place in places for step in (0, 1)}
    return [*(word for place, word in enumerate(words) if place not in left_out), *flags]


def write_images(folder: Path, classes: dict[str, int], count: int, size: int = 12) -> Path:
    """FOLDER/CLASS/NUMBER.png: noise around a colour that belongs to the class."""
    for name, hue in classes.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        random = np.random.default_rng(hue)
        base = np.array([hue * 60 % 256, hue * 110 % 256, hue * 170 % 256])
        for number in range(count):
            pixels = np.clip(base + random.normal(0, 30, (size, size, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number:03d}.png")
    return folder
