"""How to learn: everything about training that is neither data nor model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """`lr` is the rate of shared parameters and `head_lr` that of heads, both times the schedule's factor.

    A head that several tasks use is shared.

    The optimiser is "sgd" or "adamw", the latter with torch's own betas and epsilon; momentum,
    Nesterov and dampening are SGD's. `clip_norm` bounds the norm of the task's gradient over all that
    learns. `train_shared` False learns the head alone; `train_batchnorm` lets batch norm learn its
    running statistics as well. The head's own epochs know neither schedule nor penalty.
    """

    epochs: int
    head_epochs: int
    lr: float
    head_lr: float
    momentum: float
    weight_decay: float
    train_shared: bool = True
    train_batchnorm: bool = False
    optimizer: str = "sgd"
    nesterov: bool = False
    dampening: float = 0.0
    schedule: str = "constant"
    clip_norm: float | None = None
