"""Moment matching: the mean and the mode of networks."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mascli.training.average import mean_parameters, mode_parameters

THREE = [{"w": torch.tensor([1.0, 2.0])}, {"w": torch.tensor([3.0, 2.0])}, {"w": torch.tensor([8.0, 2.0])}]


def vector(*values: float) -> dict[str, Tensor]:
    return {"w": torch.tensor(values, dtype=torch.float64)}


def test_the_mean_is_that_of_the_weights_whatever_they_add_up_to() -> None:
    assert torch.equal(mean_parameters(THREE)["w"], torch.tensor([4.0, 2.0]))
    assert torch.equal(mean_parameters(THREE, (1, 1, 0))["w"], torch.tensor([2.0, 2.0]))
    assert torch.equal(mean_parameters(THREE, (20, 10, 10))["w"], torch.tensor([3.25, 2.0]))


def test_networks_that_agree_are_not_changed() -> None:
    torch.manual_seed(0)
    same = {"w": torch.randn(1000)}
    assert torch.equal(mean_parameters([same] * 3)["w"], same["w"])
    assert torch.equal(mode_parameters([same], [{"w": torch.rand(1000)}])["w"], same["w"])


def test_the_mode_takes_each_parameter_from_who_needs_it() -> None:
    models = [vector(1, 1, 1), vector(5, 5, 5)]
    omegas = [vector(1, 2, 0), vector(3, 0, 0)]
    assert torch.equal(mode_parameters(models, omegas)["w"], vector(4, 1, 3)["w"])
    assert torch.equal(mode_parameters(models, omegas, (3, 1))["w"], vector(3, 1, 2)["w"])


def test_a_parameter_that_no_omega_has_is_averaged() -> None:
    found = mode_parameters([vector(1.0), vector(5.0)], [{}, {}], (3, 1))
    assert torch.equal(found["w"], vector(2.0)["w"])


@given(data=st.data())
def test_the_mode_maximises_the_product_of_the_weighted_gaussians(data: st.DataObject) -> None:
    """Its log density is -1/2 sum_k alpha_k Omega_k (theta - theta_k)^2, lower on both sides of the mode."""
    count = data.draw(st.integers(1, 4))
    numbers = [data.draw(st.lists(st.floats(0.1, 10), min_size=count, max_size=count)) for _ in range(3)]
    theta, omega, weights = numbers
    mode = float(mode_parameters([vector(t) for t in theta], [vector(o) for o in omega], weights)["w"])

    def density(place: float) -> float:
        return -sum(w * o * (place - t) ** 2 for t, o, w in zip(theta, omega, weights, strict=True))

    assert density(mode) > max(density(mode - 1e-3), density(mode + 1e-3))


@pytest.mark.parametrize("weights", [(1.0,), (1.0, 1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1.0, -1.0, 1.0)])
def test_weights_that_are_none_are_refused(weights: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="weights >= 0"):
        mean_parameters(THREE, weights)
    with pytest.raises(ValueError, match="weights >= 0"):
        mode_parameters(THREE, THREE, weights)


def test_results_have_the_precision_of_the_last_network() -> None:
    assert mean_parameters([vector(1.0), {"w": torch.tensor([2.0])}])["w"].dtype == torch.float32
    assert mode_parameters([THREE[0], vector(1.0, 1.0)], THREE[:2])["w"].dtype == torch.float64
