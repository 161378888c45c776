"""One pass of a batch: what each use is told, what is added before the absolute value, and what is noticed."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from cases import NETWORKS, TwoPositions, UsedTwice
from judge import EXACT, assert_exact, definition, errors, estimated, images, wrapped
from odd_networks import network, rows, weights
from odd_structures import STRUCTURE
from torch import Tensor, nn

from mascli.importance import passes
from mascli.importance.graph import graph_of
from mascli.importance.images import Images
from mascli.importance.objective import Measure
from mascli.importance.passes import Surprise, backward, batch_sums, rule_sums
from mascli.importance.plan import Plan, find_uses, leaves_of, no_other_below
from mascli.importance.reduction import ABS, SQUARE, TAYLOR
from mascli.importance.trial import tried_plan
from mascli.models.heads import MultiHeadModel


def planned(model: MultiHeadModel, measure: Measure | None = None) -> Plan:
    plan = tried_plan(model, Images(images(3)), ("base",), measure or Measure())
    assert not plan.fallback
    return plan


def sums(plan: Plan, model: MultiHeadModel, batch: Tensor, measure: Measure | None = None) -> dict[str, Tensor]:
    found, values = rule_sums(plan, model, Images(batch), ("base",), measure or Measure())
    assert values.shape == (len(batch),) and not values.requires_grad
    return {name: total / len(batch) for name, total in found.items()}


@pytest.mark.parametrize("reduction", [ABS, SQUARE, TAYLOR], ids=lambda reduction: reduction.name)
@pytest.mark.parametrize(
    "name", ["linear on positions", "conv in groups without bias", "batch norm", "used twice", "tied weights"]
)
def test_every_reduction_is_of_each_images_gradient(name: str, reduction: Any) -> None:
    torch.manual_seed(0)
    model, batch, measure = wrapped(NETWORKS[name]()), images(5), Measure(reduction=reduction)
    found = sums(planned(model, measure), model, batch, measure)
    assert max(errors(found, definition(model, batch, measure=measure)).values()) <= EXACT


@pytest.mark.parametrize("size", [1, 2, 3, 5, 64])  # parts of 1+1+..., 2+2+1, 3+2, and the whole batch
@pytest.mark.parametrize("name", ["conv in groups without bias", "used twice", "tied weights", "batch norm"])
def test_a_batch_in_parts_is_the_batch(name: str, size: int) -> None:
    torch.manual_seed(0)
    model, batch = wrapped(NETWORKS[name]()), images(5)
    plan = replace(planned(model), pass_size=size)
    found, values = batch_sums(plan, model, Images(batch), ("base",), Measure())
    assert values.shape == (5,)
    assert max(errors({n: total / 5 for n, total in found.items()}, definition(model, batch)).values()) <= EXACT


@pytest.mark.parametrize("chunk", [1, 300, 1 << 22])
def test_gradients_of_several_uses_in_several_chunks(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "CHUNK_NUMBERS", chunk)
    torch.manual_seed(0)
    model, batch = wrapped(UsedTwice()), images(5)
    assert max(errors(sums(planned(model), model, batch), definition(model, batch)).values()) <= EXACT


def test_uses_added_after_the_absolute_value_are_told_apart() -> None:
    """Negative control: what comes out if each use of a parameter counts by itself."""

    class Untied(nn.Module):
        def __init__(self, tied: UsedTwice) -> None:
            super().__init__()
            self.first, self.second, self.head = tied.conv, nn.Conv2d(3, 3, 3, padding=1), tied.head
            self.second.load_state_dict(tied.conv.state_dict())

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.relu(self.second(torch.sin(self.first(x)))).mean((2, 3)))

    torch.manual_seed(0)
    tied = UsedTwice()
    both, batch = Untied(copy.deepcopy(tied)), images(5)
    one, two = wrapped(tied), wrapped(both)
    right = sums(planned(one), one, batch)["conv.weight"]
    apart = sums(planned(two), two, batch)
    assert float((apart["first.weight"] + apart["second.weight"] - right).abs().max()) > 0.05 * float(right.max())


def test_a_whole_network_needs_no_gradient_of_a_parameter() -> None:
    model = wrapped(NETWORKS["conv"]())
    plan = planned(model)
    refused = [p.register_hook(lambda g: pytest.fail("a gradient was computed")) for p in model.parameters()]
    sums(plan, model, images(4))
    for hook in refused:
        hook.remove()
    handle = next(model.parameters()).register_hook(lambda g: pytest.fail("computed"))
    value = model(images(2), ("base",))[0].sum()
    with pytest.raises(pytest.fail.Exception):  # the control
        value.backward()
    handle.remove()


def test_nothing_is_left_hanging_on_the_model() -> None:
    model = wrapped(NETWORKS["used twice"]())
    sums(planned(model), model, images(4))
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks or module._backward_hooks for module in model.modules())


@pytest.mark.parametrize("keep", [False, True])
def test_every_use_is_told_the_gradient_at_its_output(keep: bool) -> None:
    torch.manual_seed(0)
    a, b = (torch.randn(4, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    x = torch.randn(3, 4, dtype=torch.float64)
    first = x @ a
    second = first.sin() @ b
    values = second.square().sum(1)
    graph = graph_of(values)
    leaves = leaves_of(graph, {"a": a, "b": b})
    several = graph_of((torch.randn(2, 4, dtype=torch.float64) @ a).sin().matmul(b).square().sum(1))
    uses = find_uses((graph, several), leaves)
    found: dict[int, Tensor] = {}
    backward(values.sum(), graph, uses, no_other_below(graph, uses), lambda n, g: found.update({n: g.clone()}), keep)
    expected = {first.grad_fn: 2 * second @ b.t() * first.cos(), second.grad_fn: 2 * second}
    assert {graph.nodes[node] for node in found} == set(expected)
    for node, gradient in found.items():
        torch.testing.assert_close(gradient, expected[graph.nodes[node]])


@pytest.fixture
def two_positions() -> tuple[MultiHeadModel, Plan]:
    torch.manual_seed(0)
    model = wrapped(TwoPositions())
    return model, planned(model)


def test_other_operations_than_planned_are_a_surprise(two_positions: tuple[MultiHeadModel, Plan]) -> None:
    model, plan = two_positions
    model.network.register_forward_hook(lambda module, x, y: y + 0 * y)
    with pytest.raises(Surprise, match="other operations"):
        sums(plan, model, images(4))


class Repeating(nn.Module):
    """A layer that gets every image twice, if there are many."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(192, 6), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        index = torch.arange(len(x)).repeat(2) if len(x) > 3 else torch.arange(len(x))
        return self.head(self.body(x[index])[: len(x)].tanh())


def test_more_than_one_copy_of_the_images_is_a_surprise() -> None:
    model = wrapped(Repeating())
    with pytest.raises(Surprise, match="AddmmBackward0 gets a part of the images, or more than one copy of them"):
        sums(planned(model), model, images(4))


def test_a_single_image_and_a_fallback_go_by_the_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    model = wrapped(NETWORKS["conv"]())
    plan = planned(model)
    monkeypatch.setattr(passes, "rule_sums", lambda *_: pytest.fail("by rules"))
    for chosen, count in ((plan, 1), (plan.falling_back({"0.weight": "a reason"}), 3)):
        found, _ = batch_sums(chosen, model, Images(images(count)), ("base",), Measure())
        expected = definition(model, images(count))
        assert all(torch.equal(found[name] / count, value) for name, value in expected.items())
    with pytest.raises(pytest.fail.Exception):
        batch_sums(plan, model, Images(images(2)), ("base",), Measure())


@pytest.mark.parametrize(
    "name", ["weight norm", "standardised weight", "orthogonal weight", "relative bias", "bias from coordinates"]
)
def test_gradients_go_back_through_what_makes_a_weight(name: str) -> None:
    """There the absolute value of the weight's own gradient would be another quantity."""
    torch.manual_seed(0)
    model, batch = wrapped(STRUCTURE[name]()), images(5)
    estimate = estimated(model, batch.split(3))
    assert not estimate.plan.fallback
    assert_exact(estimate, definition(model, batch))


def test_the_absolute_value_before_the_way_back_is_told_apart() -> None:
    torch.manual_seed(0)
    make = network(
        lambda net, x: F.linear(rows(x), net.w - net.w.mean(1, keepdim=True)).tanh().mean(1), w=weights(6, 24)
    )
    model, batch = wrapped(make()), images(5)
    right = estimated(model, [batch]).omega["w"]
    weight = model.shared_parameters()["w"]
    whole = (weight - weight.mean(1, keepdim=True)).detach().requires_grad_()
    head = model.head("base")
    total = torch.zeros_like(whole)
    for image in batch.split(1):
        value = F.linear(F.linear(rows(image), whole).tanh().mean(1), head.weight, head.bias).square().sum()
        total += torch.autograd.grad(value, whole)[0].abs() / len(batch)
    wrong = total - total.mean(1, keepdim=True)
    assert float((wrong - right).abs().max()) > 0.1 * float(right.max())


class Silent(torch.autograd.Function):
    """The identity, which gives batches of more than three images no gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor | None:
        return None if len(gradient) > 3 else gradient


def test_a_use_that_gets_no_gradient_does_not_take_the_others_along() -> None:
    torch.manual_seed(0)
    make = network(
        lambda net, x: Silent.apply(net.row(rows(x))).mean(1) + net.row(rows(x).sin()).mean(1),
        row=lambda: nn.Linear(24, 6),
    )
    model = wrapped(make())
    plan = planned(model)
    try:
        found = sums(plan, model, images(5))
    except Surprise:
        return
    assert found["row.weight"].any()
