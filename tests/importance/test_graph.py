"""The graph of a pass as a list: every operation after what it depends on, the same list for every run."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from odd_networks import Cubed
from torch import Tensor, nn

from mascli.importance.graph import LEAF, graph_of


def diamond(x: Tensor, weight: Tensor) -> Tensor:
    y = x @ weight
    return (y.sin() * y).sum(1)


def test_operations_stand_after_their_inputs_and_the_values_last() -> None:
    weight = torch.randn(4, 3, requires_grad=True)
    graph = graph_of(diamond(torch.randn(2, 4), weight))
    names = [graph.name(place) for place in range(len(graph.nodes))]
    assert names == [LEAF, "MmBackward0", "SinBackward0", "MulBackward0", "SumBackward1"]
    assert [graph.inputs(place) for place in range(5)] == [
        (),
        ((-1, 0), (0, 0)),
        ((1, 0),),
        ((2, 0), (1, 0)),
        ((3, 0),),
    ]
    assert graph.leaf(0) is weight
    assert all(graph.leaf(place) is None for place in range(1, 5))


def test_shapes_are_those_of_the_outputs() -> None:
    graph = graph_of(diamond(torch.randn(2, 4), torch.randn(4, 3, requires_grad=True)))
    assert [graph.shapes(place) for place in range(5)] == [((4, 3),), ((2, 3),), ((2, 3),), ((2, 3),), ((2,),)]
    x = torch.randn(2, 6, requires_grad=True)
    one, other = x.chunk(2, 1)
    graph = graph_of((one * other).sum(1))
    (split,) = (place for place in range(len(graph.nodes)) if "Split" in graph.name(place))
    assert graph.shapes(split) == ((2, 3), (2, 3))
    (product,) = (place for place in range(len(graph.nodes)) if graph.name(place) == "MulBackward0")
    assert graph.inputs(product) == ((split, 0), (split, 1))


def test_the_same_program_has_the_same_structure_for_any_number_of_images() -> None:
    layer = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)).eval()
    structures = [graph_of(layer(torch.randn(count, 3, 8, 8)).square().sum(1)).structure for count in (2, 3, 7)]
    assert structures[0] == structures[1] == structures[2]


def test_another_program_has_another_structure() -> None:
    weight = torch.randn(4, 4, requires_grad=True)
    x = torch.randn(2, 4)
    programs = [
        diamond(x, weight),
        (x @ weight).sum(1),
        ((x @ weight).sin() @ weight).sum(1),
        ((x @ weight).sin() @ weight.clone()).sum(1),
        (x @ weight).sin().sum(1) + (x @ weight).sum(1),
    ]
    assert len({graph_of(values).structure for values in programs}) == len(programs)


def test_which_output_is_used_belongs_to_the_structure() -> None:
    x = torch.randn(2, 6, requires_grad=True)
    assert graph_of(x.chunk(2, 1)[0].sum(1)).structure != graph_of(x.chunk(2, 1)[1].sum(1)).structure


def test_a_parameter_used_twice_is_one_leaf() -> None:
    weight = torch.randn(4, 4, requires_grad=True)
    graph = graph_of(F.linear(F.linear(torch.randn(2, 4), weight).sin(), weight).sum(1))
    assert [graph.name(place) for place in range(len(graph.nodes))].count(LEAF) == 1


def test_a_custom_function_is_an_operation() -> None:
    graph = graph_of(Cubed.apply(torch.randn(2, 4), torch.randn(4, requires_grad=True)).sum(1))
    assert [graph.name(place) for place in range(len(graph.nodes))] == [LEAF, "CubedBackward", "SumBackward1"]


def test_values_that_depend_on_no_parameter_have_no_graph() -> None:
    graph = graph_of(torch.randn(3))
    assert graph.nodes == () and graph.structure == ()


def test_a_long_chain_needs_no_deep_stack() -> None:
    x = torch.randn(2, requires_grad=True)
    values = x
    for _ in range(5000):
        values = values + 1
    assert len(graph_of(values).nodes) == 5001
