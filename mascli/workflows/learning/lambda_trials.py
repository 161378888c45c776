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
    baseline_accuracy,
    chosen_trial,
    describe_resolution,
    describe_unsteady,
    lambda_range,
    next_strength,
)
from mascli.training.optimizers import effective_rate
from mascli.training.penalty import Shares, scaled
from mascli.training.state import copies
from mascli.typed import build
from mascli.workflows.learning.progress import TrainingProgress
from mascli.workflows.learning.task_training import TaskTraining, Trained


@dataclass(frozen=True)
class Searched:
    """The trials in the order they were made, and the accuracy that their drop is counted from."""

    trials: tuple[Trial, ...]
    baseline: float


def search_lambda(
    training: TaskTraining, progress: TrainingProgress, max_drop: float, max_trials: int, observer: Observer
) -> tuple[Trained, Searched]:
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
    resolution = describe_resolution(training.validation_images, max_drop)
    if resolution is not None:
        observer.note(resolution)
    trials = _trials_of(progress)
    for trial in trials:
        observer.note(f"{_described(trial)} (before)")
    if training.recipe.optimizer == "sgd" and "range" not in progress.search:
        progress.search["range"] = _range_for_sgd(training)
    bounds = _range(progress)
    while (strength := next_strength(trials, bounds, max_drop, max_trials)) is not None:
        trained, trial = _tried(training, progress, strength)
        trials.append(trial)
        observer.note(_described(trial))
        if trained is not None and "range" not in progress.search:
            progress.search["range"] = _range_for_adamw(training, trained)
        bounds = _range(progress)
        assert bounds is not None  # plain fine-tuning, which is first, has not failed
        if trained is not None and chosen_trial(trials, bounds, max_drop).strength == strength:
            progress.kept = copies(trained.learner.kept_tensors())
            progress.search["kept"] = _facts(trained)
        progress.search["trials"] = [asdict(trial) for trial in trials]
    assert bounds is not None
    unsteady = describe_unsteady(trials, bounds, max_drop, training.validation_images)
    if unsteady is not None:
        observer.note(unsteady)
    if next_strength(trials, bounds, max_drop, len(trials) + 1) is not None:
        observer.note(f"the search ended with --max-trials {max_trials}: more of them may find a larger lambda")
    return _restored(training, progress), Searched(tuple(trials), baseline_accuracy(trials, bounds))


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


def _range(progress: TrainingProgress) -> LambdaRange | None:
    found = progress.search.get("range")
    return None if found is None else LambdaRange(*found)


def _range_for_sgd(training: TaskTraining) -> tuple[float, float]:
    recipe, omegas = training.recipe, list(training.held.omegas.values())
    eta = effective_rate(recipe.lr, recipe.momentum, recipe.dampening)
    found = lambda_range(omegas, scaled(omegas, 2 * eta) if omegas else [])
    return found.free, found.frozen


def _range_for_adamw(training: TaskTraining, plain: Trained) -> tuple[float, float]:
    """By the steps that plain fine-tuning came to."""
    penalty = training.held.penalty(training.opened, training.recipe, 1.0)
    assert penalty is not None
    penalty.new_epoch(plain.learner.optimizer)
    found = lambda_range(penalty.omegas, penalty.pulls())
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


def _described(trial: Trial) -> str:
    what = f"lambda {trial.strength:g}" if trial.strength else "fine-tuning, lambda 0"
    if trial.drift is None:
        return (
            f"{what}: failed" if math.isnan(trial.accuracy) else f"{what}: validation accuracy {trial.accuracy:.2f} %"
        )
    relative = "" if trial.drift.relative is None else f" ({100 * trial.drift.relative:.3g} % of the old outputs)"
    return f"{what}: validation accuracy {trial.accuracy:.2f} %, predicted drift {trial.drift.linear:.3g}{relative}"
