"""A plan finds every use of every parameter, and leaves none over."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mascli.importance.graph import Graph, graph_of
from mascli.importance.layout import Layout
from mascli.importance.plan import Plan, find_uses, leaves_of, make_plan, no_other_below
from mascli.importance.rules import ANY_OPERATION, RULES

Parameters = dict[str, Tensor]
Program = Callable[[Tensor, Parameters], Tensor]


def parameters() -> Parameters:
    torch.manual_seed(0)
    return {name: torch.randn(4, 4, requires_grad=True) for name in ("a", "b")} | {
        "v": torch.randn(4, requires_grad=True)
    }


def graphs_of(program: Program, own: Parameters) -> tuple[Graph, Graph]:
    several = [graph_of(program(torch.randn(count, 4), own).sum(1)) for count in (3, 2)]
    return several[0], several[1]


def planned(program: Program, own: Parameters, distrusted: tuple[str, ...] = ()) -> Plan:
    """The plan for a program whose images are in dimension 0 everywhere."""
    graphs = graphs_of(program, own)
    used = {name: own[name] for name in leaves_of(graphs[0], own)}
    uses = find_uses(graphs, leaves_of(graphs[0], used))
    wrong = frozenset(node for node in uses if graphs[0].name(node) in distrusted)
    return make_plan(graphs, used, dict.fromkeys(uses, Layout(0)), wrong)


def uses(program: Program) -> dict[str, tuple[tuple[int, ...], bool, tuple[str, ...]]]:
    """For each use of a program its operation, with its inputs, whether it is plain, and its parameters."""
    own = parameters()
    plan = planned(program, own)
    assert plan.fallback == {}
    return {plan.structure[node][0]: (use.slots, use.plain, use.names) for node, use in plan.uses.items()}


def test_a_linear_layer_is_one_use_of_two_parameters() -> None:
    assert uses(lambda x, p: F.linear(x, p["a"], p["v"])) == {"AddmmBackward0": ((0, 2), True, ("a", "v"))}


def test_what_is_made_of_parameters_alone_is_part_of_the_use() -> None:
    assert uses(lambda x, p: x @ (p["a"] @ p["b"]).tanh()) == {"MmBackward0": ((1,), False, ("a", "b"))}
    assert uses(lambda x, p: x @ p["a"].t().unsqueeze(0)[0]) == {"MmBackward0": ((1,), True, ("a",))}
    assert uses(lambda x, p: x @ p["a"].reshape(2, 8)[0].view(4, 2)) == {"MmBackward0": ((1,), True, ("a",))}


@pytest.mark.parametrize(
    "program",
    [
        lambda x, p: x * p["a"].sum(0),
        lambda x, p: x * p["v"].expand(1, 4),
        lambda x, p: x * (2 * p["v"]),
        lambda x, p: x * p["v"][torch.tensor([0, 0, 1, 2])],
        lambda x, p: x * torch.cat([p["v"][:2], p["a"][0, :2]]),
    ],
)
def test_numbers_that_are_changed_or_repeated_are_not_plain(program: Program) -> None:
    """The absolute value must wait until the gradients of all copies are added."""
    ((_, plain, _),) = uses(program).values()
    assert not plain


def test_a_parameter_repeated_for_each_image_is_a_use_of_the_repetition() -> None:
    found = uses(lambda x, p: p["v"].repeat(len(x), 1) + x)
    assert found == {"RepeatBackward0": ((0,), True, ("v",))}
    assert list(uses(lambda x, p: p["v"].expand(len(x), 4) * x)) == ["ExpandBackward0"]


def test_uses_of_one_parameter_wait_for_each_other() -> None:
    plan = planned(lambda x, p: F.linear(F.linear(x, p["a"]), p["a"], p["v"]) * p["b"][0], parameters())
    groups = {names: len(nodes) for nodes, names in plan.groups}
    assert groups == {("a", "v"): 2, ("b",): 1}
    assert frozenset(plan.uses) == frozenset().union(*(nodes for nodes, _ in plan.groups))


def test_groups_that_a_later_use_joins_become_one() -> None:
    plan = planned(lambda x, p: (x @ p["a"] + x @ p["b"]) @ (p["a"] @ p["b"]) * p["v"], parameters())
    assert {names: len(nodes) for nodes, names in plan.groups} == {("a", "b"): 3, ("v",): 1}


def test_the_backward_pass_ends_at_the_deepest_uses() -> None:
    own = parameters()
    plan = planned(lambda x, p: F.linear(F.linear(x, p["a"]).sin() + F.linear(x, p["b"]), p["b"], p["v"]), own)
    names = sorted(plan.structure[node][0] for node in plan.deepest)
    assert names == ["MmBackward0", "MmBackward0"]
    graph = graphs_of(lambda x, p: (x @ p["a"]) @ p["b"], own)[0]
    both = [node for node in range(len(graph.nodes)) if graph.name(node) == "MmBackward0"]
    assert no_other_below(graph, both) == {min(both)}
    assert no_other_below(graph, both[1:]) == {both[1]}


def test_parameters_of_others_are_no_uses() -> None:
    own = parameters()
    other = torch.randn(4, 4, requires_grad=True)
    plan = planned(lambda x, p: (x @ p["a"]) @ other + other[0], own)
    assert [use.names for use in plan.uses.values()] == [("a",)]
    assert set(plan.leaves) == {"a"}


def test_images_that_are_not_told_apart_are_said_to_be() -> None:
    own = parameters()
    graphs = graphs_of(lambda x, p: (x @ p["a"]) @ p["b"] * p["v"], own)
    leaves = leaves_of(graphs[0], own)
    nodes = sorted(find_uses(graphs, leaves))
    plan = make_plan(graphs, own, {nodes[0]: Layout(0), nodes[2]: Layout(0)}, frozenset())
    assert plan.fallback == {"b": "the images are not told apart at MmBackward0"}
    assert plan.counts() == {"one image at a time": 3}


def test_nothing_is_left_over() -> None:
    own = parameters()
    graphs = graphs_of(lambda x, p: x @ p["a"], own)
    plan = make_plan(graphs, own, {}, frozenset())
    assert set(plan.fallback) == set(own)
    assert "no operation on images" in plan.fallback["v"]


def test_a_distrusted_use_goes_to_any_operation() -> None:
    program: Program = lambda x, p: F.linear(x, p["a"], p["v"]) * p["b"][0]  # noqa: E731
    own = parameters()
    assert planned(program, own).counts() == {"linear": 2, "multiplication": 1}
    assert planned(program, own, ("AddmmBackward0",)).counts() == {"any operation": 2, "multiplication": 1}


def test_a_use_that_its_rule_does_not_take_goes_to_any_operation() -> None:
    plan = planned(lambda x, p: torch.addmm(p["v"], x, p["a"], alpha=2), parameters())
    assert [use.rule for use in plan.uses.values()] == [ANY_OPERATION]


def test_an_operation_whose_output_is_the_same_for_any_images_is_found_by_its_shape() -> None:
    own = parameters()
    graphs = graphs_of(lambda x, p: p["v"][torch.zeros(len(x), dtype=torch.long), None].expand(-1, 4), own)
    (node,) = find_uses(graphs, leaves_of(graphs[0], own))
    assert graphs[0].name(node) == "IndexBackward0"


def test_counts_are_of_tensors_and_a_fallback_takes_all_along() -> None:
    plan = planned(lambda x, p: F.linear(x, p["a"], p["v"]), parameters())
    assert plan.counts() == {"linear": 2}
    fallen = plan.falling_back({"v": "a reason"})
    assert fallen.counts() == {"one image at a time": 2}
    assert fallen.falling_back({"a": "another"}).fallback == {"v": "a reason", "a": "another"}
    assert plan.fallback == {}


def test_every_rule_is_found_by_the_name_of_an_operation() -> None:
    assert set(RULES) >= {
        *("AddmmBackward0", "MmBackward0", "ConvolutionBackward0", "NativeBatchNormBackward0"),
        *("NativeLayerNormBackward0", "NativeGroupNormBackward0", "AddBackward0", "MulBackward0", "ExpandBackward0"),
    }
    assert all(rule.name and rule is not ANY_OPERATION for rule in RULES.values())
