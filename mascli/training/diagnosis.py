"""Notices when a task was not learned, and says what to try."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from mascli.models.heads import MultiHeadModel, evaluating
from mascli.training.history import Learned

# A loss this close to that of guessing, ln(classes), is no learning.
GUESSING = 0.9
# A loss below this share of that of guessing is that of images known by heart.
KNOWN = 0.1


def learning_problems(
    loss: float | None,
    classes: int,
    silent: tuple[str, ...],
    *,
    held: float,
    lowest_accuracy: float | None,
    searched: bool = False,
    plain_failed: bool = False,
) -> tuple[str, ...]:
    """What went wrong while learning a task, one line each, or nothing.

    Args:
        loss: mean cross-entropy of the kept epoch on the task's own images, in nats; nan if nothing was trained.
        classes: number of classes; guessing has a loss of ln(classes).
        silent: layers none of whose units is active on any image looked at.
        held: share of shared parameters that the penalty holds, 0 to 1.
        lowest_accuracy: lower end of the validation accuracy's interval in percent, if it was measured;
            above chance, something was learned.
        searched: whether lambda was found by a search, and is not the user's to lower.
        plain_failed: whether plain fine-tuning did not learn the task either, so that the penalty is not why.
    """
    less = "a smaller --max-drop" if searched else "a lower --lambda"
    advice = f"try {less} or more --epochs" if held > 0.5 and not plain_failed else "try more --epochs or another --lr"
    problems = []
    above_chance = lowest_accuracy is not None and lowest_accuracy > 100 / classes
    if loss is not None and loss >= GUESSING * math.log(classes) and not above_chance:
        guessing = math.log(classes)
        problems.append(
            f"the task was not learned: its training loss is {loss:.3f}, and guessing has {guessing:.3f}; {advice}"
        )
    if silent:
        problems.append(
            f"no unit of {', '.join(silent)} is active on any image: nothing can be learned through it; {advice}"
        )
    return tuple(problems)


def generalising_problem(loss: float, classes: int, accuracy: float, interval: tuple[float, float]) -> tuple[str, ...]:
    """A line where the training images are known by heart and validation images are guessed, or nothing.

    Args:
        loss: mean cross-entropy of the kept epoch on the task's own training images, in nats; nan: none.
        accuracy: validation accuracy in percent, `interval` its 95 % interval.
    """
    chance = 100 / classes
    if math.isnan(loss):
        return ()
    guessed = interval[0] <= chance and accuracy < (100 + chance) / 2
    if not guessed or loss >= KNOWN * math.log(classes):
        return ()
    return (
        f"validation accuracy is that of guessing ({accuracy:.2f} %, chance {chance:.3g} %) although the training loss "
        f"is {loss:.3g}: overfitting (few images), or BatchNorm statistics that do not fit (try --batchnorm freeze)",
    )


def head_problem(learned: Learned, images: int) -> tuple[str, ...]:
    """A line where the head alone was better, by more than one of so many validation images, than what was kept."""
    kept = learned.kept.val_accuracy if learned.kept else None
    heads = [(e.val_accuracy, e.epoch) for e in learned.epochs if e.phase == "head" and e.val_accuracy is not None]
    if kept is None or not heads:
        return ()
    best, epoch = max(heads, key=lambda head: head[0])
    if best <= kept + 100 / images + 1e-6:
        return ()
    return (
        f"head epoch {epoch} was better ({best:.2f} %) than what was kept ({kept:.2f} %): shared parameters learned "
        "too fast; try a lower --lr",
    )


def silent_layers(model: MultiHeadModel, run: Callable[[], Any]) -> tuple[str, ...]:
    """The ReLU layers before the heads whose output is zero wherever `run` passes images through.

    Args:
        run: calls the model on the images to look at.
    """
    active: dict[str, bool] = {}
    before_heads = True

    def start(*_: Any) -> None:
        nonlocal before_heads
        before_heads = True

    def reach_heads(*_: Any) -> None:
        nonlocal before_heads
        before_heads = False

    def watch(path: str) -> Callable[[nn.Module, Any, torch.Tensor], None]:
        def hook(_module: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
            if before_heads:
                active[path] = active.get(path, False) or bool((output > 0).any())

        return hook

    relus = {path: m for path, m in model.network.named_modules() if isinstance(m, nn.ReLU | nn.ReLU6)}
    handles = [relu.register_forward_hook(watch(path)) for path, relu in relus.items()]
    handles += [model.register_forward_pre_hook(start), model.task_heads.register_forward_pre_hook(reach_heads)]
    try:
        with evaluating(model), torch.no_grad():
            run()
    finally:
        for handle in handles:
            handle.remove()
    return tuple(path for path, any_active in active.items() if not any_active)
