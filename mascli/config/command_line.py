"""A configuration as the command line that a user would type for it."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterator
from typing import Any

from mascli.config import (
    AverageConfig,
    Common,
    DemoConfig,
    EstimateConfig,
    EvaluateConfig,
    ExportConfig,
    InitConfig,
    InspectConfig,
    MergeConfig,
    ReportConfig,
    RunConfig,
    TrainTaskConfig,
)
from mascli.config.checks import POSITIONALS
from mascli.typed import key_of

COMMANDS: dict[type[Common], str] = {
    InitConfig: "init",
    EstimateConfig: "estimate",
    TrainTaskConfig: "train-task",
    EvaluateConfig: "evaluate",
    InspectConfig: "inspect",
    MergeConfig: "merge",
    ExportConfig: "export",
    AverageConfig: "average",
    RunConfig: "run",
    ReportConfig: "report",
    DemoConfig: "demo",
}


def command_line(config: Common) -> str:
    """The shortest `mascli` command that has this configuration, quoted for a shell."""
    fields = [field for field in dataclasses.fields(config) if getattr(config, field.name) != field.default]
    fields.sort(key=lambda field: (field.name not in POSITIONALS, field.name == "out"))
    words = [word for field in fields for word in _words(field.name, getattr(config, field.name))]
    return shlex.join(["mascli", COMMANDS[type(config)], *words])


def _words(name: str, value: Any) -> Iterator[str]:
    flag = "-o" if name == "out" else "--" + key_of(name).replace("_", "-")
    if name in POSITIONALS:
        yield from (str(item) for item in (value if isinstance(value, tuple) else (value,)))
    elif value is True:
        yield flag
    elif isinstance(value, tuple) and value and isinstance(value[0], int | float):
        yield from (flag, ",".join(_number(number) for number in value))  # one flag, joined by commas
    elif isinstance(value, tuple):
        for item in value:
            yield from (flag, str(item))
    else:
        yield from (flag, _number(value) if isinstance(value, float) else str(value))


def _number(value: float) -> str:
    """A number as short as it can be without becoming another."""
    return f"{value:g}" if float(f"{value:g}") == value else str(value)
