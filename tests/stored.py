"""Records and omega files for tests, complete and small."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mascli.data.fingerprint import fingerprint, packed
from mascli.files.omega_file import write_omega
from mascli.files.tensor_file import array_source
from mascli.records import (
    CheckpointRecord,
    Contribution,
    ModelSpec,
    OmegaRecord,
    Preprocessing,
    Statistics,
    Step,
    Task,
)

GREY = Preprocessing((8, 8), channels=1, mean=(0.5,), std=(0.25,))
MODEL = ModelSpec("mascli", "mlp", {"hidden": "4"}, "head")


def digests(*images: str) -> list[bytes]:
    """The content hashes of made-up images."""
    return [hashlib.sha256(image.encode()).digest() for image in images]


def contribution(*images: str, **changes: Any) -> Contribution:
    """An estimate on made-up images."""
    hashes = digests(*(images or ("one", "two")))
    plain = Contribution(
        heads=("base",),
        images=len(hashes),
        shared_sha256="a" * 64,
        fingerprint=fingerprint(hashes),
        image_hashes=packed(hashes),
        mean_squared_norm=2.0,
        statistics=Statistics(1.0, 1.0, 1.0, 0.0),
        preprocessing=GREY,
    )
    return replace(plain, **changes)


def omega(*contributions: Contribution, **changes: Any) -> OmegaRecord:
    """The record of an omega of these estimates."""
    return replace(OmegaRecord(MODEL, "mas", "squared-l2", "abs", contributions or (contribution(),)), **changes)


def checkpoint(names: Sequence[str] = ("base",), **changes: Any) -> CheckpointRecord:
    """The record of a checkpoint with one shared layer, one buffer and a head a task."""
    plain = CheckpointRecord(
        model=MODEL,
        preprocessing=GREY,
        tasks=tuple(Task(name, ("cat", "dog")) for name in names),
        lineage=(Step("init", "a" * 64, settings={"seed": 0}),),
        shared=("body.weight", "body.bias"),
        buffers=("body.mean",),
        heads={name: {"weight": f"mascli.head.{name}.weight"} for name in names},
    )
    return replace(plain, **changes)


def write(path: Path, values: Mapping[str, Any], record: OmegaRecord | None = None, **foreign: str) -> Path:
    """Write an omega file of these values."""
    sources = {name: array_source(np.asarray(value, np.float32)) for name, value in values.items()}
    write_omega(path, record or omega(), sources, foreign=foreign, overwrite=True)
    return path
