"""One task that can be learned from the same start as often as is asked, at any lambda."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from mascli.config import TrainTaskConfig, rehearsal_folders
from mascli.observer import Observer
from mascli.training.distillation import Distillation
from mascli.training.drift import Drift
from mascli.training.history import Learned
from mascli.training.loop import Learner
from mascli.training.penalty import Penalty, Shares
from mascli.training.recipe import Recipe
from mascli.training.regularizer import Regularizer
from mascli.training.state import copies, load_random_state, load_tensors, model_tensors, random_state
from mascli.training.synaptic_intelligence import PathIntegral
from mascli.workflows.learning.progress import TrainingProgress
from mascli.workflows.learning.protection import Protection
from mascli.workflows.learning.settings import recipe_for
from mascli.workflows.learning.task_data import LearningData
from mascli.workflows.loading import Opened


@dataclass(frozen=True)
class Trained:
    """What a training at lambda = `strength` came to; the model is left at its best epoch."""

    strength: float | None
    learned: Learned
    shares: Shares | None
    drift: Drift | None
    learner: Learner


class TaskTraining:
    """The task of `config`, whose head `opened.model` already has, untrained.

    Args:
        repeated: whether it is to be learned more than once.
    """

    def __init__(
        self,
        config: TrainTaskConfig,
        opened: Opened,
        recipe: Recipe,
        held: Protection,
        data: LearningData,
        observer: Observer,
        *,
        repeated: bool,
    ) -> None:
        self.config, self.opened, self.recipe, self.held = config, opened, recipe, held
        self._data, self._observer = data, observer
        self._device = next(opened.model.parameters()).device
        self._head_start = copies(opened.model.head_parameters([config.task] if config.heads else []))
        self._start = (copies(model_tensors(opened.model)), random_state(self._device)) if repeated else None

    @property
    def validation_images(self) -> int:
        """The number of images that accuracy is measured on."""
        return len(self._data.validating)

    def learn(self, strength: float | None, progress: TrainingProgress) -> Trained:
        """Learn the task at lambda = `strength` from the start, or from where `progress` has come.

        Raises:
            NumericsError: a loss or a parameter that is not finite.
            UsageError: a lambda that the `loss` form cannot follow.
        """
        learner = self.learner(strength, progress.after_step)
        progress.begin(strength, learner)
        return self.result(strength, learner, learner.learn())

    def learner(self, strength: float | None, after_step: Callable[[Learner], None] = lambda learner: None) -> Learner:
        """What learns the task at lambda = `strength`, at its beginning."""
        if self._start is not None:
            load_tensors(model_tensors(self.opened.model), self._start[0])
            load_random_state(self._start[1], self._device)
        config, model = self.config, self.opened.model
        recipe = recipe_for(strength, self.recipe, own_batchnorm=bool(model.own.names))
        return Learner(
            model,
            self._data.training_batches(config.task, config.augment, config.seed),
            recipe,
            self._regularizers(recipe, strength),
            self._data.validation(model, config.task),
            self._observer,
            after_step,
        )

    def result(self, strength: float | None, learner: Learner, learned: Learned) -> Trained:
        """The result of a learner that has learned."""
        penalty = next((r for r in learner.regularizers if isinstance(r, Penalty)), None)
        shares = self.held.shares(learner.recipe, strength, penalty)
        return Trained(strength, learned, shares, self.held.drift(self.opened), learner)

    def collected_parameters(self) -> dict[str, nn.Parameter]:
        """The parameters whose path is followed: those that learn and are shared, and the new head if asked for."""
        config, model = self.config, self.opened.model
        heads = model.head_parameters([config.task] if config.heads else [])
        return {**model.learning_parameters((config.task, *rehearsal_folders(config.rehearse))), **heads}

    def _regularizers(self, recipe: Recipe, strength: float | None) -> list[Regularizer]:
        """The path integral first, so that it sees the task's gradient and the whole of each step."""
        config, model, found = self.config, self.opened.model, list[Regularizer]()
        if config.collect is not None:
            collected, start = self.collected_parameters(), {**self._head_start, **self.held.start}
            found.append(PathIntegral(collected, start, config.damping))
        if config.distill is not None and strength != math.inf:
            old = model.answering(self.opened.task_names)
            found.append(Distillation(model, old, config.distill, config.temperature))
        penalty = self.held.penalty(self.opened, recipe, strength)
        return [*found, penalty] if penalty is not None else found
