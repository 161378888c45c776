"""Fixed small files, made by formulas: the same bytes everywhere, whatever torch and numpy are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from stored import contribution

from mascli.files.omega_file import write_omega
from mascli.files.records_json import checkpoint_metadata
from mascli.files.tensor_file import Source, array_source, file_sha256, write_tensor_file
from mascli.files.tensors import shared_sha256
from mascli.records import (
    CheckpointRecord,
    ModelSpec,
    OmegaRecord,
    Preprocessing,
    Reliability,
    Statistics,
    Step,
    Task,
)

Arrays = dict[str, np.ndarray[Any, np.dtype[Any]]]

GREY = Preprocessing((4, 4), resize="none", channels=1, mean=(0.5,), std=(0.25,))
SMALL = ModelSpec("mascli", "convnet", {"width": 2, "depth": 2}, "classifier")
WIDE = ModelSpec("mascli", "convnet", {"width": 8, "norm": True}, "classifier")
LIGHT = {"night": -1.0, "day": 1.0}  # class: its centre, in units of a normalised pixel
SHADE = {"black": -1.8, "coal": -1.0, "slate": -0.3, "ash": 0.3, "silver": 1.0, "white": 1.8}


def make(folder: Path) -> None:
    """Everything: images of two tasks, a checkpoint before and after the second one, omegas, plain weights."""
    _write_images(folder / "data")
    before, after = _network(shift=0.0), _network(shift=-0.3)
    digest = {"before": _shared_sha256(before), "after": _shared_sha256(after)}
    record = _omega_record(SMALL, digest["before"])
    _write_omega(folder / "light.omega", record, {name: _importance(v.shape, 3) for name, v in before.items()})
    later = {name: _importance(v.shape, 3) / 2 + _importance(v.shape, 5) / 4 for name, v in before.items()}
    _write_omega(folder / "later.omega", record, later)
    wide = _omega_record(WIDE, "a" * 64)
    known = Reliability(0.9712, 0.8643, "features.conv1", 0.0841, 1_200)
    first_part, second_part = (replace(part, images=1_200, reliability=known) for part in wide.contributions)
    second_part = replace(second_part, reliability=replace(known, overall=0.9034))
    wide = replace(wide, contributions=(first_part, second_part))
    values = {name: _importance(shape, 7) * 2.0**-number for number, (name, shape) in enumerate(_WIDE_SHAPES.items())}
    _write_omega(folder / "wide.omega", wide, values)
    first = Step("init", digest["before"], settings={"seed": 0})
    second = Step("train-task", digest["before"], "light", settings={"epochs": 3}, result={"val_accuracy": 95.0})
    third = Step(
        "train-task",
        digest["after"],
        "shade",
        omega_sha256=file_sha256(folder / "light.omega"),
        settings={"lambda": 10.0},
        result={"val_accuracy": 75.0, "lambda": 10.0},
    )
    _write_checkpoint(folder / "light.st", before, {"light": LIGHT}, (first, second))
    _write_checkpoint(folder / "shade.st", after, {"light": LIGHT, "shade": SHADE}, (first, second, third))
    _write_plain(folder / "plain.safetensors")


def _network(shift: float) -> Arrays:
    """A network that answers relu(x + shift) and relu(-x) for images of one level x, each in two of four channels."""
    conv1, conv2 = np.zeros((2, 1, 3, 3), np.float32), np.zeros((4, 2, 3, 3), np.float32)
    conv1[:, 0, 1, 1] = (1, -1)
    for channel in range(4):
        conv2[channel, channel % 2, 1, 1] = 1
    conv1[:, 0, 0, 0] = (0.0, shift / 64)
    bias = np.array([shift, 0], np.float32)
    names = ("features.conv1.weight", "features.conv1.bias", "features.conv2.weight", "features.conv2.bias")
    return dict(zip(names, (conv1, bias, conv2, np.zeros(4, np.float32)), strict=True))


def _head(classes: Mapping[str, float]) -> Arrays:
    """The nearest of the classes' centres m, from x = relu(x) - relu(-x): the largest 2 m x - m^2."""
    centres = np.array(list(classes.values()))
    signs = np.repeat([1.0, -1.0, 1.0, -1.0], 4) / 8  # four channels of 2 x 2 places
    return {
        "weight": (2 * centres[:, None] * signs[None, :]).astype(np.float32),
        "bias": (-centres * centres).astype(np.float32),
    }


def _write_images(data: Path) -> None:
    """data/TASK/test/CLASS/NUMBER.png: every image of one grey level, spread around its class."""
    for task, classes in {"light": LIGHT, "shade": SHADE}.items():
        for name, centre in classes.items():
            folder = data / task / "test" / name
            folder.mkdir(parents=True)
            for number in range(10):
                level = centre + (number - 4.5) * (0.19 if task == "light" else 0.08)
                pixel = round(min(max(0.5 + 0.25 * level, 0.0), 1.0) * 255)
                Image.new("L", (4, 4), pixel).save(folder / f"{number}.png")


def _importance(shape: tuple[int, ...], factor: int) -> np.ndarray[Any, np.dtype[Any]]:
    """Many small values and few large ones, a tenth of them exactly 0, and nothing at all in every eighth filter."""
    index = np.arange(int(np.prod(shape)), dtype=np.int64) + 1
    level = (index * 40_503 * factor % 65_536) / 65_536
    values = level * level * level * level * level
    values[index % 10 == 0] = 0
    values = values.reshape(shape)
    if len(shape) == 4:
        values[7::8] = 0
    return values.astype(np.float32)


_WIDE_SHAPES: dict[str, tuple[int, ...]] = {
    f"features.{kind}{number}.{part}": shape
    for number, (inputs, outputs) in enumerate(((3, 8), (8, 16), (16, 32)), start=1)
    for kind, part, shape in (
        ("conv", "weight", (outputs, inputs, 3, 3)),
        ("conv", "bias", (outputs,)),
        ("norm", "weight", (outputs,)),
        ("norm", "bias", (outputs,)),
    )
}


def _omega_record(model: ModelSpec, measured_at: str, **changes: Any) -> OmegaRecord:
    parts = [
        contribution(
            *images,
            heads=("light",),
            shared_sha256=measured_at,
            mean_squared_norm=norm,
            statistics=Statistics(0.25, 0.125, 2.0, 0.0625),
            preprocessing=GREY,
        )
        for images, norm in ((("one", "two", "three"), 2.5), (("four", "five"), 4.0))
    ]
    return OmegaRecord(model, "mas", "squared-l2", "abs", tuple(parts), **changes)


def _write_omega(path: Path, record: OmegaRecord, values: Arrays) -> None:
    write_omega(path, record, _sources(values), foreign={}, overwrite=False)


def _write_checkpoint(
    path: Path, shared: Arrays, tasks: Mapping[str, Mapping[str, float]], steps: tuple[Step, ...]
) -> None:
    heads = {task: {part: f"mascli.head.{task}.{part}" for part in ("weight", "bias")} for task in tasks}
    stored = {heads[task][part]: value for task, classes in tasks.items() for part, value in _head(classes).items()}
    record = CheckpointRecord(
        model=SMALL,
        preprocessing=GREY,
        tasks=tuple(Task(task, tuple(classes)) for task, classes in tasks.items()),
        lineage=steps,
        shared=tuple(shared),
        buffers=(),
        heads=heads,
    )
    write_tensor_file(path, _sources({**shared, **stored}), checkpoint_metadata(record, {}), overwrite=False)


def _write_plain(path: Path) -> None:
    """Weights of another tool, of several dtypes."""
    half = np.array([0x3F80, 0xBF80, 0x7FC0, 0x0000], "<u2")  # 1, -1, nan and 0 as bfloat16
    tensors = {
        **_sources({"stem.weight": np.arange(54, dtype=np.float32).reshape(2, 3, 3, 3)}),
        **_sources({"stem.scale": np.array([1, 0.5], np.float16), "norm.num_batches_tracked": np.array(7)}),
        "norm.weight": Source("BF16", (4,), half.tobytes),
        **_sources({"norm.empty": np.zeros((0, 3), np.float32)}),
    }
    write_tensor_file(path, tensors, {}, overwrite=False)


def _sources(arrays: Arrays) -> dict[str, Source]:
    return {name: array_source(array) for name, array in arrays.items()}


def _shared_sha256(arrays: Arrays) -> str:
    return shared_sha256({name: torch.from_numpy(array) for name, array in arrays.items()})
