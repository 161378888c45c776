"""The settings of a training, with the defaults that depend on the checkpoint."""

from __future__ import annotations

import math
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mascli.config import TrainTaskConfig, wants_search
from mascli.files.tensors import shared_sha256
from mascli.training.recipe import Recipe
from mascli.workflows.estimating.settled import learning_rate
from mascli.workflows.learning.protection import Protection
from mascli.workflows.learning.task_data import LearningData
from mascli.workflows.loading import Opened


def resolved_recipe(config: TrainTaskConfig, *, has_tasks: bool, own_batchnorm: bool) -> Recipe:
    """How to learn, for any lambda but the infinite one (see `recipe_for`).

    Batch norm that each task has of its own learns, unless the user says otherwise.
    """
    warm_up = has_tasks and config.head_of is None and not config.heads
    batchnorm = config.batchnorm or ("freeze" if has_tasks and not own_batchnorm else "train")
    return Recipe(
        epochs=config.epochs,
        head_epochs=int(warm_up) if config.head_epochs is None else config.head_epochs,
        lr=learning_rate(config, has_tasks=has_tasks),
        head_lr=config.head_lr,
        momentum=config.momentum if config.optimizer == "sgd" else 0.0,
        weight_decay=config.weight_decay,
        train_batchnorm=batchnorm != "freeze",
        optimizer=config.optimizer,
        nesterov=config.nesterov,
        dampening=config.dampening,
        schedule=config.schedule,
        clip_norm=config.clip_norm,
    )


def recipe_for(strength: float | None, recipe: Recipe, *, own_batchnorm: bool) -> Recipe:
    """The recipe at lambda = `strength`: at infinity nothing that is shared learns, and no shared batch norm moves."""
    if strength != math.inf:
        return recipe
    return replace(recipe, train_shared=False, train_batchnorm=recipe.train_batchnorm and own_batchnorm)


def settings_of(config: TrainTaskConfig, recipe: Recipe, strength: float | None) -> dict[str, Any]:
    """The settings that decide the result; no paths, which differ from machine to machine."""
    settings = {
        "seed": config.seed,
        "batch_size": config.batch_size,
        "val_split": config.val_split if config.val is None else None,
        "augment": config.augment,
        "lambda": str(strength) if strength == math.inf else strength,
        "penalty": config.penalty,
        **vars(recipe),
    }
    if config.batchnorm == "per-task":
        settings["batchnorm"] = "per-task"
    if config.distill is not None:
        settings |= {"distill": config.distill, "temperature": config.temperature}
    if config.collect is not None:
        settings["damping"] = config.damping
    if config.head_of is not None:
        settings["head_of"] = config.head_of
    return settings


def unfinished_settings(
    config: TrainTaskConfig, recipe: Recipe, opened: Opened, held: Protection, data: LearningData
) -> dict[str, Any]:
    """Everything that the state of an unfinished training depends on, by the words for it."""
    searches = wants_search(config)
    tensors = {**held.omegas, **{f"anchor {name}": anchor for name, anchor in held.anchors.items()}}
    return {
        "checkpoint": opened.file_sha256,
        "task": config.task,
        "head of": config.head_of,
        "omega or anchor": shared_sha256(tensors),
        "lambda": "auto" if searches else config.lambda_,
        "max-drop": config.max_drop if searches else None,
        "max-trials": config.max_trials if searches else None,
        "model": str(opened.spec),
        "preprocessing": asdict(opened.preprocessing),
        "set of known tasks": [asdict(task) for task in opened.tasks] or None,
        "collect": _beside(config.collect, config.out),
        "heads": config.heads or None,
        **{
            name.replace("_", " "): value
            for name, value in settings_of(config, recipe, None).items()
            if name != "lambda"
        },
        "set of images": data.sha256,
    }


def _beside(path: Path | None, out: Path | None) -> str | None:
    """Where `path` lies, seen from the folder of `out`, so that both can be moved; None without it."""
    if path is None or out is None:
        return None
    return os.path.relpath(os.path.realpath(path), os.path.dirname(os.path.realpath(out)))
