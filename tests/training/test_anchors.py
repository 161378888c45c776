"""The anchor that stands for several: the same penalty up to a constant."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mascli.training.anchors import weighted_anchor, weighted_mean

values = st.floats(-10, 10)
importances = st.one_of(st.just(0.0), st.floats(1e-3, 1e3))


def one(value: float) -> dict[str, Tensor]:
    return {"w": torch.tensor([value], dtype=torch.float64)}


@given(
    tasks=st.lists(st.tuples(importances, values), min_size=1, max_size=5),
    start=values,
    places=st.tuples(values, values),
)
def test_the_penalties_of_all_tasks_are_one_penalty_around_the_anchor_up_to_a_constant(
    tasks: list[tuple[float, float]], start: float, places: tuple[float, float]
) -> None:
    omegas, anchors = [one(omega) for omega, _ in tasks], [one(anchor) for _, anchor in tasks]
    merged = float(weighted_anchor(omegas, anchors, one(start))["w"])
    total = sum(omega for omega, _ in tasks)
    constants = [
        sum(omega * (place - anchor) ** 2 for omega, anchor in tasks) - total * (place - merged) ** 2
        for place in places
    ]
    assert constants[0] == pytest.approx(constants[1], rel=1e-9, abs=1e-9 * (1 + total))
    if total == 0:
        assert merged == start
    else:
        held = [anchor for omega, anchor in tasks if omega]
        assert min(held) - 1e-9 <= merged <= max(held) + 1e-9


def test_elements_are_weighted_one_by_one_and_free_ones_have_the_start_value() -> None:
    omegas = [{"w": torch.tensor([1.0, 0.0, 0.0])}, {"w": torch.tensor([3.0, 2.0, 0.0])}]
    anchors = [{"w": torch.tensor([4.0, 9.0, 9.0])}, {"w": torch.tensor([0.0, 5.0, 9.0])}]
    found = weighted_anchor(omegas, anchors, {"w": torch.tensor([7.0, 7.0, 7.0])})["w"]
    assert torch.equal(found, torch.tensor([1.0, 5.0, 7.0])) and found.dtype == torch.float32


def test_a_parameter_without_importance_has_the_start_value_even_where_no_anchor_has_it() -> None:
    start = {"w": torch.tensor([1.0]), "new": torch.tensor([2.0])}
    found = weighted_anchor([{"w": torch.tensor([1.0])}], [{"w": torch.tensor([3.0])}], start)
    assert {name: float(value) for name, value in found.items()} == {"w": 3.0, "new": 2.0}


def test_a_single_anchor_comes_back_to_the_bit_whatever_its_importance() -> None:
    torch.manual_seed(0)
    anchor, omega = torch.randn(1000), torch.rand(1000) * 10.0 ** torch.randint(-38, 38, (1000,)) + 1e-40
    start = torch.zeros(1000)
    assert torch.equal(weighted_mean([anchor], [omega], start), anchor)
    assert torch.equal(weighted_mean([], [], start), start)


def test_tasks_and_anchors_go_in_pairs() -> None:
    with pytest.raises(ValueError, match="zip"):
        weighted_anchor([one(1.0)], [one(1.0), one(2.0)], one(0.0))
