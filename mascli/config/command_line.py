"""A configuration as the command line that a user would type for it."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterator
from typing import Any

from mascli.config import (
    Common,
    DemoConfig,
    EstimateConfig,
    EvaluateConfig,
    InitConfig,
    InspectConfig,
    MergeConfig,
    TrainTaskConfig,
)
from mascli.typed import key_of

COMMANDS: dict[type[Common], str] = {
    InitConfig: "init",
    EstimateConfig: "estimate",
    TrainTaskConfig: "train-task",
    EvaluateConfig: "evaluate",
    InspectConfig: "inspect",
    MergeConfig: "merge",
    DemoConfig: "demo",
}
POSITIONAL = ("checkpoint", "file", "omegas")
PAIRED = ("image_size", "mean", "std")  # tuples that are one flag, joined by commas


def command_line(config: Common) -> str:
    """The shortest `mascli` command that has this configuration, quoted for a shell."""
    fields = [field for field in dataclasses.fields(config) if getattr(config, field.name) != field.default]
    fields.sort(key=lambda field: (field.name not in POSITIONAL, field.name == "out"))
    words = [word for field in fields for word in _words(field.name, getattr(config, field.name))]
    return shlex.join(["mascli", COMMANDS[type(config)], *words])


def _words(name: str, value: Any) -> Iterator[str]:
    flag = "-o" if name == "out" else "--" + key_of(name).replace("_", "-")
    if name in POSITIONAL:
        yield from (str(item) for item in (value if isinstance(value, tuple) else (value,)))
    elif value is True:
        yield flag
    elif name in PAIRED:
        yield from (flag, ",".join(str(number) for number in value))
    elif isinstance(value, tuple):
        for item in value:
            yield from (flag, str(item))
    else:
        short = isinstance(value, float) and float(f"{value:g}") == value
        yield from (flag, f"{value:g}" if short else str(value))
