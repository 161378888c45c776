"""Sums over very many images keep their small parts."""

from __future__ import annotations

import torch

from mascli.importance.accumulator import Accumulator


def test_a_long_sum_stays_exact_where_plain_float32_does_not() -> None:
    count, part = 400_000, torch.full((3,), 0.1)
    total = Accumulator({"p": part})
    plain = torch.zeros(3)
    for _ in range(count // 4):
        total.add({"p": part * 4}, torch.ones(4))
        plain += part * 4
    assert total.images == count and total.mean_value == 1.0
    exact = float(part[0])
    assert abs(float(total.mean()["p"][0]) - exact) < 2e-5 * exact
    assert abs(float(plain[0] / count) - exact) > 1e-4 * exact  # negative control


def test_parameters_without_a_part_are_zero() -> None:
    total = Accumulator({"seen": torch.zeros(2), "unseen": torch.zeros(3)})
    total.add({"seen": torch.ones(2)}, torch.tensor([2.0, 4.0]))
    assert torch.equal(total.mean()["unseen"], torch.zeros(3))
    assert torch.equal(total.mean()["seen"], torch.full((2,), 0.5))
    assert total.mean_value == 3.0


def test_it_continues_from_its_state_to_the_same_bits() -> None:
    parts = [{"p": torch.rand(300_000, generator=torch.Generator().manual_seed(n))} for n in range(4)]
    whole, first, second = (Accumulator(parts[0]) for _ in range(3))
    for part in parts:
        whole.add(part, torch.ones(2))
    for part in parts[:2]:
        first.add(part, torch.ones(2))
    second.load_state({name: sums.clone() for name, sums in first.state().items()}, first.images, first.value)
    for part in parts[2:]:
        second.add(part, torch.ones(2))
    assert torch.equal(second.mean()["p"], whole.mean()["p"])
    assert (second.images, second.mean_value) == (whole.images, whole.mean_value) == (8, 1.0)
    assert not torch.equal(first.mean()["p"], whole.mean()["p"])  # negative control
