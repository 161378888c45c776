"""Random numbers go on where a training was stopped."""

from __future__ import annotations

import torch

from mascli.training.state import load_random_state, random_state


def test_random_numbers_of_a_cpu_are_gone_on_with_on_another_kind_of_device() -> None:
    states = random_state(torch.device("cpu"))
    wanted = torch.rand(3)
    load_random_state(states, torch.device("cuda"))
    assert torch.equal(torch.rand(3), wanted) and not torch.equal(torch.rand(3), wanted)
