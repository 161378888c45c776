"""Both forms of the penalty, judged by closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mascli.errors import UsageError
from mascli.training.penalty import DecoupledPenalty, LossPenalty, effective_rate, shares

floats = st.floats(1e-6, 1e3)


def decoupled(theta: Tensor, anchor: Tensor, omega: Tensor, strength: float, eta: float) -> Tensor:
    theta = theta.clone()
    DecoupledPenalty([theta], [anchor], [omega], strength, eta=eta).after_step()
    return theta


@given(theta=st.floats(-5, 5), anchor=st.floats(-5, 5), omega=floats, strength=floats, eta=st.floats(1e-4, 1))
def test_a_decoupled_step_minimises_distance_plus_penalty(
    theta: float, anchor: float, omega: float, strength: float, eta: float
) -> None:
    """It is the exact minimiser t of (t - theta)^2 / (2 eta) + lambda Omega (t - anchor)^2."""
    one = torch.tensor([1.0], dtype=torch.float64)
    given_value = float(decoupled(theta * one, anchor * one, omega * one, strength, eta))
    expected = (theta / (2 * eta) + strength * omega * anchor) / (1 / (2 * eta) + strength * omega)
    assert given_value == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_the_pull_is_exact_at_both_ends_and_finite_at_any_strength() -> None:
    theta, anchor = torch.tensor([0.1, 0.3, -7.7]), torch.tensor([0.7, 1e-30, 3.3])
    assert torch.equal(decoupled(theta, anchor, torch.zeros(3), 1e12, 0.1), theta)
    assert torch.equal(decoupled(theta, anchor, torch.full((3,), 3e38), 1e38, 1e3), anchor)
    for exponent in range(-6, 13):
        assert decoupled(theta, anchor, torch.tensor([0.0, 1.0, 1e20]), 10.0**exponent, 0.1).isfinite().all()


@settings(max_examples=200)
@given(data=st.data())
def test_the_spectral_radius_stays_below_one_wherever_plain_sgd_is_stable(data: st.DataObject) -> None:
    """On quadratics 1/2 theta^T H theta, H positive semi-definite, without momentum.

    The update is theta <- (1 - w)((I - lr H) theta) with the anchor at 0: diag(1 - w)(I - lr H).
    """
    size = data.draw(st.integers(1, 5))
    generator = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    root = generator.normal(size=(size, size))
    hessian = root @ root.T
    lr = data.draw(st.floats(0.01, 0.999)) * 2 / float(np.linalg.eigvalsh(hessian)[-1])
    strength = 10.0 ** data.draw(st.integers(-6, 12))
    x = 2 * lr * strength * generator.exponential(size=size)
    update = np.diag(1 / (1 + x)) @ (np.eye(size) - lr * hessian)
    assert max(abs(np.linalg.eigvals(update))) < 1
    loss_form = np.eye(size) - lr * hessian - np.diag(x)  # negative control
    if x.max() > 4:
        assert max(abs(np.linalg.eigvals(loss_form))) > 1


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("form", ["loss", "decoupled"])
def test_both_forms_come_to_rest_at_the_minimiser_of_loss_plus_penalty(form: str, momentum: float) -> None:
    """For loss 1/2 h (theta - c)^2: the minimiser is (h c + 2 lambda Omega anchor) / (h + 2 lambda Omega)."""
    h, c = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64), torch.tensor([3.0, -1.0, 2.0], dtype=torch.float64)
    anchor, omega = torch.tensor([0.5, 0.5, -2.0], dtype=torch.float64), torch.tensor([0.3, 0.0, 2.0]).double()
    lr, strength = 0.002, 2.0
    theta = torch.nn.Parameter(anchor.clone())
    optimizer = torch.optim.SGD([theta], lr=lr, momentum=momentum)
    penalty = (
        LossPenalty([theta], [anchor], [omega], strength, lr=lr, momentum=momentum)
        if form == "loss"
        else DecoupledPenalty([theta], [anchor], [omega], strength, eta=effective_rate(lr, momentum))
    )
    for _ in range(20_000):
        optimizer.zero_grad()
        (0.5 * h * (theta - c) ** 2).sum().backward()
        penalty.before_step()
        optimizer.step()
        penalty.after_step()
    expected = (h * c + 2 * strength * omega * anchor) / (h + 2 * strength * omega)
    # the decoupled form stops where lr x gradient balances the pull; with momentum to first order in lr
    torch.testing.assert_close(theta.detach(), expected, rtol=0, atol=1e-9 if form == "loss" else 0.05)


def test_the_loss_form_is_refused_just_where_it_diverges() -> None:
    """SGD on lambda Omega d^2 diverges from 2 lr lambda Omega = 2 (1 + m) on."""
    lr, momentum, omega = 0.1, 0.9, torch.tensor([0.5, 4.0])
    limit = (1 + momentum) / (lr * 4.0)
    with pytest.raises(UsageError, match=r"stable below 4\.75"):
        LossPenalty([torch.zeros(2)], [torch.zeros(2)], [omega], limit * (1 + 1e-6), lr=lr, momentum=momentum)
    for strength, grows in ((limit * 0.99, False), (limit * 1.01, True)):
        theta = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
        optimizer = torch.optim.SGD([theta], lr=lr, momentum=momentum)
        for _ in range(2000):
            theta.grad = 2 * strength * 4.0 * theta.detach()
            optimizer.step()
        assert (float(theta.detach().abs()) > 1) is grows


def test_shares_count_parameters_by_the_strength_of_their_pull() -> None:
    omegas = [torch.tensor([0.0, 0.004, 0.02]), torch.tensor([[0.9, 1.1]])]
    got = shares(omegas, strength=0.5, eta=1.0)  # 2 eta lambda = 1
    assert (got.free, got.slowed, got.held) == pytest.approx((0.4, 0.4, 0.2))
    assert effective_rate(0.1, 0.9) == pytest.approx(1.0)
    assert shares([], 1.0, 1.0).free == 0.0 and math.isfinite(shares([], 1.0, 1.0).held)
