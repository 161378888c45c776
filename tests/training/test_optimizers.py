"""Schedules, effective rates, and the state of an optimiser, by their definitions."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from mascli.training.optimizers import (
    effective_rate,
    group_of,
    load_optimizer,
    make_optimizer,
    optimizer_tensors,
    set_rates,
)
from mascli.training.recipe import Recipe
from mascli.training.schedule import rate_factor

RECIPE = Recipe(epochs=4, head_epochs=0, lr=0.1, head_lr=0.5, momentum=0.9, weight_decay=0.0)


def test_schedules_are_functions_of_the_epoch() -> None:
    assert [rate_factor("constant", e, 4) for e in range(1, 5)] == [1, 1, 1, 1]
    assert [rate_factor("step", e, 8) for e in range(1, 9)] == [1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01]
    assert rate_factor("step", 1, 1) == 1
    cosine = [rate_factor("cosine", e, 4) for e in range(1, 5)]
    assert cosine == pytest.approx([1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2])
    with pytest.raises(ValueError, match="linear"):
        rate_factor("linear", 1, 2)


@pytest.mark.parametrize(
    ("momentum", "dampening", "nesterov"),
    [(0.0, 0.0, False), (0.9, 0.0, False), (0.9, 0.0, True), (0.8, 0.25, False)],
)
def test_the_effective_rate_is_what_a_constant_gradient_comes_to(
    momentum: float, dampening: float, nesterov: bool
) -> None:
    theta = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    recipe = replace(RECIPE, momentum=momentum, dampening=dampening, nesterov=nesterov)
    optimizer = make_optimizer(recipe, [], [theta])
    for _ in range(400):
        before = float(theta.detach())
        theta.grad = torch.ones(1, dtype=torch.float64)
        optimizer.step()
    assert before - float(theta.detach()) == pytest.approx(effective_rate(0.1, momentum, dampening), rel=1e-9)


def test_rates_of_both_groups_fall_together() -> None:
    head, shared = torch.nn.Parameter(torch.zeros(1)), torch.nn.Parameter(torch.zeros(1))
    for name in ("sgd", "adamw"):
        optimizer = make_optimizer(replace(RECIPE, optimizer=name), [head], [shared])
        set_rates(optimizer, "step", 3, 4)
        assert group_of(optimizer, head)["lr"] == pytest.approx(0.05)
        assert group_of(optimizer, shared)["lr"] == pytest.approx(0.01)
        set_rates(optimizer, "step", 1, 4)  # not cumulative
        assert group_of(optimizer, shared)["lr"] == 0.1
    with pytest.raises(ValueError, match="does not train"):
        group_of(optimizer, torch.zeros(1))


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_a_stored_optimizer_takes_the_same_next_step(name: str) -> None:
    recipe = replace(RECIPE, optimizer=name)

    def start() -> tuple[list[torch.nn.Parameter], torch.optim.Optimizer]:
        parameters = [torch.nn.Parameter(torch.full((2,), float(n))) for n in range(3)]
        return parameters, make_optimizer(recipe, parameters[:1], parameters[1:])

    def step(parameters: list[torch.nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
        for number, parameter in enumerate(parameters[:2]):  # the last one never has a gradient
            parameter.grad = torch.tensor([0.3, -1.0]) * (number + 1)
        optimizer.step()

    parameters, optimizer = start()
    step(parameters, optimizer)
    stored = {key: tensor.clone() for key, tensor in optimizer_tensors(optimizer).items()}
    assert {key.partition("/")[0] for key in stored} == {"0", "1"}
    again, other = start()
    with torch.no_grad():
        for target, value in zip(again, parameters, strict=True):
            target.copy_(value)
    load_optimizer(other, stored)
    step(parameters, optimizer)
    step(again, other)
    assert all(torch.equal(one, two) for one, two in zip(parameters, again, strict=True))
