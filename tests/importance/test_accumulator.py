"""Sums over very many images keep their small parts."""

from __future__ import annotations

import torch

from mascli.importance.accumulator import IMAGES_PER_SUM, Accumulator


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


def test_float64_sums_do_not_share_memory_with_what_comes_later() -> None:
    total = Accumulator({"p": torch.zeros(1, dtype=torch.float64)})
    for _ in range(2):
        total.add({"p": torch.full((1,), 2.0, dtype=torch.float64)}, torch.ones(IMAGES_PER_SUM))
    assert float(total.mean()["p"]) == 4.0 / (2 * IMAGES_PER_SUM)
