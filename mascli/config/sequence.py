"""The YAML file of `mascli run`: which tasks are learned, by which methods, from which start (`docs/run.md`).

A key that is unknown, missing or of a wrong type is one line that says where; all are told at once.
Relative paths are relative to the file.
"""

from __future__ import annotations

import dataclasses
import json
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mascli.config.commands import EstimateConfig, ModelOptions, Resize, TrainTaskConfig
from mascli.config.yaml_file import load_table
from mascli.errors import closest, printable
from mascli.records import TASK_NAME
from mascli.typed import convert, key_of

Strength = float | Literal["auto"] | None
Settings = Mapping[str, Any]


@dataclass(frozen=True)
class TaskEntry:
    """One task: its folders, its `classes` (none: all of the folder), and its own settings.

    `data` and `test` are None for the digits that come with the package. `estimate_data` are the
    images that importance is measured on, where they are not those of `data`.
    """

    name: str
    data: Path | None
    test: Path | None
    val: Path | None = None
    classes: tuple[str, ...] = ()
    estimate_data: Path | None = None
    training: Settings = field(default_factory=dict)
    estimating: Settings = field(default_factory=dict)


@dataclass(frozen=True)
class MethodEntry:
    """One method under a `name` of its own, with one strength (lambda) or several to compare; None: it takes none."""

    name: str
    method: str
    strengths: tuple[Strength, ...] = (None,)
    decay: float = 1.0
    training: Settings = field(default_factory=dict)
    estimating: Settings = field(default_factory=dict)


@dataclass(frozen=True)
class TaskSequence:
    """What `mascli run` does.

    `model` holds fields of `InitConfig`; it is empty where a `checkpoint` is given. `samples` names
    images that come with the package. `training` and `estimating` hold fields of `TrainTaskConfig`
    and `EstimateConfig`; those of a task beat the shared ones, and those of a method beat both. `heads`
    says whether each task has its own head, or all use the first one's.
    """

    tasks: tuple[TaskEntry, ...]
    methods: tuple[MethodEntry, ...]
    model: Settings = field(default_factory=dict)
    checkpoint: Path | None = None
    samples: Literal["digits"] | None = None
    seeds: tuple[int, ...] = ()
    training: Settings = field(default_factory=dict)
    estimating: Settings = field(default_factory=dict)
    forgetting: tuple[str, ...] = ()
    heads: Literal["own", "one"] = "own"


FORGETTING = ("max", "max-final", "all")
DISTILLED, UNWEIGHED = "lwf", ("finetune", "freeze", "joint", "alone")
MEASURED = ("mas", "mas-local", "ewc", "ewc-online")
METHODS = (*UNWEIGHED, *MEASURED, "si", "l2", DISTILLED)

_NOT_SHARED = {f.name for f in dataclasses.fields(ModelOptions)} | {"checkpoint", "data", "task", "resume"}
_OF_THE_METHOD = {"omega", "anchor", "lambda_", "distill", "rehearse", "collect", "val", "require_protection"}
_OF_THE_METHOD |= {"head_of", "heads"}
_OF_THE_ESTIMATE = {"method", "compat", "previous", "combine", "decay", "verify", "heads"}
SHARED_TRAINING = {f.name for f in dataclasses.fields(TrainTaskConfig)} - _NOT_SHARED - _OF_THE_METHOD
SHARED_ESTIMATING = {f.name for f in dataclasses.fields(EstimateConfig)} - _NOT_SHARED - _OF_THE_ESTIMATE

_MODEL_KEYS: dict[str, Any] = {
    "model": str,
    "model-arg": Any,
    "classifier": str,
    "weights": Path,
    "head-name": str,
    "class-names": Path,
    "image-size": tuple[int, ...],
    "resize": Resize,
    "mean": tuple[float, ...],
    "std": tuple[float, ...],
    "channels": int,
}
_KEYS: dict[str, Any] = _MODEL_KEYS | {
    "checkpoint": Path,
    "samples": Literal["digits"],
    "root": Path,
    "data": Path,
    "test": Path,
    "tasks": Any,
    "heads": Literal["own", "one"],
    "methods": Any,
    "seeds": tuple[int, ...],
    "training": Any,
    "estimating": Any,
    "forgetting": tuple[Literal["max", "max-final", "all"], ...],
}
_TASK_KEYS: dict[str, Any] = {
    "name": str,
    "data": Path,
    "test": Path,
    "val": Path,
    "classes": tuple[str, ...],
    "estimate-data": Path,
    "training": Any,
    "estimating": Any,
}
_METHOD_KEYS: dict[str, Any] = {
    "method": Literal[METHODS],
    "name": str,
    "lambda": Any,
    "decay": float,
    "training": Any,
    "estimating": Any,
}


def read_sequence(path: Path, problems: list[str]) -> TaskSequence:
    """The sequence in the YAML file at `path`; what is wrong with its keys is added to `problems`."""
    where = printable(path)
    given = _table(_KEYS, load_table(path, where, problems), where, problems)
    given |= {key: path.parent / value for key, value in given.items() if isinstance(value, Path)}
    tasks = [
        _task(entry, f"{where}: tasks[{number}]", path.parent, given, problems)
        for number, entry in enumerate(_list(given.get("tasks"), f"{where}: tasks", problems))
    ]
    methods = [
        _method(entry, f"{where}: methods[{number}]", problems)
        for number, entry in enumerate(_list(given.get("methods"), f"{where}: methods", problems))
    ]
    return TaskSequence(
        tasks=tuple(task for task in tasks if task is not None),
        methods=tuple(method for method in methods if method is not None),
        model=_model(given, where, problems),
        checkpoint=given.get("checkpoint"),
        samples=given.get("samples"),
        seeds=given.get("seeds", ()),
        training=_settings(TrainTaskConfig, given.get("training"), f"{where}: training", problems),
        estimating=_settings(EstimateConfig, given.get("estimating"), f"{where}: estimating", problems),
        forgetting=given.get("forgetting", ()),
        heads=given.get("heads", "own"),
    )


def _task(entry: Any, where: str, base: Path, shared: Settings, problems: list[str]) -> TaskEntry | None:
    """A task, given by its name alone or as a table; folders that it leaves out are the shared ones."""
    values = _table(_TASK_KEYS, entry if isinstance(entry, dict) else {"name": entry}, where, problems)
    name = values.get("name")
    if not isinstance(name, str):
        problems.append(f"{where}: name is missing")
        return None
    where = f"{where} ({printable(name)})"
    own = {key: base / value for key, value in values.items() if isinstance(value, Path)}
    classes = values.get("classes", ())
    if shared.get("root") is not None and not classes:
        common = {part: shared["root"] / name / folder for part, folder in (("data", "train"), ("test", "test"))}
    elif shared.get("root") is not None:
        common = {part: shared["root"] / folder for part, folder in (("data", "train"), ("test", "test"))}
    else:
        common = {part: shared[part] for part in ("data", "test") if part in shared}
        if common and not own.keys() & {"data", "test"} and not classes:
            problems.append(f"{where}: tasks that share one folder need `classes`, those of its folders to take")
    folders = common | own
    for key in ("data", "test") if shared.get("samples") is None else ():
        if key not in folders:
            problems.append(f"{where}: {key} is missing: the folder with its images as FOLDER/CLASS/IMAGE")
    return TaskEntry(
        name=name,
        data=folders.get("data"),
        test=folders.get("test"),
        val=folders.get("val"),
        classes=classes,
        estimate_data=folders.get("estimate-data"),
        training=_settings(TrainTaskConfig, values.get("training"), f"{where}: training", problems),
        estimating=_settings(EstimateConfig, values.get("estimating"), f"{where}: estimating", problems),
    )


def _method(entry: Any, where: str, problems: list[str]) -> MethodEntry | None:
    """A method, given by its name alone or as a table."""
    values = entry if isinstance(entry, dict) else {"method": entry}
    method: Any = values.get("method")
    if method not in METHODS:
        shown = "is missing" if method is None else f"'{printable(str(method))}' is not one of {', '.join(METHODS)}"
        problems.append(f"{where}: method {shown}{closest(str(method), METHODS)}")
        return None
    where = f"{where} ({method})"
    values = _table(_METHOD_KEYS, values, where, problems)
    if "decay" in values and method != "ewc-online":
        problems.append(f"{where}: decay is for ewc-online")
    return MethodEntry(
        name=values.get("name", method),
        method=method,
        strengths=_strengths(method, values.get("lambda"), f"{where}: lambda", problems),
        decay=values.get("decay", 1.0),
        training=_settings(TrainTaskConfig, values.get("training"), f"{where}: training", problems),
        estimating=_settings(EstimateConfig, values.get("estimating"), f"{where}: estimating", problems),
    )


def _strengths(method: str, value: Any, where: str, problems: list[str]) -> tuple[Strength, ...]:
    if method in UNWEIGHED:
        if value is not None:
            problems.append(f"{where} is not for {method}, which holds nothing by importance")
        return (None,)
    if value is None:
        return (1.0,) if method == DISTILLED else ("auto",)
    if value == "auto":
        if method == DISTILLED:
            problems.append(f"{where}: auto is for methods with an omega; give a number, as in 1")
        return ("auto",)
    before = len(problems)
    strengths: tuple[float, ...] = convert(tuple[float, ...], value, where, problems)
    if len(problems) > before:
        return (None,)
    top = math.inf if method != DISTILLED else 1e12
    if not strengths or not all(0 <= strength <= top for strength in strengths) or len(set(strengths)) < len(strengths):
        numbers = "a number of 0 to 1e12" if method == DISTILLED else "auto, a number of 0 or more"
        problems.append(f"{where} must be {numbers}, or a list of different ones")
    return strengths


def _model(given: Settings, where: str, problems: list[str]) -> Settings:
    """The fields of `InitConfig` that the file sets."""
    model = {key.replace("-", "_"): given[key] for key in _MODEL_KEYS if key in given}
    if "class_names" in model:
        model["classes"] = model.pop("class_names")
    arguments = model.pop("model_arg", None)
    if isinstance(arguments, Mapping):
        plain = {k: v if isinstance(v, str) else json.dumps(v, default=str) for k, v in arguments.items()}
        model["model_arg"] = tuple(f"{key}={value}" for key, value in plain.items())
    elif arguments is not None:
        model["model_arg"] = convert(tuple[str, ...], arguments, f"{where}: model-arg", problems)
    return model


def _settings(kind: type[Any], content: Any, where: str, problems: list[str]) -> dict[str, Any]:
    """Settings of a command by field name, of those that a sequence may set."""
    shared = SHARED_TRAINING if kind is TrainTaskConfig else SHARED_ESTIMATING
    hints = typing.get_type_hints(kind)
    names = {key_of(name).replace("_", "-"): name for name in shared}
    found = _table({key: hints[name] for key, name in names.items()}, content, where, problems)
    return {names[key]: value for key, value in found.items()}


def _table(keys: Mapping[str, Any], content: Any, where: str, problems: list[str]) -> dict[str, Any]:
    """The values of a table by key, each as its type; unknown keys and wrong values are problems."""
    if content is None:
        return {}
    if not isinstance(content, Mapping):
        problems.append(f"{where}: expected lines of 'key: value'")
        return {}
    values: dict[str, Any] = {}
    for key, value in content.items():
        name, before = str(key).replace("_", "-"), len(problems)
        if name not in keys:
            problems.append(f"{where}: unknown key '{printable(str(key))}'{closest(name, keys)}")
        elif value is not None:
            found = convert(keys[name], value, f"{where}: {name}", problems)
            if len(problems) == before:
                values[name] = found
    return values


def _list(content: Any, where: str, problems: list[str]) -> list[Any]:
    if content is None or isinstance(content, list):
        return content or []
    problems.append(f"{where}: expected a list, one entry a line that begins with '- '")
    return []


def name_problems(names: list[str], what: str) -> list[str]:
    """Names that cannot be parts of file names, or are there twice (ignoring case), one line each."""
    problems = [
        f"{what} '{printable(name)}': a name is 1 to 64 letters, digits, '_' or '-', and starts with a letter or digit"
        for name in names
        if not TASK_NAME.fullmatch(name)
    ]
    lower = [name.lower() for name in names]
    twice = sorted({name for name in lower if lower.count(name) > 1})
    return problems + [f"{what} '{printable(name)}' is there twice; give each a `name` of its own" for name in twice]
