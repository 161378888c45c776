"""`mascli train-task`: learn one task and leave the important parameters alone."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

import torch

from mascli.config import TrainTaskConfig
from mascli.data.fingerprint import fingerprint
from mascli.evaluation.metrics import wilson_interval
from mascli.observer import Observer
from mascli.records import Step, Task
from mascli.reports.train_task import EpochRow, TrainResult
from mascli.training.diagnosis import learning_problems, silent_layers
from mascli.training.loop import Epoch, Recipe, learn
from mascli.workflows.learning_data import LearningData, derived_seed, learning_data
from mascli.workflows.loading import Opened, chosen_device, current_shared_sha256, open_checkpoint, save_checkpoint
from mascli.workflows.protection import Protection, protection
from mascli.workflows.settled import learning_rate


def train_task(config: TrainTaskConfig, observer: Observer) -> TrainResult:
    """Learn the classes of a folder as a new task of the checkpoint, and write the new checkpoint."""
    assert config.out is not None  # preflight
    started = time.monotonic()
    device = chosen_device(config.device)
    opened = open_checkpoint(config.checkpoint, config, device, observer)
    recipe = resolved_recipe(config, has_tasks=bool(opened.tasks))
    held = protection(config, opened, recipe, observer)
    data = learning_data(config, opened.preprocessing, device, observer)

    torch.manual_seed(derived_seed(config.seed, "head and dropout"))
    opened.model.add_head(config.task, len(data.classes))
    epochs, best = learn(
        opened.model,
        config.task,
        data.training_batches(config.augment, config.seed),
        len(data.training),
        recipe,
        held.penalty,
        data.validation(opened.model, config.task),
        observer,
    )
    kept = next((epoch for epoch in epochs if epoch.phase == "main" and epoch.epoch == best), None)

    step = Step(
        command="train-task",
        task=config.task,
        shared_sha256=current_shared_sha256(opened.model),
        parent_sha256=opened.file_sha256,
        omega_sha256=held.omega_sha256,
        data_fingerprint=fingerprint(data.digests),
        settings=_settings(config, recipe),
        result={"best_epoch": best, "val_accuracy": kept.val_accuracy if kept else None},
    )
    new = replace(opened, tasks=(*opened.tasks, Task(config.task, data.classes)))
    save_checkpoint(config.out, new, step, overwrite=config.overwrite)
    return TrainResult(
        out=str(config.out),
        task=config.task,
        classes=data.classes,
        train_images=len(data.training),
        val_images=len(data.validating),
        unreadable=data.unreadable,
        epochs=tuple(EpochRow(e.phase, e.epoch, e.loss, e.val_accuracy) for e in epochs),
        best_epoch=best,
        val_accuracy=kept.val_accuracy if kept else None,
        val_interval=_interval(kept, len(data.validating)),
        penalty=config.penalty if held.penalty else None,
        lambda_=config.lambda_,
        free=held.shares.free if held.shares else None,
        slowed=held.shares.slowed if held.shares else None,
        held=held.shares.held if held.shares else None,
        uncovered_tasks=held.uncovered,
        unprotected_parameters=held.unprotected,
        warnings=_diagnosis(new, config.task, data, kept, held),
        seconds=time.monotonic() - started,
    )


def resolved_recipe(config: TrainTaskConfig, *, has_tasks: bool) -> Recipe:
    """The settings of training, with the defaults that depend on whether the checkpoint has tasks."""
    endless = config.lambda_ == math.inf
    batchnorm = config.batchnorm or ("freeze" if has_tasks else "train")
    return Recipe(
        epochs=config.epochs,
        head_epochs=int(has_tasks) if config.head_epochs is None else config.head_epochs,
        lr=learning_rate(config, has_tasks=has_tasks),
        head_lr=config.head_lr,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        train_shared=not endless,
        train_batchnorm=batchnorm == "train" and not endless,
    )


def _settings(config: TrainTaskConfig, recipe: Recipe) -> dict[str, Any]:
    """The settings that decide the result; no paths, which differ from machine to machine."""
    return {
        "seed": config.seed,
        "batch_size": config.batch_size,
        "val_split": config.val_split if config.val is None else None,
        "augment": config.augment,
        "lambda": str(config.lambda_) if config.lambda_ == math.inf else config.lambda_,
        "penalty": config.penalty,
        **vars(recipe),
    }


def _interval(kept: Epoch | None, images: int) -> tuple[float, float] | None:
    if kept is None or kept.val_accuracy is None:
        return None
    return wilson_interval(round(kept.val_accuracy * images / 100), images)


def _diagnosis(
    opened: Opened, task: str, data: LearningData, kept: Epoch | None, protected: Protection
) -> tuple[str, ...]:
    model = opened.model
    silent = silent_layers(model, lambda: [model(images, (task,)) for images in data.some_training_images()])
    interval = _interval(kept, len(data.validating))
    held = protected.shares.held if protected.shares else 0.0
    lowest = interval[0] if interval else None
    return learning_problems(kept.loss if kept else None, len(data.classes), silent, held=held, lowest_accuracy=lowest)
