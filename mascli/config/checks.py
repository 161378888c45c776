"""Settings whose values have the right type but cannot mean anything, one line each."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mascli.config.commands import (
    UNIFORM,
    AverageConfig,
    Common,
    DemoConfig,
    EstimateConfig,
    EvaluateConfig,
    InitConfig,
    InspectConfig,
    MergeConfig,
    ModelOptions,
    ReportConfig,
    RunConfig,
    TrainTaskConfig,
)
from mascli.config.limits import RANGES, limit_problems
from mascli.config.methods import method_problems
from mascli.config.training_checks import training_problems
from mascli.errors import printable
from mascli.records import task_name_problem

REPORT_FORMATS = ("json", "csv", "md", "xml")
PLOT_FORMATS = ("png", "svg", "pdf")
INPUTS = (
    "checkpoint",
    "checkpoints",
    "file",
    "other",
    "folder",
    "omegas",
    "baseline",
    "weights",
    "classes",
    "data",
    "omega",
    "anchor",
    "val",
    "previous",
    "data_root",
    "sequence",
)
POSITIONALS = {
    "checkpoint": "CHECKPOINT",
    "checkpoints": "CHECKPOINT",
    "file": "FILE",
    "other": "OTHER",
    "folder": "FOLDER",
    "omegas": "OMEGA",
    "sequence": "SEQUENCE",
}

_DEVICE = re.compile(r"auto|cpu|(cuda|mps|xpu)(:\d{1,4})?")


def _from(low: float, high: float = math.inf) -> Callable[[float], bool]:
    return lambda value: low <= value <= high


def _above_zero(value: float) -> bool:
    return 0 < value < math.inf


def _below_one(value: float) -> bool:
    return 0 <= value < 1


# field: (what fits, in words); every comparison is false for nan
_LIMITS: dict[str, tuple[Callable[[float], bool], str]] = {
    "seed": (_from(0, 2**32 - 1), "0 to 4294967295"),
    "channels": ((1, 3).__contains__, "1 (grey) or 3 (colour)"),
    "batch_size": (_from(1, 65536), "1 to 65536"),
    "workers": (_from(0, 1024), "0 to 1024"),
    "limit": (_from(1), "1 or more"),
    "until_reliability": (lambda value: 0 < value < 1, "more than 0 and less than 1"),
    "verify": (_from(2, 1024), "2 to 1024 (images)"),
    "memory": (_above_zero, "more than 0 (GB)"),
    "decay": (_below_one, "at least 0 and less than 1"),
    "lambda_": (
        lambda value: isinstance(value, str) or value >= 0,
        "auto, or 0 or more ('inf' does not train shared parameters at all)",
    ),
    "max_drop": (_from(0, 100), "0 to 100 (percentage points)"),
    "max_trials": (_from(3, 100), "3 to 100"),
    "distill": (_above_zero, "more than 0"),
    "temperature": (_from(0.01, 1000), "0.01 to 1000"),
    "damping": (_above_zero, "more than 0"),
    "dampening": (_below_one, "at least 0 and less than 1"),
    "clip_norm": (_above_zero, "more than 0"),
    "val_split": (_below_one, "at least 0 and less than 1"),
    "epochs": (_from(1), "1 or more"),
    "head_epochs": (_from(0), "0 or more"),
    "lr": (_above_zero, "more than 0"),
    "head_lr": (_above_zero, "more than 0"),
    "momentum": (_below_one, "at least 0 and less than 1"),
    "weight_decay": (_from(0, 1), "0 to 1"),
    "bins": (_from(1, 200), "1 to 200"),
    "top": (_from(1, 10000), "1 to 10000"),
}


def flag_of(name: str) -> str:
    """How the field `name` of a configuration is written on the command line."""
    return POSITIONALS.get(name, "--" + name.rstrip("_").replace("_", "-"))


def range_problems(config: Common) -> list[str]:
    """Every setting that cannot mean anything, alone or beside another, one line each."""
    problems = []
    for name, (fits, wanted) in _LIMITS.items():
        value = getattr(config, name, None)
        if value is not None and not fits(value):
            problems.append(f"{flag_of(name)} must be {wanted}, not {_shown(value)}")
    if config.device is not None and not _DEVICE.fullmatch(config.device):
        problems.append(f"--device must be auto, cpu, cuda, cuda:N, mps or xpu, not '{printable(config.device)}'")
    for path in reports_of(config):
        if path.suffix.lower().lstrip(".") not in REPORT_FORMATS:
            flag = "-o" if path == config.out else "--report"
            problems.append(f"{flag} {printable(path)}: the name must end in .{', .'.join(REPORT_FORMATS)}")
    page = getattr(config, "html", None)
    if page is not None and page.suffix.lower() not in (".html", ".htm"):
        problems.append(f"--html {printable(page)}: the name must end in .html")
    plot = getattr(config, "plot", None)
    if plot is not None and plot.suffix.lower().lstrip(".") not in PLOT_FORMATS:
        problems.append(f"--plot {printable(plot)}: the name must end in .{', .'.join(PLOT_FORMATS)}")
    if isinstance(config, ModelOptions):
        problems += _model_problems(config)
    checks = (_init_problems, _estimate_problems, _train_problems, _evaluate_problems, _merge_problems)
    for check in (*checks, _average_problems, _inspect_problems):
        problems += check(config)
    return problems


def reports_of(config: Common) -> tuple[Path, ...]:
    """The files that the result is written to: those of `--report`, and `-o` where a command writes nothing else."""
    out = config.out if isinstance(config, EvaluateConfig | InspectConfig) else None
    return (*(config.report or ()), *([out] if out is not None else []))


def _shown(value: float) -> str:
    """A number as it was given: whole numbers with all their digits."""
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def missing_settings(config: Common) -> list[str]:
    """The fields that a command cannot do without and that are not given."""
    missing = [
        field.name
        for field in dataclasses.fields(config)
        if field.default is dataclasses.MISSING and getattr(config, field.name) is None
    ]
    if isinstance(config, InitConfig) and config.model is None:
        missing.append("model")
    if isinstance(config, EvaluateConfig) and not config.data and config.data_root is None:
        missing.append("data")
    if not isinstance(config, EvaluateConfig | InspectConfig | ReportConfig) and config.out is None:
        missing.append("out")
    return missing


def path_problems(config: Common) -> list[str]:
    """Inputs that are not there and an output that is missing or taken, one line each.

    Only for telling them together with other problems: what files hold is checked elsewhere.
    """
    problems = []
    for name in INPUTS:
        given = getattr(config, name, None)
        for path in given if isinstance(given, tuple) else (given,):
            if name == "omega" and path == UNIFORM:
                continue
            if isinstance(path, Path) and not path.exists():
                problems.append(f"{flag_of(name)}: there is no {printable(path)}")
    if not isinstance(config, EvaluateConfig | InspectConfig | ReportConfig | DemoConfig | RunConfig):
        if config.out is None:
            problems.append("-o/--out is missing: say where the result goes")
        elif config.out.exists() and not config.overwrite:
            problems.append(f"-o: {printable(config.out)} exists already; choose another name, or give --overwrite")
    return problems


def _model_problems(config: ModelOptions) -> list[str]:
    problems = []
    for item in config.model_arg or ():
        key, equals, _ = item.partition("=")
        if not equals or not key.isidentifier():
            problems.append(f"--model-arg '{printable(item)}': write KEY=VALUE, as in num_layers=12")
    if config.model_arg and config.model is None:
        problems.append("--model-arg needs --model")
    size = config.image_size
    if size is not None and not (len(size) in (1, 2) and all(1 <= side <= 10000 for side in size)):
        problems.append("--image-size must be one number, or HEIGHT,WIDTH, each 1 to 10000")
    for name, values in (("mean", config.mean), ("std", config.std)):
        if values is None:
            continue
        if config.channels is not None and len(values) != config.channels:
            problems.append(f"--{name} takes one number a channel: {config.channels}, not {len(values)}")
        if not values or not all(math.isfinite(value) and (name == "mean" or value > 0) for value in values):
            problems.append(f"--{name} must be {'finite numbers' if name == 'mean' else 'numbers greater than 0'}")
    if config.mean is not None and config.std is not None and len(config.mean) != len(config.std):
        problems.append(f"--mean and --std differ in length ({len(config.mean)} and {len(config.std)})")
    return problems + _name_problems("head_name", config.head_name)


def _init_problems(config: Common) -> list[str]:
    if isinstance(config, InitConfig) and config.model is None:
        return ["--model is missing: name the architecture, as in --model torchvision:resnet18"]
    return []


def _estimate_problems(config: Common) -> list[str]:
    if not isinstance(config, EstimateConfig):
        return []
    problems = _decay_problems(config) + method_problems(config)
    if config.memory is not None and config.batch_size is not None:
        problems.append("--memory and --batch-size exclude each other: the first chooses the second")
    if config.all_tasks and config.task is not None:
        problems.append("--task and --all-tasks exclude each other")
    if config.combine not in (None, "sum") and config.previous is None:
        problems.append(f"--combine {config.combine} needs --previous: there is nothing to combine with without one")
    return problems


def _train_problems(config: Common) -> list[str]:
    if not isinstance(config, TrainTaskConfig):
        return []
    problems = _name_problems("task", config.task) + training_problems(config)
    if config.val is not None and config.val_split:
        problems.append("--val and --val-split exclude each other: a folder replaces the split")
    return problems


def _evaluate_problems(config: Common) -> list[str]:
    if not isinstance(config, EvaluateConfig):
        return []
    problems = []
    if not config.data and config.data_root is None:
        problems.append("--data is missing: give --data FOLDER, --data TASK=FOLDER (repeatable) or --data-root ROOT")
    if config.data and config.data_root is not None:
        problems.append("--data and --data-root exclude each other")
    for name in RANGES:
        problems += limit_problems(name, flag_of(name), getattr(config, name) or ())
    if config.max_forgetting and not config.baseline:
        problems.append("--max-forgetting needs --baseline: forgetting is measured against an earlier checkpoint")
    return problems


def _merge_problems(config: Common) -> list[str]:
    if not isinstance(config, MergeConfig):
        return []
    weights = config.weights or ()
    problems = _decay_problems(config) + _weight_problems(weights, len(config.omegas or ()))
    if config.combine == "pool":
        given = {"--weights": weights, "--normalize": config.normalize}
        problems += [
            f"{flag} is not for --combine pool: parts of one estimate are weighed by their images"
            for flag, value in given.items()
            if value
        ]
    return problems


def _average_problems(config: Common) -> list[str]:
    if not isinstance(config, AverageConfig):
        return []
    files, omegas = len(config.checkpoints or ()), len(config.omega or ())
    problems = _weight_problems(config.weights or (), files)
    if files == 1:
        problems.append("CHECKPOINT: one alone has no average; give two or more")
    if config.mode == "mode" and omegas != files:
        problems.append(f"--mode mode takes one --omega for each checkpoint, in their order: {files}, not {omegas}")
    if config.mode == "mean" and omegas:
        problems.append("--omega is for --mode mode: the mean knows no importance")
    return problems


def _inspect_problems(config: Common) -> list[str]:
    if not isinstance(config, InspectConfig) or config.top is not None or config.by in (None, type(config).by):
        return []
    return [f"--by {config.by} needs --top K: how many of them to show"]


def _weight_problems(weights: tuple[float, ...], files: int) -> list[str]:
    problems = []
    if not all(0 <= weight < math.inf for weight in weights):
        problems.append("--weights must be finite numbers of 0 or more")
    elif weights and not any(weights):
        problems.append("--weights are all 0: nothing would be left")
    if weights and files and len(weights) != files:
        problems.append(f"--weights takes one number a file: {files}, not {len(weights)}")
    return problems


def _decay_problems(config: EstimateConfig | MergeConfig) -> list[str]:
    if config.decay not in (None, type(config).decay) and config.combine not in (None, "ema"):
        return [f"--decay is for --combine ema, not {config.combine}"]
    return []


def _name_problems(name: str, value: Any) -> list[str]:
    problem = task_name_problem(value) if isinstance(value, str) else None
    return [f"{flag_of(name)} '{printable(value)}': {problem}"] if problem else []
