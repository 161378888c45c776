"""`--lambda auto`: learns the task at one lambda after another, and leaves the model at the one chosen."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from mascli.errors import CheckpointError, NumericsError, UnstableError, UsageError
from mascli.observer import Observer
from mascli.training.history import Learned, epoch_facts, epoch_of
from mascli.training.lambda_search import (
    LambdaRange,
    Trial,
    chosen_trial,
    describe_baseline,
    describe_resolution,
    lambda_range,
    next_strength,
)
from mascli.training.optimizers import effective_rate
from mascli.training.penalty import Shares
from mascli.training.state import copies
from mascli.typed import build
from mascli.workflows.learning.progress import TrainingProgress
from mascli.workflows.learning.task_training import TaskTraining, Trained


@dataclass(frozen=True)
class Searched:
    """The trials in the order they were made, and what the chosen one came to."""

    trials: tuple[Trial, ...]
    chosen: Trained


def search_lambda(
    training: TaskTraining, progress: TrainingProgress, max_drop: float, max_trials: int, observer: Observer
) -> Searched:
    """Find the largest lambda that costs the new task at most `max_drop` points of accuracy.

    Every trial is a whole training from the same start with the same seeds, so that the chosen one's
    model is the one that this lambda alone would have led to.

    Raises:
        NumericsError: plain fine-tuning diverges.
        UsageError: the importance is zero everywhere, or no class has an image to spare for validation.
    """
    if not training.validation_images:
        raise UsageError(
            "--lambda auto measures accuracy on validation images, and no class has enough images to hold one back: "
            "give --val FOLDER, or a number as --lambda"
        )
    resolution = describe_resolution(training.validation_images)
    if resolution is not None:
        observer.note(resolution)
    trials = _trials_of(progress)
    trains_head = training.config.head_of is None
    for trial in trials:
        observer.note(f"{_described(trial, trains_head)} (before)")
    if training.recipe.optimizer == "sgd" and "range" not in progress.search:
        progress.search["range"] = _range_for_sgd(training)
    while True:
        bounds = LambdaRange(*progress.search.get("range", (1.0, 1.0)))  # not looked at before the first two
        strength = next_strength(trials, bounds, max_drop, max_trials)
        if strength is None:
            break
        trained, trial = _tried(training, progress, strength)
        trials.append(trial)
        observer.note(_described(trial, trains_head))
        if trained is not None and "range" not in progress.search:
            progress.search["range"] = _range_for_adamw(training, trained)
        if trained is not None and chosen_trial(trials, max_drop).strength == strength:
            progress.kept = copies(trained.learner.kept_tensors())
            progress.search["kept"] = _facts(trained)
        progress.search["trials"] = [asdict(trial) for trial in trials]
    unsteady = describe_baseline(trials, max_drop)
    if unsteady is not None:
        observer.note(unsteady)
    return Searched(tuple(trials), _restored(training, progress))


def _tried(training: TaskTraining, progress: TrainingProgress, strength: float) -> tuple[Trained | None, Trial]:
    """One training; one that diverges, or that the penalty's form cannot follow, has no accuracy."""
    try:
        trained = training.learn(strength, progress)
    except (NumericsError, UnstableError):
        if strength == 0:
            raise
        return None, Trial(strength, math.nan, None)
    kept = trained.learned.kept
    assert kept is not None and kept.val_accuracy is not None  # there are validation images
    return trained, Trial(strength, kept.val_accuracy, trained.drift)


def _range_for_sgd(training: TaskTraining) -> tuple[float, float]:
    recipe = training.recipe
    eta = effective_rate(recipe.lr, recipe.momentum, recipe.dampening)
    found = lambda_range(list(training.held.omegas.values()), eta)
    return found.free, found.frozen


def _range_for_adamw(training: TaskTraining, plain: Trained) -> tuple[float, float]:
    """By the steps that plain fine-tuning came to: x = 2 eta Omega, element by element, at lambda 1."""
    penalty = training.held.penalty(training.opened, training.recipe, 1.0)
    assert penalty is not None
    penalty.new_epoch(plain.learner.optimizer)
    found = lambda_range(penalty.pulls(), 0.5)
    return found.free, found.frozen


def _facts(trained: Trained) -> dict[str, Any]:
    learned = trained.learned
    return {
        "strength": trained.strength,
        "epochs": [epoch_facts(epoch) for epoch in learned.epochs],
        "best_epoch": learned.best_epoch,
        "shares": None if trained.shares is None else asdict(trained.shares),
    }


def _restored(training: TaskTraining, progress: TrainingProgress) -> Trained:
    """The chosen trial, with the model as it left it."""
    facts = progress.search["kept"]
    learned = Learned(tuple(epoch_of(epoch) for epoch in facts["epochs"]), facts["best_epoch"])
    learner = training.learner(facts["strength"])
    learner.load_kept(progress.kept)
    shares = None if facts["shares"] is None else Shares(**facts["shares"])
    return Trained(facts["strength"], learned, shares, training.held.drift(training.opened), learner)


def _trials_of(progress: TrainingProgress) -> list[Trial]:
    """The trials made before the training was stopped.

    Raises:
        CheckpointError: they are not what was written.
    """
    problems: list[str] = []
    found = [build(Trial, facts, "trial", problems) for facts in progress.search.get("trials", [])]
    if problems:
        raise CheckpointError(f"the trials of the unfinished training are damaged: {problems[0]}")
    return [trial for trial in found if trial is not None]


def _described(trial: Trial, trains_head: bool) -> str:
    infinite = "head alone" if trains_head else "nothing shared trained"
    what = {0: "fine-tuning, lambda 0", math.inf: f"{infinite}, lambda inf"}.get(trial.strength)
    what = what or f"lambda {trial.strength:g}"
    if trial.drift is None:
        return (
            f"{what}: failed" if math.isnan(trial.accuracy) else f"{what}: validation accuracy {trial.accuracy:.2f} %"
        )
    relative = "" if trial.drift.relative is None else f" ({100 * trial.drift.relative:.3g} % of the old outputs)"
    return f"{what}: validation accuracy {trial.accuracy:.2f} %, predicted drift {trial.drift.linear:.3g}{relative}"
