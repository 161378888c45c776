"""`mascli train-task`: learn one task and leave the important parameters alone."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

import torch

from mascli.config import TrainTaskConfig, wants_search
from mascli.data.fingerprint import fingerprint
from mascli.errors import CheckpointError, NumericsError, UnstableError
from mascli.files.partial_file import partial_path
from mascli.observer import Observer
from mascli.records import Step, Task
from mascli.reports.train_task import TrainResult
from mascli.training.penalty import Shares
from mascli.workflows.checked_paths import replaces
from mascli.workflows.learning.collected import write_collected
from mascli.workflows.learning.lambda_trials import Searched, search_lambda
from mascli.workflows.learning.progress import TrainingProgress
from mascli.workflows.learning.protection import Protection, protection
from mascli.workflows.learning.settings import resolved_recipe, settings_of, unfinished_settings
from mascli.workflows.learning.task_data import LearningData, derived_seed, learning_data
from mascli.workflows.learning.task_training import TaskTraining, Trained
from mascli.workflows.learning.train_result import drift_facts, result_of, search_facts
from mascli.workflows.loading import (
    Opened,
    chosen_device,
    current_shared_sha256,
    open_checkpoint,
    save_checkpoint,
    separate_batchnorm,
)
from mascli.workflows.stopping import asked_to_stop, telling_what_is_kept
from mascli.workflows.unfinished import Unfinished

HOLDS_NOTHING = "the penalty is too weak to hold anything: all parameters are free; use a larger --lambda"


def train_task(config: TrainTaskConfig, observer: Observer) -> TrainResult:
    """Learn the classes of a folder as a new task of the checkpoint, and write the new checkpoint."""
    assert config.out is not None  # preflight
    with telling_what_is_kept(partial_path(config.out), observer):
        return _train_task(config, observer)


def _train_task(config: TrainTaskConfig, observer: Observer) -> TrainResult:
    assert config.out is not None
    started = time.monotonic()
    device = chosen_device(config.device)
    opened = open_checkpoint(config.checkpoint, config, device, observer)
    if config.batchnorm == "per-task":
        separate_batchnorm(opened, observer)
    if config.head_of is not None:
        opened.model.use_head(config.task, of=config.head_of)
    recipe = resolved_recipe(config, has_tasks=bool(opened.tasks), own_batchnorm=bool(opened.model.own.names))
    held = protection(config, opened, observer)
    data = learning_data(config, opened.preprocessing, opened.tasks, device, observer)
    heads_before = tuple(opened.heads_sha256[owner] for owner in opened.model.common_heads)
    settings = unfinished_settings(config, recipe, opened, held, data)

    # heads that begin alike learn alike, and what the second needs is then in the way of the first
    torch.manual_seed(derived_seed(config.seed, "/".join(["head and dropout", *(task.name for task in opened.tasks)])))
    if config.head_of is None:
        opened.model.add_head(config.task, len(data.classes))
    training = TaskTraining(config, opened, recipe, held, data, observer, repeated=wants_search(config))
    with asked_to_stop() as stop:
        progress = TrainingProgress(Unfinished(config.out, settings), stop, observer, resume=config.resume)
        try:
            trained, searched = _learned(config, training, progress, observer)
        except (NumericsError, UnstableError):  # going on from what is kept would end the same way
            progress.remove()
            raise
    _check_protection(config, opened, trained.strength, trained.shares)
    owner = opened.model.head_owner(config.task)
    task = Task(config.task, data.classes, head=None if owner == config.task else owner)
    new = replace(opened, tasks=(*opened.tasks, task))
    if config.collect is not None:
        progress.mark()  # two files are written, and a kill may come between them
    warnings = _write(config, new, held, data, trained, searched, heads_before)
    warnings += (HOLDS_NOTHING,) * (_holds_nothing(trained.strength, trained.shares) and bool(opened.tasks))
    progress.remove()
    return result_of(config, new, held, data, trained, searched, time.monotonic() - started, warnings)


def _learned(
    config: TrainTaskConfig, training: TaskTraining, progress: TrainingProgress, observer: Observer
) -> tuple[Trained, Searched | None]:
    """The training at the lambda of `config`, or at the one that a search chooses, and that search."""
    if wants_search(config):
        return search_lambda(training, progress, config.max_drop, config.max_trials, observer)
    assert config.lambda_ != "auto"
    if config.lambda_ == math.inf and config.batchnorm == "train":
        observer.note("--batchnorm train does nothing at --lambda inf: all that is shared stays, statistics too")
    shares = training.held.shares(training.recipe, config.lambda_, None)  # of AdamW's steps it is not known yet
    _check_protection(config, training.opened, config.lambda_, shares)
    if _holds_nothing(config.lambda_, shares) and training.opened.tasks:
        observer.note(HOLDS_NOTHING)
    return training.learn(config.lambda_, progress), None


def _holds_nothing(strength: float | None, shares: Shares | None) -> bool:
    """Whether a penalty with a lambda above 0 leaves all parameters free."""
    return shares is not None and shares.free > 0.9999 and strength != 0


def _check_protection(config: TrainTaskConfig, opened: Opened, strength: float | None, shares: Shares | None) -> None:
    """Check that the penalty holds something, where there are tasks and `--require-protection` asks for it.

    Raises:
        CheckpointError: it does not, or no lambda that does was found.
    """
    if not config.require_protection or not opened.tasks:
        return
    if _holds_nothing(strength, shares):
        raise CheckpointError(f"{HOLDS_NOTHING}, or leave out --require-protection")
    if strength == 0 and config.lambda_ != 0:
        raise CheckpointError(
            f"--lambda auto found none that holds anything and costs at most {config.max_drop:g} points: nothing "
            "would be protected; allow a larger --max-drop, or give a --lambda"
        )


def _write(
    config: TrainTaskConfig,
    new: Opened,
    held: Protection,
    data: LearningData,
    trained: Trained,
    searched: Searched | None,
    heads_before: tuple[str, ...],
) -> tuple[str, ...]:
    """Write the omega that was collected, if one was, and the checkpoint; returns warnings."""
    assert config.out is not None
    overwrite = replaces(config)
    shared_sha256, kept = current_shared_sha256(new.model), trained.learned.kept
    result: dict[str, Any] = {
        "best_epoch": trained.learned.best_epoch,
        "val_accuracy": kept.val_accuracy if kept else None,
    }
    if trained.drift is not None:
        result["drift"] = drift_facts(trained.drift)
    if searched is not None:
        result["lambda_search"] = search_facts(searched, trained, config)
    step = Step(
        command="train-task",
        task=config.task,
        shared_sha256=shared_sha256,
        parent_sha256=new.file_sha256,
        omega_sha256=held.omega_sha256,
        data_fingerprint=fingerprint(data.digests),
        settings=settings_of(config, trained.learner.recipe, trained.strength),
        result=result,
        heads_before=heads_before,
    )
    warnings: tuple[str, ...] = ()
    if config.collect is not None and not write_collected(
        config.collect, new, config.task, data, shared_sha256, trained.learner.regularizers, overwrite=overwrite
    ):
        warnings = ("the collected omega is zero everywhere: shared parameters did not learn",)
    save_checkpoint(config.out, new, step, overwrite=overwrite)
    return warnings
