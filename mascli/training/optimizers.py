"""The optimisers, and the step that a constant gradient comes to under each of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mascli.training.recipe import Recipe
from mascli.training.schedule import rate_factor


def make_optimizer(
    recipe: Recipe, head: Iterable[nn.Parameter], shared: Iterable[nn.Parameter]
) -> torch.optim.Optimizer:
    """The optimiser of `recipe` for the parameters of heads and shared ones, either of which may be none."""
    groups: list[dict[str, Any]] = [
        {"params": list(parameters), "lr": rate, "initial_lr": rate}
        for parameters, rate in ((head, recipe.head_lr), (shared, recipe.lr))
    ]
    groups = [group for group in groups if group["params"]] or groups[:1]  # torch wants one, if only of nothing
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, weight_decay=recipe.weight_decay, foreach=True)
    return torch.optim.SGD(
        groups,
        lr=recipe.lr,
        momentum=recipe.momentum,
        dampening=recipe.dampening,
        nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
    )


def set_rates(optimizer: torch.optim.Optimizer, schedule: str, epoch: int, epochs: int) -> None:
    """Give every group the rate it starts with times the factor of the schedule."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * rate_factor(schedule, epoch, epochs)


def effective_rate(lr: float, momentum: float, dampening: float = 0.0) -> float:
    """The step eta = lr (1 - dampening) / (1 - momentum) that a constant gradient of 1 comes to under SGD.

    The same with Nesterov's momentum. Without momentum there is no dampening either: eta = lr.
    """
    return lr * (1 - dampening) / (1 - momentum) if momentum else lr


def group_of(optimizer: torch.optim.Optimizer, parameter: Tensor) -> dict[str, Any]:
    """The group of parameters that `parameter` belongs to.

    Raises:
        ValueError: it does not learn.
    """
    for group in optimizer.param_groups:
        if any(member is parameter for member in group["params"]):
            return group
    raise ValueError("the optimizer does not train this parameter")


def adaptive_divisors(
    optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor], shifts: list[Tensor]
) -> list[Tensor]:
    """sqrt(v) + shift for AdamW, v being the bias-corrected mean of squared gradients of each parameter.

    With epsilon as the shift, the step of a constant gradient of 1 is lr divided by it. All parameters
    need a state: they had a gradient before.
    """
    states = [optimizer.state[parameter] for parameter in parameters]
    decay = group_of(optimizer, parameters[0])["betas"][1]
    corrections = [1 / (1 - decay ** float(state["step"])) ** 0.5 for state in states]
    roots = torch._foreach_sqrt([state["exp_avg_sq"] for state in states])
    if len(set(corrections)) > 1:  # some had their first gradient later
        torch._foreach_mul_(roots, corrections)
        return list(torch._foreach_add(shifts, roots))
    return list(torch._foreach_add(shifts, roots, alpha=corrections[0]))


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state, by NUMBER/NAME of each parameter in the order of its groups."""
    stored = optimizer.state_dict()["state"]
    return {
        f"{number}/{name}": value
        for number, state in stored.items()
        for name, value in state.items()
        if isinstance(value, Tensor)
    }


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Go on from what `optimizer_tensors` gave."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, _, name = key.partition("/")
        state.setdefault(int(number), {})[name] = value.clone()
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
