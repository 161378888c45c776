"""The graph that autograd records of a forward pass, as a list of operations in a fixed order.

It shows every operation by which a parameter reaches the answers, whoever called it: a layer, a
function, a subclass of a layer. So nothing has to be guessed from the types of modules.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.autograd.graph import Node

LEAF = "torch::autograd::AccumulateGrad"


@dataclass(frozen=True)
class Graph:
    """The operations behind some values, each after all that it depends on; the last one gives the values.

    Args:
        nodes: the operations and, as leaves, the parameters.
        structure: for each node its name and, for each input, the place in `nodes` of the operation
            it comes from (-1: none that is differentiated) and which output of that it is.
    """

    nodes: tuple[Node, ...]
    structure: tuple[tuple[str, tuple[tuple[int, int], ...]], ...]

    def inputs(self, index: int) -> tuple[tuple[int, int], ...]:
        """Where the inputs of a node come from: (place in `nodes` or -1, number of the output)."""
        return self.structure[index][1]

    def name(self, index: int) -> str:
        """The name of a node's operation, such as `AddmmBackward0`."""
        return self.structure[index][0]

    def shapes(self, index: int) -> tuple[tuple[int, ...], ...]:
        """The shape of each output of a node."""
        return tuple(tuple(output.shape) for output in self.nodes[index]._input_metadata)

    def leaf(self, index: int) -> Tensor | None:
        """The parameter that a node stands for, None if it is an operation."""
        return self.nodes[index].variable if self.name(index) == LEAF else None  # type: ignore[attr-defined]


def graph_of(values: Tensor) -> Graph:
    """The graph behind `values`, in the order of a depth-first walk: the same for every run of one program."""
    root = values.grad_fn
    if root is None:
        return Graph((), ())
    places: dict[Node, int] = {}
    children: dict[Node, tuple[tuple[Node | None, int], ...]] = {}
    waiting = [root]
    while waiting:
        node = waiting[-1]
        if node in places:
            waiting.pop()
        elif node not in children:
            children[node] = node.next_functions
            waiting.extend(child for child, _ in reversed(children[node]) if child is not None and child not in places)
        else:
            places[waiting.pop()] = len(places)
    structure = tuple(
        (node.name(), tuple((-1 if child is None else places[child], output) for child, output in children[node]))
        for node in places
    )
    return Graph(tuple(places), structure)
