"""Learns one task: first its head alone, then all shared parameters with the penalty."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mascli.errors import NumericsError, UnsupportedModelError, printable
from mascli.models.heads import MultiHeadModel
from mascli.observer import Observer
from mascli.training.penalty import Penalty

# Batches of an epoch: images [N, C, H, W], ready for the network, and their labels [N].
Batches = Callable[[], Iterable[tuple[Tensor, Tensor]]]


@dataclass(frozen=True)
class Recipe:
    """How to learn: SGD at `lr` for shared parameters and `head_lr` for the head.

    `train_shared` False learns the head alone; `train_batchnorm` lets batch norm learn its running
    statistics as well.
    """

    epochs: int
    head_epochs: int
    lr: float
    head_lr: float
    momentum: float
    weight_decay: float
    train_shared: bool = True
    train_batchnorm: bool = False


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to: mean training loss in nats, validation accuracy in percent if measured."""

    phase: str
    epoch: int
    loss: float
    val_accuracy: float | None


def learn(
    model: MultiHeadModel,
    task: str,
    batches: Batches,
    images: int,
    recipe: Recipe,
    penalty: Penalty | None,
    validate: Callable[[], float] | None,
    observer: Observer,
) -> tuple[tuple[Epoch, ...], int]:
    """Learn `task`, whose head the model already has, and leave the model at its best epoch.

    The best epoch is the one with the highest validation accuracy, the earlier of equal ones; without
    validation it is the last. Old heads are not touched. An order holds in each step: the task's
    gradient, the penalty's, the optimiser, the decoupled penalty.

    Args:
        images: images in an epoch, for the progress shown.
        validate: validation accuracy in percent of the model as it is.

    Returns:
        All epochs, and the number of the best one (0: there was none beyond the head's).

    Raises:
        NumericsError: a loss or a parameter that is not finite.
    """
    shared, head = list(model.shared_parameters().values()), list(model.head(task).parameters())
    history: list[Epoch] = []

    def run(phase: str, number: int, total: int, optimizer: torch.optim.Optimizer, pull: Penalty | None) -> Epoch:
        with observer.progress(f"{phase} epoch {number}/{total}", images) as advance:
            loss = _epoch(model, task, batches(), optimizer, pull, advance)
        if not math.isfinite(loss):
            raise NumericsError(
                f"the loss is not finite in {phase} epoch {number}: nothing was written; try a lower --lr (now "
                f"{recipe.lr:g}) or --head-lr (now {recipe.head_lr:g})"
            )
        epoch = Epoch(phase, number, loss, validate() if validate else None)
        observer.step(_described(epoch, total))
        history.append(epoch)
        return epoch

    def sgd(groups: list[dict[str, object]]) -> torch.optim.SGD:
        return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay)

    with frozen(shared):
        model.eval()
        head_optimizer = sgd([{"params": head, "lr": recipe.head_lr}])
        for number in range(1, recipe.head_epochs + 1):
            run("head", number, recipe.head_epochs, head_optimizer, None)
    best: tuple[Epoch, dict[str, Tensor]] | None = None
    with frozen(shared if not recipe.train_shared else []):
        groups = [{"params": head, "lr": recipe.head_lr}]
        groups += [{"params": shared, "lr": recipe.lr}] if recipe.train_shared else []
        optimizer = sgd(groups)
        for number in range(1, recipe.epochs + 1):
            set_training_mode(model, recipe.train_batchnorm)
            epoch = run("main", number, recipe.epochs, optimizer, penalty)
            if best is None or validate is None or (epoch.val_accuracy or 0) > (best[0].val_accuracy or 0):
                best = (epoch, {name: tensor.clone() for name, tensor in model.state_dict().items()})
    model.eval()
    if best is not None:
        model.load_state_dict(best[1])
    _check_finite(model, recipe)
    return tuple(history), best[0].epoch if best else 0


def set_training_mode(model: nn.Module, train_batchnorm: bool) -> None:
    """Put the model in train mode; what keeps running statistics only if it is to learn new ones.

    Batch norm is the usual one, spectral norm and others have buffers that move in train mode as well.
    """
    model.train()
    for module in model.modules():
        if not train_batchnorm and any(buffer.is_floating_point() for buffer in module.buffers(recurse=False)):
            module.eval()


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


def _epoch(
    model: MultiHeadModel,
    task: str,
    batches: Iterable[tuple[Tensor, Tensor]],
    optimizer: torch.optim.Optimizer,
    penalty: Penalty | None,
    advance: Callable[[int], None],
) -> float:
    total, count = 0.0, 0
    for images, labels in batches:
        loss = F.cross_entropy(_answers(model, images, task), labels)
        optimizer.zero_grad()
        loss.backward()
        if penalty:
            penalty.before_step()
        optimizer.step()
        if penalty:
            penalty.after_step()
        total += float(loss.detach()) * len(labels)
        count += len(labels)
        advance(len(labels))
        if not math.isfinite(total):
            return total
    return total / max(1, count)


def _answers(model: MultiHeadModel, images: Tensor, task: str) -> Tensor:
    try:
        (outputs,) = model(images, (task,))
    except (RuntimeError, ValueError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        count, channels, height, width = images.shape
        reason = printable(str(error).splitlines()[0])
        raise UnsupportedModelError(
            f"the network cannot be trained on {count} images of {height}x{width} pixels and {channels} channels "
            f"({reason}); try another --batch-size, --batchnorm freeze or larger images"
        ) from error
    return cast(Tensor, outputs)


def _check_finite(model: nn.Module, recipe: Recipe) -> None:
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise NumericsError(
                f"{name} is not finite after training: nothing was written; try a lower --lr (now {recipe.lr:g})"
            )


def _described(epoch: Epoch, total: int) -> str:
    accuracy = "" if epoch.val_accuracy is None else f", validation accuracy {epoch.val_accuracy:.2f} %"
    return f"{epoch.phase} epoch {epoch.epoch}/{total}: loss {epoch.loss:.4f}{accuracy}"
