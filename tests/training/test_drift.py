"""The predicted drift: its sums, its order, and that it bounds what the answers really change."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from mascli.training import drift as module
from mascli.training.drift import Drift, LayerDrift, predicted_drift


def vector(*values: float) -> Tensor:
    return torch.tensor(values)


def test_sums_are_those_of_the_formula_by_layer_with_the_largest_first() -> None:
    before = {"a.0.weight": vector(0, 0), "a.0.bias": vector(1.0), "b.weight": vector(2.0), "token": vector(0.0)}
    after = {"a.0.weight": vector(1, -2), "a.0.bias": vector(1.5), "b.weight": vector(-2.0), "token": vector(0.0)}
    omega = {"a.0.weight": vector(0.5, 1), "a.0.bias": vector(2.0), "b.weight": vector(3.0), "token": vector(9.0)}
    layers = (LayerDrift("b", 12.0, 48.0), LayerDrift("a.0", 3.5, 5.0), LayerDrift("token", 0.0, 0.0))
    assert predicted_drift(before, after, omega, 10.0) == Drift(15.5, 53.0, 1.55, layers)


def test_layers_that_drift_alike_are_in_the_order_of_their_names() -> None:
    names = ["c.w", "a.w", "b.w"]
    before, after = dict.fromkeys(names, vector(0.0)), dict.fromkeys(names, vector(1.0))
    found = predicted_drift(before, after, dict.fromkeys(names, vector(1.0)), None)
    assert [layer.layer for layer in found.layers] == ["a", "b", "c"] and found.relative is None


def test_nothing_moved_is_no_drift_and_a_scale_of_zero_tells_nothing() -> None:
    same = {"w.w": torch.randn(3)}
    assert predicted_drift(same, same, {"w.w": torch.ones(3)}, 0.0) == Drift(0, 0, None, (LayerDrift("w", 0, 0),))
    assert predicted_drift({}, {}, {}, 1.0) == Drift(0.0, 0.0, 0.0, ())


def test_parameters_that_one_of_the_three_does_not_have_do_not_count() -> None:
    one, two = vector(1.0), vector(2.0)
    found = predicted_drift({"a.w": one, "b.w": one, "c.w": one}, {"a.w": two, "c.w": two}, {"a.w": one, "b.w": one}, 1)
    assert found == Drift(1.0, 1.0, 1.0, (LayerDrift("a", 1.0, 1.0),))


@given(data=st.data(), piece=st.integers(1, 7))
def test_pieces_do_not_matter(data: st.DataObject, piece: int) -> None:
    count = data.draw(st.integers(0, 12))
    numbers = st.lists(st.floats(-1e3, 1e3, width=32), min_size=count, max_size=count)
    old, new, omega = (torch.tensor(data.draw(numbers)) for _ in range(3))
    omega = omega.abs()
    moved = (new.double() - old.double()).abs()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PIECE", piece)
        found = predicted_drift({"l.w": old}, {"l.w": new}, {"l.w": omega}, None)
    assert found.linear == pytest.approx(float((omega.double() * moved).sum()), rel=1e-12)
    assert found.quadratic == pytest.approx(float((omega.double() * moved**2).sum()), rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_looking_changes_nothing(dtype: torch.dtype) -> None:
    before, after, omega = ({"l.w": torch.rand(9, dtype=dtype)} for _ in range(3))
    copies = [tensors["l.w"].clone() for tensors in (before, after, omega)]
    predicted_drift(before, after, omega, None)
    assert all(torch.equal(t["l.w"], copy) for t, copy in zip((before, after, omega), copies, strict=True))


def test_sums_are_not_those_of_float32() -> None:
    """2^24 + 1 + 1 ... would stay at 2^24 in float32, and 3e38 squared would be infinite."""
    omega = torch.cat([torch.tensor([2.0**24]), torch.ones(100)])
    found = predicted_drift({"l.w": torch.zeros(101)}, {"l.w": torch.ones(101)}, {"l.w": omega}, None)
    assert found.linear == found.quadratic == 2**24 + 100
    huge = predicted_drift({"l.w": vector(3e38)}, {"l.w": vector(-3e38)}, {"l.w": vector(3e38)}, None)
    assert math.isfinite(huge.quadratic) and huge.quadratic > 1e115


def test_the_linear_drift_bounds_to_first_order_what_the_squared_answers_change() -> None:
    torch.manual_seed(0)
    layer, images = nn.Linear(5, 3, dtype=torch.float64), torch.randn(7, 5, dtype=torch.float64)
    before = {name: p.detach().clone() for name, p in layer.named_parameters()}
    norms = layer(images).square().sum(1)
    grads = [torch.autograd.grad(norm, list(layer.parameters()), retain_graph=True) for norm in norms]
    omega = {n: torch.stack([g[i].abs() for g in grads]).mean(0) for i, n in enumerate(before)}
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter += 1e-6 * torch.randn_like(parameter)
    after = {name: p.detach() for name, p in layer.named_parameters()}
    norms = norms.detach()
    found = predicted_drift(before, after, omega, float(norms.mean()))
    change = float((layer(images).detach().square().sum(1) - norms).abs().mean())
    assert 0 < change <= found.linear * (1 + 1e-4)
    assert found.relative == pytest.approx(found.linear / float(norms.mean()))
