"""Autograd's own gradient of one operation, image by image: exact for any operation and any layout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from judge import assert_close, assert_exact, definition, estimated, images, visit_of, wrapped
from odd_networks import Cubed, network, rows, weights
from torch import Tensor, nn

from mascli.importance.graph import graph_of
from mascli.importance.layout import Layout
from mascli.importance.rules import ANY_OPERATION, RULES, is_asked

# Of images x [6, 4] and parameters p [4], q [4]: what it computes, and where three images may be in it.
OPERATIONS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "linear": lambda x, p, q: torch.addmm(q, x, torch.outer(p, q).detach().requires_grad_()),
    "subtraction": lambda x, p, q: x - p,
    "division": lambda x, p, q: x / p,
    "power": lambda x, p, q: x.abs() ** p,
    "maximum": lambda x, p, q: torch.maximum(x, p),
    "where": lambda x, p, q: torch.where(x > 0, p, q),
    "lerp": lambda x, p, q: torch.lerp(x, p, q),
    "addcmul": lambda x, p, q: torch.addcmul(x, p, q),
    "layer norm": lambda x, p, q: F.layer_norm(x, (4,), p, q),
    "batch norm in training": lambda x, p, q: F.batch_norm(x, None, None, p, q, training=True),
    "custom function": lambda x, p, q: Cubed.apply(x, p),
    "lookup": lambda x, p, q: p[(x.abs() * 2).long().clamp(max=3)],
}
LAYOUTS = [Layout(0, 1, 2), Layout(0, 2, 1)]


def parts(layout: Layout, image: int) -> list[int]:
    return [row for row in range(6) if row // layout.after % 3 == image]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("name", OPERATIONS)
def test_any_operation_gives_each_images_part(name: str, layout: Layout) -> None:
    torch.manual_seed(0)
    x, p, q = torch.randn(6, 4).double().requires_grad_(), *(torch.rand(4).double().requires_grad_() for _ in range(2))
    output = OPERATIONS[name](x, p, q)
    parameters = [p, q]
    gradient = torch.randn(6, 4).double()
    visit = visit_of(output, gradient, parameters, layout)
    assert ANY_OPERATION.takes(visit.node, visit.slots, layout)
    found = ANY_OPERATION.see(visit)
    used = [parameter for parameter in parameters if any(parameter is leaf(visit.node, slot) for slot in visit.slots)]
    assert used
    for image in range(3):
        alone = torch.zeros_like(gradient)
        alone[parts(layout, image)] = gradient[parts(layout, image)]
        expected = torch.autograd.grad(output, used, alone, retain_graph=True)
        for slot, value in zip(visit.slots, expected, strict=True):
            assert_close(found.per_image(slice(image, image + 1))[slot][0], value)
    assert not is_asked(visit.node)


def test_images_between_others() -> None:
    torch.manual_seed(0)
    x, p, gradient = torch.randn(12, 4).double(), torch.rand(4).double().requires_grad_(), torch.randn(12, 4).double()
    output = x / p
    found = ANY_OPERATION.see(visit_of(output, gradient, [p], Layout(0, 2, 2)))
    of_image = torch.arange(12) // 2 % 3
    for image in range(3):
        (expected,) = torch.autograd.grad(output, p, gradient * (of_image == image)[:, None], retain_graph=True)
        assert_close(found.per_image(slice(image, image + 1))[1][0], expected)


def leaf(node: Any, slot: int) -> Tensor:
    return node.next_functions[slot][0].variable


def test_a_wrong_layout_is_told_apart() -> None:
    torch.manual_seed(0)
    x, p, gradient = torch.randn(6, 4).double(), torch.rand(4).double().requires_grad_(), torch.randn(6, 4).double()
    one, other = (
        ANY_OPERATION.see(visit_of(x - p, gradient, [p], layout)).sum_over_images(Tensor.abs_)[1] for layout in LAYOUTS
    )
    assert float((one - other).abs().max()) > 0.01


def test_a_node_is_asked_only_while_it_is() -> None:
    p = torch.rand(4, requires_grad=True)
    asked: list[bool] = []
    output = torch.rand(6, 4) - p
    node = output.grad_fn
    assert node is not None
    node.register_prehook(lambda gradients: asked.append(is_asked(node)))
    ANY_OPERATION.see(visit_of(output, torch.ones(6, 4), [p], Layout(0)))
    torch.autograd.grad(output.sum(), p)
    assert asked == [True] * 6 + [False]


def test_a_failing_operation_is_not_asked_any_more() -> None:
    class Failing(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, p: Tensor) -> Tensor:
            return p * 1

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Tensor:
            raise RuntimeError("no gradient")

    p = torch.rand(6, 4, requires_grad=True)
    output = Failing.apply(p)  # named, since torch 2.11 has no use for the node of one that is gone
    visit = visit_of(output, torch.ones(6, 4), [p], Layout(0))
    with pytest.raises(RuntimeError, match="no gradient"):
        ANY_OPERATION.see(visit)
    assert not is_asked(visit.node)


def test_it_can_stand_for_every_other_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mascli.importance.plan.RULES", {})
    torch.manual_seed(0)
    model = wrapped(
        nn.Sequential(
            *(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.GroupNorm(2, 4), nn.Flatten(2), nn.Linear(36, 5)),
            *(nn.LayerNorm(5), nn.Flatten(), nn.Linear(20, 4)),
        )
    )
    batch = images(5)
    estimate = estimated(model, batch.split(3))
    assert estimate.plan.counts() == {"any operation": 10}
    assert_exact(estimate, definition(model, batch))


def test_operations_without_a_rule_have_none() -> None:
    """So that the cases above are of this rule, and a new rule moves its operation to a test of its own."""
    p = torch.rand(4, requires_grad=True)
    names = {
        graph_of(output).structure[-1][0]
        for output in (torch.rand(6, 4) - p, torch.rand(6, 4) / p, p.expand(6, 4) ** p)
    }
    assert names.isdisjoint(RULES)


def test_a_custom_function_with_a_parameter() -> None:
    torch.manual_seed(0)
    make = network(
        lambda net, x: Cubed.apply(net.row(rows(x)), net.gain).mean(1), row=lambda: nn.Linear(24, 6), gain=weights(6)
    )
    model, batch = wrapped(make()), images(5)
    estimate = estimated(model, batch.split(3))
    assert estimate.plan.counts() == {"any operation": 1, "linear": 2}
    assert_exact(estimate, definition(model, batch))
