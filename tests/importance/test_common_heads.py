"""The importance of a head's own tensors is that of the definition, as of any other parameter."""

from __future__ import annotations

import pytest
import torch
from judge import EXACT, definition, errors, estimated, images, wrapped
from torch import Tensor, nn

from mascli.importance.methods import measure_named
from mascli.models.heads import MultiHeadModel

HEAD = {"mascli.head.new.weight", "mascli.head.new.bias"}


def model() -> MultiHeadModel:
    torch.manual_seed(0)
    return wrapped(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 4)))


def one_at_a_time(network: MultiHeadModel, batch: Tensor, task: str) -> dict[str, Tensor]:
    """(1/N) sum over images of |d |F(x)|^2 / d theta|, of the trunk and of the head, by autograd alone."""
    names = {**network.network_parameters(), **network.head_parameters([task])}
    total = {name: torch.zeros_like(parameter) for name, parameter in names.items()}
    for image in batch:
        (outputs,) = network(image[None], (task,))
        for name, gradient in zip(
            names, torch.autograd.grad(outputs.square().sum(), list(names.values())), strict=True
        ):
            total[name] += gradient.abs()
    return {name: value / len(batch) for name, value in total.items()}


def test_heads_that_are_counted_get_the_importance_of_the_definition() -> None:
    network, batch = model(), images(6)
    plain = estimated(network, batch.split(4), ("new",)).omega
    expected = one_at_a_time(network, batch, "new")
    network.count_heads(["new"])
    found = estimated(network, batch.split(4), ("new",))
    assert found.omega.keys() == expected.keys() == plain.keys() | HEAD
    assert max(errors(found.omega, expected).values()) <= EXACT
    assert found.plan.fallback == {}
    assert all(torch.equal(found.omega[name], plain[name]) for name in plain)  # the others do not notice
    (outputs,) = network(batch, ("new",))
    bias = (2 * outputs).abs().mean(0)  # |F|^2 by the bias is 2 F
    torch.testing.assert_close(found.omega["mascli.head.new.bias"], bias, rtol=1e-12, atol=0)


def test_a_head_that_two_tasks_use_is_measured_without_being_asked_for() -> None:
    network, batch = model(), images(5)
    expected = one_at_a_time(network, batch, "new")
    network.use_head("newer", of="new")
    assert max(errors(estimated(network, batch.split(2), ("newer",)).omega, expected).values()) <= EXACT
    both = network.answering(("new", "newer"))
    assert both == ("new",)  # its answers count once


@pytest.mark.parametrize(
    ("objective", "reduction"),
    [("l1", "abs"), ("entropy", "abs"), ("squared-l2", "square"), ("squared-l2", "taylor"), ("each-output", "abs")],
)
def test_every_way_of_measuring_knows_heads(objective: str, reduction: str) -> None:
    network, batch = model(), images(5)
    network.count_heads(["new"])
    measure = measure_named(objective, reduction)
    found = estimated(network, batch.split(3), ("new",), measure).omega
    assert found.keys() > HEAD and all(found[name].any() for name in HEAD)
    if objective != "each-output":
        expected = definition(network, batch, ("new",), measure)
        assert max(errors(found, expected).values()) <= EXACT


def test_mas_local_measures_a_head_as_a_layer_whose_outputs_are_the_answers() -> None:
    network, batch = model(), images(5)
    network.count_heads(["new"])
    found = estimated(network, batch.split(3), ("new",), measure_named("local", "abs")).omega
    of_all = estimated(network, batch.split(3), ("new",)).omega
    for name in HEAD:  # nothing follows the last layer: its own function is the network's
        torch.testing.assert_close(found[name], of_all[name], rtol=1e-10, atol=1e-14)


def test_a_head_that_does_not_answer_has_no_importance() -> None:
    network, batch = model(), images(4)
    network.count_heads(["new"])
    found = estimated(network, batch.split(4), ("base",))
    assert not any(found.omega[name].any() for name in HEAD)
    assert set(found.plan.unused) == HEAD
