"""Learns one task: first its head alone, then all that learns, with what keeps the old tasks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mascli.errors import NumericsError
from mascli.models.batchnorm import stored_statistics
from mascli.models.heads import MultiHeadModel
from mascli.observer import Observer
from mascli.training.answers import step_outputs
from mascli.training.batches import Batch, Batches
from mascli.training.history import PHASES, Best, Epoch, Learned, Position, Validation, epoch_facts, epoch_of
from mascli.training.optimizers import load_optimizer, make_optimizer, optimizer_tensors, set_rates
from mascli.training.recipe import Recipe
from mascli.training.regularizer import Regularizer
from mascli.training.state import (
    TrainingState,
    copies,
    load_random_state,
    load_tensors,
    model_tensors,
    prefixed,
    random_state,
    within,
)


class Learner:
    """Learns `batches.tasks[0]`, whose head the model already has, and leaves the model at its best epoch.

    The best epoch is the one with the highest validation accuracy, of equal ones that with the lowest
    validation loss; without validation it is the last. Heads of tasks that `batches` does not have are not
    touched. A head that several tasks use learns as the other shared parameters do, and not by itself.

    Args:
        regularizers: what acts around the steps in which shared parameters learn.
        validate: how the model as it is does on validation images.
        after_step: called with this learner after each step, to keep its state.
    """

    def __init__(
        self,
        model: MultiHeadModel,
        batches: Batches,
        recipe: Recipe,
        regularizers: Sequence[Regularizer],
        validate: Callable[[], Validation] | None,
        observer: Observer,
        after_step: Callable[[Learner], None] = lambda learner: None,
    ) -> None:
        self.model, self.batches, self.recipe = model, batches, recipe
        self.regularizers = list(regularizers)
        self._validate, self._observer, self._after_step = validate, observer, after_step
        self._shared = list(model.learning_parameters(batches.tasks).values()) if recipe.train_shared else []
        self._own = list(model.own_parameters().values())
        own_heads = [task for task in batches.tasks if model.head_owner(task) not in model.common_heads]
        self._heads = [parameter for task in own_heads for parameter in model.head(task).parameters()]
        self._new_head = list(model.head(own_heads[0]).parameters()) if batches.tasks[0] in own_heads else []
        self._device = next(model.parameters()).device
        self._position = Position()
        self._history: list[Epoch] = []
        self._best: Best | None = None
        self._at_start = batches.generator.get_state()
        self._optimizer: torch.optim.Optimizer | None = None
        self._resumed: TrainingState | None = None

    def learn(self) -> Learned:
        """Learn from where this learner is, which is the beginning unless a state was loaded.

        Where nothing can learn, since all is shared and held, there are no epochs; the model is validated once.

        Raises:
            NumericsError: a loss or a parameter that is not finite.
        """
        if not (self._heads or self._own or self._shared or self.recipe.train_batchnorm):
            self.model.eval()
            return Learned((Epoch("main", 0, math.nan, self._validate() if self._validate else None),), 0)
        for phase in PHASES[PHASES.index(self._position.phase) :]:
            self._phase(phase)
        self.model.eval()
        if self._best is not None:
            self.load_kept(self._best.tensors)
        _check_finite(self.model, self.recipe)
        last = next((epoch.epoch for epoch in reversed(self._history) if epoch.phase == "main"), 0)
        return Learned(tuple(self._history), self._best.epoch.epoch if self._best else last)

    def state(self) -> TrainingState:
        """Where this learner is, within `after_step`: load it into another one to go on."""
        tensors = prefixed("now/", self.kept_tensors())
        tensors |= prefixed("optimizer/", optimizer_tensors(self.optimizer))
        tensors |= prefixed("random/", random_state(self._device))
        tensors |= {"order/start": self._at_start, "order/now": self.batches.generator.get_state()}
        if self._best is not None:
            tensors |= prefixed("best/", self._best.tensors)
        at = self._position
        return TrainingState(
            tensors,
            {
                "position": [at.phase, at.epoch, at.batch, at.loss.hex(), at.images, at.own_images],
                "epochs": [epoch_facts(epoch) for epoch in self._history],
                "best": epoch_facts(self._best.epoch) if self._best else None,
            },
        )

    def load_state(self, state: TrainingState) -> None:
        """Go on where `state` was taken: with the same model, images, recipe and regularizers.

        Raises:
            KeyError, TypeError, ValueError, RuntimeError: it is not a state of such a training.
        """
        phase, epoch, batch, loss, images, own = state.facts["position"]
        self._position = Position(phase, int(epoch), int(batch), float.fromhex(loss), int(images), int(own))
        PHASES.index(phase)
        self._history = [epoch_of(facts) for facts in state.facts["epochs"]]
        self.load_kept(within(state.tensors, "now/"))
        self._best = None
        if state.facts["best"] is not None:
            self._best = Best(epoch_of(state.facts["best"]), within(state.tensors, "best/"))
        self._at_start = state.tensors["order/start"]
        self._resumed = state

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The optimiser of the phase that this learner is in, or was in last."""
        assert self._optimizer is not None, "learn comes first"
        return self._optimizer

    @property
    def position(self) -> Position:
        """The place that this learner is at."""
        return self._position

    def kept_tensors(self) -> dict[str, Tensor]:
        """The model and what the regularizers know, as the best epoch and a resumed run need them."""
        tensors = prefixed("model/", model_tensors(self.model))
        for number, regularizer in enumerate(self.regularizers):
            tensors |= prefixed(f"regularizer/{number}/", regularizer.state())
        return tensors

    def load_kept(self, tensors: Mapping[str, Tensor]) -> None:
        """Put the model and the regularizers where `kept_tensors` was taken."""
        load_tensors(model_tensors(self.model), within(tensors, "model/"))
        for number, regularizer in enumerate(self.regularizers):
            regularizer.load_state(within(tensors, f"regularizer/{number}/"))

    def _phase(self, phase: str) -> None:
        head_only = phase == "head"
        total = self.recipe.head_epochs if head_only else self.recipe.epochs
        if self._position.phase != phase:
            self._position = Position(phase)
        heads = self._new_head if head_only else self._heads
        shared = [] if head_only else [*self._own, *self._shared]
        learning = {id(parameter) for parameter in (*heads, *shared)}
        with frozen([p for p in self.model.parameters() if id(p) not in learning]):
            self._optimizer = make_optimizer(self.recipe, heads, shared)
            while self._position.epoch <= total:
                self._epoch(phase, total, self._optimizer, [*heads, *shared])
                self._position = Position(phase, self._position.epoch + 1)

    def _epoch(self, phase: str, total: int, optimizer: torch.optim.Optimizer, learning: list[nn.Parameter]) -> None:
        number, regularizers = self._position.epoch, self.regularizers if phase == "main" else []
        if phase == "main":
            set_training_mode(self.model, self.recipe.train_batchnorm)
            set_rates(optimizer, self.recipe.schedule, number, total)
        else:
            self.model.eval()
        batches = self._go_on(optimizer)
        for regularizer in regularizers:
            regularizer.new_epoch(optimizer)
        with self._observer.progress(f"{phase} epoch {number}/{total}", self.batches.images) as advance:
            advance(self._position.images)
            for batch in batches if phase == "main" else _of_the_new_task(batches):
                count, own = len(batch.labels), batch.new_images
                loss = self._step(batch, optimizer, learning, regularizers) if count else 0.0
                at = self._position
                seen = replace(at, batch=at.batch + 1, images=at.images + count)
                self._position = replace(seen, loss=at.loss + loss * own, own_images=at.own_images + own)
                advance(count)
                if not math.isfinite(self._position.loss):
                    break
                self._after_step(self)
        self._end_of_epoch(phase, number, total)

    def _go_on(self, optimizer: torch.optim.Optimizer) -> Iterator[Batch]:
        """The batches of this epoch, or what is left of it after a state was loaded."""
        generator, state = self.batches.generator, self._resumed
        if state is None:
            self._at_start = generator.get_state()
            return self.batches.epoch()
        self._resumed = None
        load_optimizer(optimizer, within(state.tensors, "optimizer/"))
        load_random_state(within(state.tensors, "random/"), self._device)
        generator.set_state(self._at_start)
        return self.batches.epoch(self._position.batch, state.tensors["order/now"])

    def _step(
        self,
        batch: Batch,
        optimizer: torch.optim.Optimizer,
        learning: list[nn.Parameter],
        regularizers: list[Regularizer],
    ) -> float:
        """One step; returns the mean loss of the new task, nan where that of all tasks is not finite."""
        kept = dict.fromkeys(task for regularizer in regularizers for task in regularizer.tasks)
        outputs = step_outputs(self.model, batch, self.batches.tasks, kept)
        loss = tasks_loss(outputs, self.batches.tasks, batch)
        optimizer.zero_grad()
        _backward(loss, list(_added_losses(outputs, batch, regularizers)), regularizers)
        if self.recipe.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(learning, self.recipe.clip_norm)
        for regularizer in regularizers:
            regularizer.before_step()
        optimizer.step()
        for regularizer in reversed(regularizers):
            regularizer.after_step()
        if batch.owners is None:
            return float(loss.detach())
        if not loss.isfinite():
            return math.nan
        if not batch.new_images:
            return 0.0
        own = batch.owners == 0
        logits = outputs[self.batches.tasks[0]].detach()[own]
        return float(F.cross_entropy(logits, batch.labels[own]))

    def _end_of_epoch(self, phase: str, number: int, total: int) -> None:
        mean = self._position.loss / max(1, self._position.own_images)
        if not math.isfinite(mean):
            raise NumericsError(
                f"the loss is not finite in {phase} epoch {number}: nothing was written; try a lower --lr (now "
                f"{self.recipe.lr:g}) or --head-lr (now {self.recipe.head_lr:g})"
                + (", or less --distill" if any(regularizer.tasks for regularizer in self.regularizers) else "")
            )
        epoch = Epoch(phase, number, mean, self._validate() if self._validate else None)
        self._observer.step(_described(epoch, total))
        self._history.append(epoch)
        if phase == "main" and epoch.validation and (self._best is None or epoch.better_than(self._best.epoch)):
            self._best = Best(epoch, copies(self.kept_tensors()))


def _of_the_new_task(batches: Iterable[Batch]) -> Iterator[Batch]:
    """The new task's images of each batch, which may be none: its head alone learns, and from no others."""
    for batch in batches:
        own = slice(None) if batch.owners is None else batch.owners == 0
        yield Batch(batch.images[own], batch.labels[own])


def tasks_loss(outputs: Mapping[str, Tensor], tasks: Sequence[str], batch: Batch) -> Tensor:
    """The mean cross-entropy in nats over all images of a batch, each by the head of its own task."""
    if batch.owners is None:
        return F.cross_entropy(outputs[tasks[0]], batch.labels)
    parts = []
    for number, task in enumerate(tasks):
        own = batch.owners == number
        if own.any():
            parts.append(F.cross_entropy(outputs[task][own], batch.labels[own], reduction="sum"))
    return torch.stack(parts).sum() / len(batch.labels)


def set_training_mode(model: nn.Module, train_batchnorm: bool) -> None:
    """Put the model in train mode; what keeps running statistics only if it is to learn new ones.

    Batch norm is the usual one, spectral norm and others have buffers that move in train mode as well.
    """
    model.train()
    for module in model.modules():
        if not train_batchnorm and stored_statistics(module):
            module.training = False  # not what is inside of it, as dropout in a block that stores a number


@contextmanager
def frozen(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Keep these parameters from getting gradients inside this context."""
    wanted = [parameter.requires_grad for parameter in parameters]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter, before in zip(parameters, wanted, strict=True):
            parameter.requires_grad_(before)


def _backward(loss: Tensor, added: Sequence[Tensor], regularizers: Sequence[Regularizer]) -> None:
    """The backward pass of all losses, or first that of the task's alone where a regularizer looks at its gradient."""
    watched = bool(added) and any(regularizer.watches_task for regularizer in regularizers)
    total = loss if watched else sum(added, loss)
    if total.requires_grad:  # else nothing learns from these images
        total.backward(retain_graph=watched)
    for regularizer in regularizers:
        regularizer.after_backward()
    rest = sum(added[1:], added[0]) if watched else None
    if rest is not None and rest.requires_grad:
        rest.backward()


def _added_losses(outputs: Mapping[str, Tensor], batch: Batch, regularizers: Iterable[Regularizer]) -> Iterator[Tensor]:
    """What regularizers add for the images of the new task."""
    new = slice(None) if batch.owners is None else batch.owners == 0
    images = batch.images[new]
    for regularizer in regularizers if len(images) else ():
        added = regularizer.loss(images, {task: outputs[task][new] for task in regularizer.tasks})
        if added is not None:
            yield added


def _check_finite(model: nn.Module, recipe: Recipe) -> None:
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise NumericsError(
                f"{name} is not finite after training: nothing was written; try a lower --lr (now {recipe.lr:g})"
            )


def _described(epoch: Epoch, total: int) -> str:
    accuracy = "" if epoch.val_accuracy is None else f", validation accuracy {epoch.val_accuracy:.2f} %"
    return f"{epoch.phase} epoch {epoch.epoch}/{total}: loss {epoch.loss:.4f}{accuracy}"
