"""What a method does around each training step, beside the task's own loss."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class Regularizer:
    """A method of keeping what is known, or of watching how it changes; the base class does nothing.

    In a step: the loss with what `loss` adds, the backward pass, `after_backward` of all in order,
    clipping, `before_step` of all in order, the optimiser, `after_step` of all in reverse order.
    `tasks` names the heads whose outputs `loss` is handed. Where one `watches_task`, `after_backward`
    comes after the backward pass of the task's loss alone, and what others add follows in a second one.
    """

    tasks: tuple[str, ...] = ()
    watches_task: bool = False

    def new_epoch(self, optimizer: torch.optim.Optimizer) -> None:
        """Prepare for an epoch, or for what is left of it; the learning rates of `optimizer` may have changed."""

    def loss(self, images: Tensor, outputs: Mapping[str, Tensor] | None = None) -> Tensor | None:
        """What is added to the task's loss for the new task's images [N, C, H, W]; None: nothing.

        Args:
            outputs: the outputs [N, classes] of the heads of `tasks` for these images.
        """
        return None

    def after_backward(self) -> None:
        """Look at the gradients as the backward pass left them."""

    def before_step(self) -> None:
        """Act on the gradients, after clipping and before the optimiser's step."""

    def after_step(self) -> None:
        """Act on the parameters, after the optimiser's step."""

    def state(self) -> dict[str, Tensor]:
        """Everything that the next step depends on, by name, for a resumed run and for the best epoch."""
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` gave."""
