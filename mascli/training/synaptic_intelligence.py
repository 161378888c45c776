"""Synaptic Intelligence: importance collected while a task is learned, from the path that was taken.

Zenke, Poole, Ganguli: *Continual Learning Through Synaptic Intelligence*, ICML 2017, arXiv 1703.04200.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mascli.training.regularizer import Regularizer


class PathIntegral(Regularizer):
    """How much the way of each parameter has lowered the task's loss (the paper's Eq. 3 and 5).

        ω = − Σ over steps of g · Δθ,      Ω = max(0, ω) / ((θ_end − θ_start)² + ξ)

    g is the gradient of the task's loss alone: of neither distillation, nor the penalty, which comes
    later, nor the clipping. g · Δθ is the change of the loss in a step, whatever
    turned g into that step; a clipped g would tell less than the loss has fallen. Δθ is all of the
    step: momentum, weight decay, and the pull of the penalty. Over all parameters, small steps sum
    to Σ ω = the fall of the loss.

    It has to come first among the regularizers, so that its `after_step` runs once the penalty has pulled.

    Args:
        parameters: what learns, by name.
        start: θ_start, the same parameters before the first step.
        damping: ξ > 0, in units of θ²; it bounds Ω where a parameter has hardly moved.

    Raises:
        ValueError: a damping that is not positive.
    """

    watches_task = True

    def __init__(self, parameters: Mapping[str, Tensor], start: Mapping[str, Tensor], damping: float = 0.1) -> None:
        if not damping > 0:
            raise ValueError(f"the damping must be positive, not {damping}")
        self.parameters, self.damping = dict(parameters), damping
        self.start = {name: start[name].detach().clone() for name in self.parameters}
        self.path = {name: torch.zeros_like(p, requires_grad=False) for name, p in self.parameters.items()}
        self._gradients = {name: torch.zeros_like(path) for name, path in self.path.items()}
        self._before = {name: torch.zeros_like(path) for name, path in self.path.items()}
        self._learning: list[str] | None = None  # None: this step's gradients have not been seen yet

    def after_backward(self) -> None:
        """Remember the gradients as the backward pass left them, and where the parameters are."""
        self._learning = [name for name, parameter in self.parameters.items() if parameter.grad is not None]
        if not self._learning:
            return
        parameters = [self.parameters[name] for name in self._learning]
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        with torch.no_grad():
            torch._foreach_copy_([self._gradients[name] for name in self._learning], gradients)
            torch._foreach_copy_([self._before[name] for name in self._learning], parameters)

    def after_step(self) -> None:
        """Add −g · Δθ of this step. A parameter without a gradient has no part in the loss."""
        assert self._learning is not None, "after_backward comes first"
        if self._learning:
            moved_back = [self._before[name] for name in self._learning]
            with torch.no_grad():
                torch._foreach_sub_(moved_back, [self.parameters[name] for name in self._learning])  # −Δθ
                torch._foreach_addcmul_(
                    [self.path[name] for name in self._learning],
                    moved_back,
                    [self._gradients[name] for name in self._learning],
                )
        self._learning = None

    def omega(self) -> dict[str, Tensor]:
        """Ω >= 0 of the way so far, by parameter, in float32 on the CPU."""
        found = {}
        for name, parameter in self.parameters.items():
            end, start, path = (
                tensor.detach().to("cpu", torch.float64) for tensor in (parameter, self.start[name], self.path[name])
            )
            found[name] = (path.clamp(min=0) / ((end - start).square() + self.damping)).to(torch.float32)
        return found

    def state(self) -> dict[str, Tensor]:
        """The path integral ω so far, by parameter: the tensors in use, to be copied by who keeps them."""
        return dict(self.path)

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` gave; the parameters have to be those of that moment as well."""
        for name, path in self.path.items():
            path.copy_(state[name])
