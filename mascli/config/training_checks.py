"""What goes together in `mascli train-task`, one line for each thing that does not."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from mascli.config.commands import UNIFORM, TrainTaskConfig
from mascli.errors import printable
from mascli.records import TASK_NAME, task_name_problem


def wants_search(config: TrainTaskConfig) -> bool:
    """Whether lambda is to be found: it is "auto", or left out beside an omega."""
    return config.lambda_ == "auto" or (config.lambda_ is None and bool(config.omega))


def rehearsal_folders(rehearse: tuple[str, ...]) -> dict[str, Path]:
    """The folder of each task to rehearse, of texts TASK=FOLDER that were checked."""
    pairs = (text.partition("=") for text in rehearse)
    return {task: Path(folder) for task, _, folder in pairs}


def training_problems(config: TrainTaskConfig) -> list[str]:
    """Settings of `train-task` that contradict each other."""
    return [
        *_penalty_problems(config),
        *_method_problems(config),
        *_optimizer_problems(config),
        *_head_problems(config),
    ]


def ignored_problems(config: TrainTaskConfig) -> list[str]:
    """Settings that the user has given and that would do nothing, for a command; sequences share settings."""
    return [f"--{name.replace('_', '-')} {why}" for name, why in _ignored(config)]


def without_ignored(config: TrainTaskConfig) -> TrainTaskConfig:
    """The training without settings that do nothing in it, as a user would type it."""
    return replace(config, **{name: getattr(TrainTaskConfig, name) for name, _ in _ignored(config)})


def _ignored(config: TrainTaskConfig) -> Iterator[tuple[str, str]]:
    """Each setting that is not the usual one and would do nothing, and why."""
    if not wants_search(config):
        for name in ("max_drop", "max_trials"):
            if _changed(config, name):
                yield name, "is for --lambda auto, and nothing is searched for here"
    if config.distill is None and _changed(config, "temperature"):
        yield "temperature", "needs --distill: it softens what is distilled"
    if config.collect is None and _changed(config, "damping"):
        yield "damping", "needs --collect: it bounds what is collected"
    if config.collect is None and config.heads:
        yield "heads", "needs --collect: it is for what is collected"
    if not config.omega and _changed(config, "penalty"):
        yield "penalty", "needs --omega: there is no penalty without one"
    if config.head_of is not None and _changed(config, "head_lr"):
        yield "head_lr", "is for a head of its own: with --head-of it learns at --lr, as all that is shared"


def _changed(config: TrainTaskConfig, name: str) -> bool:
    """Whether a setting is valid and not the usual one."""
    return getattr(config, name) not in (None, getattr(TrainTaskConfig, name))


def _penalty_problems(config: TrainTaskConfig) -> Iterator[str]:
    strength, omegas, anchors = config.lambda_, config.omega or (), config.anchor or ()
    if strength == "auto" and not omegas:
        yield "--lambda auto needs --omega: there is no importance to weigh without one"
    elif isinstance(strength, float | int) and not omegas and 0 < strength < math.inf:
        yield f"--lambda {strength:g} needs --omega: there is no importance to weigh without one"
    if wants_search(config) and config.val is None and config.val_split == 0 and omegas:
        yield (
            "--lambda auto measures accuracy on validation images: give --val FOLDER or --val-split, or a number as "
            "--lambda"
        )
    if UNIFORM in omegas and len(omegas) > 1:
        yield "--omega uniform stands alone: leave out the other --omega"
    if len(set(omegas)) < len(omegas):
        yield "--omega: the same file is given twice"
    if anchors and not omegas:
        yield "--anchor needs --omega: nothing pulls towards it without one"
    elif len(anchors) not in (0, 1, len(omegas)):
        yield f"--anchor takes one checkpoint, or one for each --omega: {len(omegas)}, not {len(anchors)}"


def _method_problems(config: TrainTaskConfig) -> Iterator[str]:
    tasks = []
    for text in config.rehearse or ():
        task, equals, folder = text.partition("=")
        if not equals or not folder or not TASK_NAME.fullmatch(task):
            yield f"--rehearse '{printable(text)}': write TASK=FOLDER"
        elif task in tasks:
            yield f"--rehearse: task {task} is given twice"
        tasks.append(task)
    if config.lambda_ == math.inf:
        for flag, given in (("--collect", config.collect), ("--distill", config.distill)):
            if given is not None:
                yield f"{flag} is for shared parameters that learn; --lambda inf does not train them"


def _head_problems(config: TrainTaskConfig) -> Iterator[str]:
    if config.head_of is not None and not TASK_NAME.fullmatch(config.head_of):
        yield f"--head-of '{printable(config.head_of)}': {task_name_problem(config.head_of)}"
    if not config.head_epochs:
        return
    if config.head_of is not None:
        yield "--head-epochs is for a new head, learned without a penalty; --head-of uses one that is trained already"
    elif config.heads:
        yield "--heads collects from the first step on: give --head-epochs 0"


def _optimizer_problems(config: TrainTaskConfig) -> Iterator[str]:
    if config.optimizer == "adamw":
        changed = {"momentum": 0.9, "nesterov": False, "dampening": 0.0}
        for name, usual in changed.items():
            if getattr(config, name) not in (None, usual):
                yield f"--{name} is for --optimizer sgd, not adamw"
    elif config.nesterov and (config.momentum == 0 or config.dampening):
        yield "--nesterov needs a --momentum and no --dampening"
    elif config.dampening and config.momentum == 0:
        yield "--dampening needs a --momentum: it is part of it"
