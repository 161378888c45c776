"""What `mascli train-task` has come to, for the report and for the checkpoint."""

from __future__ import annotations

import math
from dataclasses import asdict

from mascli.config import TrainTaskConfig, rehearsal_folders, wants_search
from mascli.evaluation.metrics import wilson_interval
from mascli.reports.report import plain
from mascli.reports.train_task import DriftFacts, DriftRow, EpochRow, SearchFacts, TrainResult, TrialRow
from mascli.training.diagnosis import generalising_problem, head_problem, learning_problems, silent_layers
from mascli.training.drift import Drift
from mascli.training.history import Epoch
from mascli.workflows.learning.lambda_trials import Searched
from mascli.workflows.learning.protection import Protection
from mascli.workflows.learning.task_data import LearningData
from mascli.workflows.learning.task_training import Trained
from mascli.workflows.loading import Opened

# Layers that have moved most, of those that a checkpoint and a report list.
LAYERS = 5


def result_of(
    config: TrainTaskConfig,
    new: Opened,
    held: Protection,
    data: LearningData,
    trained: Trained,
    searched: Searched | None,
    seconds: float,
    warnings: tuple[str, ...] = (),
) -> TrainResult:
    """The typed result of a task that was learned."""
    learned, shares = trained.learned, trained.shares
    kept, acts = learned.kept, bool(held.omegas) and trained.strength not in (None, 0, math.inf)
    lost = searched is not None and trained.strength == 0
    distill = None if trained.strength == math.inf or len(new.tasks) == 1 else config.distill
    return TrainResult(
        out=str(config.out),
        task=config.task,
        classes=data.classes,
        train_images=len(data.training),
        val_images=len(data.validating),
        unreadable=data.unreadable,
        epochs=tuple(
            EpochRow(e.phase, e.epoch, e.loss, e.val_accuracy, e.validation.loss if e.validation else None)
            for e in learned.epochs
            if e.epoch
        ),
        best_epoch=learned.best_epoch,
        val_accuracy=kept.val_accuracy if kept else None,
        val_interval=_interval(kept, len(data.validating)),
        penalty=config.penalty if acts else None,
        lambda_=trained.strength,
        free=shares.free if shares else None,
        slowed=shares.slowed if shares else None,
        held=shares.held if shares else None,
        uncovered_tasks=new.task_names[:-1] if lost else held.uncovered,
        unprotected_parameters=() if trained.strength == math.inf else held.unprotected,
        warnings=(*_warnings(config, new, data, trained, searched), *warnings),
        seconds=seconds,
        drift=_drift(trained.drift),
        lambda_search=_search(searched, trained, config) if searched else None,
        collected=None if config.collect is None else str(config.collect),
        distill=distill,
        temperature=None if distill is None else config.temperature,
        rehearsed=tuple(rehearsal_folders(config.rehearse)),
        head_of=new.tasks[-1].head,
    )


def drift_facts(drift: Drift) -> dict[str, object]:
    """The drift as a checkpoint stores it: overall, and the layers that moved most."""
    return asdict(Drift(drift.linear, drift.quadratic, drift.relative, drift.layers[:LAYERS]))


def search_facts(searched: Searched, trained: Trained, config: TrainTaskConfig) -> dict[str, object]:
    """The search for lambda as a checkpoint stores it."""
    found: dict[str, object] = plain(_search(searched, trained, config))
    return found


def _drift(drift: Drift | None) -> DriftFacts | None:
    if drift is None:
        return None
    layers = tuple(DriftRow(layer.layer, layer.linear, layer.quadratic) for layer in drift.layers)
    return DriftFacts(drift.linear, drift.quadratic, drift.relative, layers)


def _search(searched: Searched, trained: Trained, config: TrainTaskConfig) -> SearchFacts:
    rows = tuple(
        TrialRow(
            lambda_=trial.strength,
            val_accuracy=trial.accuracy,
            linear=trial.drift.linear if trial.drift else None,
            quadratic=trial.drift.quadratic if trial.drift else None,
            relative=trial.drift.relative if trial.drift else None,
            chosen=trial.strength == trained.strength,
        )
        for trial in searched.trials
    )
    return SearchFacts(config.max_drop, searched.baseline, rows)


def _interval(kept: Epoch | None, images: int) -> tuple[float, float] | None:
    if kept is None or kept.val_accuracy is None:
        return None
    return wilson_interval(round(kept.val_accuracy * images / 100), images)


def _warnings(
    config: TrainTaskConfig, new: Opened, data: LearningData, trained: Trained, searched: Searched | None
) -> tuple[str, ...]:
    """What went wrong while learning, one line each."""
    model, kept = new.model, trained.learned.kept
    if kept is not None and kept.epoch == 0:
        return (
            f"nothing was trained: --head-of uses the head of {config.head_of}, and lambda inf holds all that is "
            "shared, that head too",
        )
    silent = silent_layers(model, lambda: [model(images, (config.task,)) for images in data.some_training_images()])
    interval = _interval(kept, len(data.validating))
    held = trained.shares.held if trained.shares else 0.0
    lowest = interval[0] if interval else None
    found = learning_problems(
        kept.loss if kept else None,
        len(data.classes),
        silent,
        held=held,
        lowest_accuracy=lowest,
        searched=wants_search(config),
        plain_failed=searched is not None and _plain_failed(searched, data),
    )
    if kept is not None and kept.val_accuracy is not None and interval is not None:
        found += generalising_problem(kept.loss, len(data.classes), kept.val_accuracy, interval)
    if trained.strength != math.inf:
        found += head_problem(trained.learned, len(data.validating))
    if searched is not None and trained.strength == 0 and len(new.tasks) > 1:
        found += (
            f"no lambda that was tried and holds anything costs at most {config.max_drop:g} points, so nothing is "
            "protected; allow a larger --max-drop, or give a --lambda",
        )
    return found


def _plain_failed(searched: Searched, data: LearningData) -> bool:
    """Whether a search has seen that plain fine-tuning is no better than guessing."""
    images = len(data.validating)
    lowest, _ = wilson_interval(round(searched.baseline * images / 100), images)
    return lowest <= 100 / len(data.classes)
