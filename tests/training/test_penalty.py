"""Both forms of the penalty, judged by closed forms."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from mascli.errors import UsageError
from mascli.training.optimizers import effective_rate, make_optimizer, set_rates
from mascli.training.penalty import Penalty, largest_stable, make_penalty, shares
from mascli.training.recipe import Recipe

Matrix = NDArray[np.float64]
SGD = Recipe(epochs=1, head_epochs=0, lr=0.1, head_lr=0.1, momentum=0.9, weight_decay=0.0)
floats = st.floats(1e-6, 1e3)


def decoupled(theta: Tensor, anchor: Tensor, omega: Tensor, strength: float, eta: float) -> Tensor:
    theta = torch.nn.Parameter(theta.clone())
    recipe = replace(SGD, lr=eta, momentum=0.0)
    penalty = make_penalty("decoupled", recipe, [theta], [anchor], [omega], strength)
    penalty.new_epoch(make_optimizer(recipe, [], [theta]))
    penalty.after_step()
    return theta.detach()


@settings(deadline=None)
@given(theta=st.floats(-5, 5), anchor=st.floats(-5, 5), omega=floats, strength=floats, eta=st.floats(1e-4, 1))
def test_a_decoupled_step_minimises_distance_plus_penalty(
    theta: float, anchor: float, omega: float, strength: float, eta: float
) -> None:
    """It is the exact minimiser t of (t - theta)^2 / (2 eta) + lambda Omega (t - anchor)^2."""
    one = torch.tensor([1.0], dtype=torch.float64)
    given_value = float(decoupled(theta * one, anchor * one, omega * one, strength, eta))
    expected = (theta / (2 * eta) + strength * omega * anchor) / (1 / (2 * eta) + strength * omega)
    assert given_value == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_pull_is_exact_at_both_ends_and_finite_at_any_strength(optimizer: str) -> None:
    start, anchor = torch.tensor([0.1, 0.3, -7.7]), torch.tensor([0.7, 1e-30, 3.3])

    def step(omega: Tensor, strength: float) -> Tensor:
        theta = torch.nn.Parameter(start.clone())
        recipe = replace(SGD, optimizer=optimizer)
        torch_optimizer = make_optimizer(recipe, [], [theta])
        theta.grad = torch.tensor([1.0, -1e-3, 0.0])
        torch_optimizer.step()
        penalty = make_penalty("decoupled", recipe, [theta], [anchor], [omega], strength)
        penalty.new_epoch(torch_optimizer)
        penalty.after_step()
        return theta.detach()

    plain = step(torch.zeros(3), 0.0)
    assert torch.equal(step(torch.zeros(3), 1e12), plain)
    for omega, strength in ((3e38, 1e38), (1e30, 1e300), (3e38, 1.0)):
        assert torch.equal(step(torch.full((3,), omega), strength), anchor)
    for exponent in range(-6, 13):
        assert step(torch.tensor([0.0, 1.0, 1e20]), 10.0**exponent).isfinite().all()


def optimizer_matrix(hessian: Matrix, recipe: Recipe) -> Matrix:
    """(velocity, theta) -> the same after a step of SGD on 1/2 theta^T H theta, as torch defines it."""
    one, m, lr, d = np.eye(len(hessian)), recipe.momentum, recipe.lr, recipe.dampening if recipe.momentum else 0.0
    velocity = np.hstack([m * one, (1 - d) * hessian])
    step = m * velocity + np.hstack([0 * one, hessian]) if recipe.nesterov else velocity
    return np.vstack([velocity, np.hstack([0 * one, one]) - lr * step])


def radius(matrix: Matrix) -> float:
    return float(max(abs(np.linalg.eigvals(matrix))))


@st.composite
def sgd_recipes(draw: st.DrawFn) -> Recipe:
    kind = draw(st.sampled_from(["plain", "momentum", "nesterov", "dampening"]))
    momentum = 0.0 if kind == "plain" else draw(st.floats(0.05, 0.98))
    dampening = draw(st.floats(0.05, 0.95)) if kind == "dampening" else 0.0
    return replace(SGD, momentum=momentum, nesterov=kind == "nesterov", dampening=dampening)


@settings(max_examples=200, deadline=None)
@given(data=st.data(), recipe=sgd_recipes())
def test_the_decoupled_step_is_stable_wherever_plain_sgd_is(data: st.DataObject, recipe: Recipe) -> None:
    """On quadratics 1/2 theta^T H theta, H positive semi-definite, with the anchor at 0: diag(1 - w) on theta.

    Where H has directions without curvature, plain SGD has the eigenvalue 1 there; elsewhere it is below.
    """
    size, rank = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 5))
    generator = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    root = generator.normal(size=(size, min(size, rank)))
    hessian = root @ root.T
    limit = largest_stable(recipe) * recipe.lr / float(np.linalg.eigvalsh(hessian)[-1])
    recipe = replace(recipe, lr=data.draw(st.floats(0.01, 0.99)) * limit)
    plain = optimizer_matrix(hessian, recipe)
    assert radius(plain) < 1 + 1e-7
    strength = 10.0 ** data.draw(st.integers(-6, 12))
    x = 2 * effective_rate(recipe.lr, recipe.momentum, recipe.dampening) * strength * generator.exponential(size=size)
    pull = np.diag(np.concatenate([np.ones(size), 1 / (1 + x)]))
    if radius(plain) < 1:
        assert radius(pull @ plain) < 1
    assert radius(pull @ plain) < 1 + 1e-7
    loss_form = optimizer_matrix(hessian + np.diag(2 * strength * np.ones(size)), recipe)  # negative control
    if 2 * strength > largest_stable(recipe):
        assert radius(loss_form) > 1


@settings(deadline=None)
@given(recipe=sgd_recipes(), lr=st.floats(1e-4, 1))
def test_the_loss_form_is_stable_just_below_the_curvature_named(recipe: Recipe, lr: float) -> None:
    recipe = replace(recipe, lr=lr)
    limit = largest_stable(recipe)
    for factor, stable in ((0.999, True), (1.001, False)):
        assert (radius(optimizer_matrix(np.array([[limit * factor]]), recipe)) < 1) is stable


@pytest.mark.parametrize(
    "changes", [{}, {"nesterov": True}, {"dampening": 0.5}, {"momentum": 0.0}], ids=lambda changes: str(changes)
)
def test_the_matrices_of_these_tests_are_what_torch_does(changes: dict[str, Any]) -> None:
    recipe, generator = replace(SGD, **changes), np.random.default_rng(0)
    root = generator.normal(size=(3, 3))
    hessian = root @ root.T / 10
    theta = torch.nn.Parameter(torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64))
    optimizer = make_optimizer(recipe, [], [theta])
    optimizer.state[theta]["momentum_buffer"] = torch.zeros(3, dtype=torch.float64)  # the first step is special
    expected = np.concatenate([np.zeros(3), theta.detach().numpy()])
    for _ in range(5):
        theta.grad = torch.from_numpy(hessian @ theta.detach().numpy())
        optimizer.step()
        expected = optimizer_matrix(hessian, recipe) @ expected
    np.testing.assert_allclose(theta.detach().numpy(), expected[3:], rtol=1e-12)


def steps(penalty: Penalty, optimizer: torch.optim.Optimizer, theta: Tensor, h: Tensor, c: Tensor) -> Iterator[None]:
    """Steps on 1/2 h (theta - c)^2 with a penalty."""
    penalty.new_epoch(optimizer)
    while True:
        optimizer.zero_grad()
        theta.grad = h * (theta.detach() - c)
        penalty.before_step()
        optimizer.step()
        penalty.after_step()
        yield


@pytest.mark.parametrize("form", ["loss", "decoupled"])
@pytest.mark.parametrize(
    "changes",
    [{"momentum": 0.0}, {}, {"nesterov": True}, {"dampening": 0.6}, {"optimizer": "adamw", "momentum": 0.0}],
    ids=["sgd", "momentum", "nesterov", "dampening", "adamw"],
)
def test_both_forms_come_to_rest_at_the_minimiser_of_loss_plus_penalty(form: str, changes: dict[str, Any]) -> None:
    """For loss 1/2 h (theta - c)^2: the minimiser is (h c + 2 lambda Omega anchor) / (h + 2 lambda Omega)."""
    h, c = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64), torch.tensor([3.0, -1.0, 2.0], dtype=torch.float64)
    anchor, omega = torch.tensor([0.5, 0.5, -2.0], dtype=torch.float64), torch.tensor([0.3, 0.0, 2.0]).double()
    recipe, strength = replace(SGD, lr=0.02, **changes), 2.0
    theta = torch.nn.Parameter(anchor.clone())
    optimizer = make_optimizer(recipe, [], [theta])
    penalty = make_penalty(form, recipe, [theta], [anchor], [omega], strength)
    walk = steps(penalty, optimizer, theta, h, c)
    for _ in range(3000):
        next(walk)
    expected = (h * c + 2 * strength * omega * anchor) / (h + 2 * strength * omega)
    # AdamW's mean of squared gradients falls to nothing at the minimum of the loss form, and its steps do not
    if recipe.optimizer == "adamw":
        torch.testing.assert_close(theta.detach(), expected, rtol=0, atol=0.05)
    else:
        torch.testing.assert_close(theta.detach(), expected, rtol=0, atol=1e-9)


def test_the_decoupled_pull_of_adamw_balances_its_step_element_by_element() -> None:
    """Under a constant gradient, it rests at anchor - g / (2 lambda Omega); at eta = lr it would not."""
    gradient = torch.tensor([3.0, -0.01, 20.0], dtype=torch.float64)
    anchor, omega = torch.tensor([0.5, 0.5, -2.0], dtype=torch.float64), torch.tensor([0.3, 1e-2, 2.0]).double()
    theta = torch.nn.Parameter(anchor.clone())
    recipe, strength = replace(SGD, optimizer="adamw", lr=0.05), 2.0
    optimizer = make_optimizer(recipe, [], [theta])
    penalty = make_penalty("decoupled", recipe, [theta], [anchor], [omega], strength)
    penalty.new_epoch(optimizer)
    for _ in range(4000):
        theta.grad = gradient.clone()
        optimizer.step()
        penalty.after_step()
    rest = anchor - gradient / (2 * strength * omega)
    torch.testing.assert_close(theta.detach(), rest, rtol=1e-6, atol=0)
    (pull,) = penalty.pulls()
    eta = recipe.lr / (gradient.abs() + 1e-8)
    torch.testing.assert_close(pull, 2 * eta * strength * omega, rtol=1e-9, atol=0)


def test_the_pull_follows_the_schedule() -> None:
    theta = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
    recipe = replace(SGD, schedule="step", momentum=0.0)
    optimizer = make_optimizer(recipe, [], [theta])
    penalty = make_penalty("decoupled", recipe, [theta], [torch.zeros(1).double()], [torch.ones(1).double()], 2.0)
    for epoch in (1, 3, 4):
        set_rates(optimizer, "step", epoch, 4)
        penalty.new_epoch(optimizer)
        with torch.no_grad():
            theta.fill_(1)
        penalty.after_step()
        x = 2 * 0.1 * {1: 1.0, 3: 0.1, 4: 0.01}[epoch] * 2.0
        assert float(theta.detach()) == pytest.approx(1 / (1 + x), rel=1e-12)


@pytest.mark.parametrize(
    ("changes", "limit"),
    [({}, 2 * 1.9 / 0.1), ({"nesterov": True}, 2 * 1.9 / 2.8 / 0.1), ({"dampening": 0.5}, 2 * 1.9 / 0.5 / 0.1)],
)
def test_the_loss_form_is_refused_just_where_it_diverges(changes: dict[str, Any], limit: float) -> None:
    recipe, omega = replace(SGD, **changes), torch.tensor([0.5, 4.0])
    assert largest_stable(recipe) == pytest.approx(limit)
    strength = limit / (2 * 4.0)
    zeros = torch.zeros(2)
    with pytest.raises(UsageError, match=f"stable below {strength:.3g}".replace(".", r"\.")):
        make_penalty("loss", recipe, [zeros], [zeros], [omega], strength * (1 + 1e-6))
    make_penalty("loss", recipe, [zeros], [zeros], [omega], strength * (1 - 1e-6))
    make_penalty("loss", replace(recipe, optimizer="adamw"), [zeros], [zeros], [omega], 1e12)
    for factor, grows in ((0.99, False), (1.01, True)):
        theta = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
        optimizer = make_optimizer(recipe, [], [theta])
        for _ in range(2000):
            theta.grad = 2 * strength * factor * 4.0 * theta.detach()
            optimizer.step()
        assert (float(theta.detach().abs()) > 1) is grows


def test_parameters_without_a_gradient_are_left_alone_by_the_loss_form() -> None:
    moving, still = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    moving.grad = torch.zeros(2)
    zeros = [torch.zeros(2), torch.zeros(2)]
    make_penalty("loss", SGD, [still, moving], zeros, [torch.ones(2), torch.ones(2)], 0.5).before_step()
    assert still.grad is None and torch.equal(moving.grad, torch.ones(2))


def test_shares_count_parameters_by_the_strength_of_their_pull() -> None:
    pulls = [torch.tensor([0.0, 0.004, 0.02]), torch.tensor([[0.9, 1.1]])]
    got = shares(pulls)
    assert (got.free, got.slowed, got.held) == pytest.approx((0.4, 0.4, 0.2))
    got = shares(pulls, unpulled=5)
    assert (got.free, got.slowed, got.held) == pytest.approx((0.7, 0.2, 0.1))
    assert shares([]).free == 0.0 and math.isfinite(shares([]).held)


def test_the_loss_form_refuses_a_lambda_whose_squares_adamw_cannot_hold() -> None:
    recipe, zeros, omega = replace(SGD, optimizer="adamw", momentum=0.0), torch.zeros(2), torch.tensor([1.0, 5.0])
    make_penalty("loss", recipe, [zeros], [zeros], [omega], 0.99e14)
    with pytest.raises(UsageError, match=r"holds nothing .* at most 1e\+14; use --penalty decoupled") as caught:
        make_penalty("loss", recipe, [zeros], [zeros], [omega], 1.01e14)
    assert "\n" not in str(caught.value)
    make_penalty("decoupled", recipe, [zeros], [zeros], [omega], 1e30)


@pytest.mark.parametrize("schedule", ["step", "cosine"])
def test_the_pulls_of_adamw_are_told_at_the_rate_that_training_begins_with(schedule: str) -> None:
    """A range to search that is taken from the last, small rate would begin where much is held already."""
    recipe = replace(SGD, optimizer="adamw", momentum=0.0, epochs=6, schedule=schedule)
    theta, anchor, omega = torch.nn.Parameter(torch.ones(3)), torch.zeros(3), torch.tensor([1.0, 2.0, 3.0])
    optimizer = make_optimizer(recipe, [], [theta])
    theta.grad = torch.tensor([1.0, 0.5, 0.25])
    optimizer.step()
    penalty = make_penalty("decoupled", recipe, [theta], [anchor], [omega], 0.1)
    found = []
    for epoch in (1, 6):
        set_rates(optimizer, schedule, epoch, 6)
        penalty.new_epoch(optimizer)
        found.append(penalty.pulls()[0])
    assert torch.equal(found[0], found[1]) and bool((found[0] > 0).all())
    assert optimizer.param_groups[0]["lr"] < recipe.lr
