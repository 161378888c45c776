"""Before the first number: how each shared parameter gets its importance.

A plan finds every operation by which a parameter reaches the answers (a *use*: an input of it comes
from parameters alone, its output belongs to images) and the rule for it. It is made from the graphs
of two passes of different size, so that nothing is known of the modules' types. What it takes for
granted is tried on real images (`trial.py`) and compared with every batch (`passes.py`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from mascli.importance.graph import Graph
from mascli.importance.layout import Layout
from mascli.importance.rules import ANY_OPERATION, RULES, Rule

# Operations that only move numbers about, none of them twice: the absolute value may be taken before.
REARRANGING = frozenset(
    f"{name}Backward0"
    for name in (
        *(
            "T",
            "Transpose",
            "Permute",
            "View",
            "UnsafeView",
            "ReshapeAlias",
            "ToCopy",
            "Unsqueeze",
            "Squeeze",
            "Clone",
            "Alias",
        ),
        *("Slice", "Select", "Split", "SplitWithSizes", "Unbind"),
    )
)


@dataclass(frozen=True)
class Use:
    """One operation in which parameters meet images.

    Args:
        node: its place in the graph.
        slots: which of its inputs come from parameters.
        layout: where the images are in its output.
        names: the shared parameters behind these inputs.
        plain: whether each input is a parameter, or one whose numbers were only moved about.
    """

    node: int
    slots: tuple[int, ...]
    layout: Layout
    rule: Rule
    names: tuple[str, ...]
    plain: bool


@dataclass(frozen=True)
class Plan:
    """Who computes what.

    Args:
        structure: the graph that every batch must have (see `Graph.structure`).
        uses: all uses, by their place in the graph.
        deepest: uses below which there is no other: where a backward pass may end.
        groups: uses (by place) whose parameters are computed together, and these parameters.
        leaves: the place of each shared parameter in the graph.
        fallback: parameters that need one pass an image, with the reason.
        unused: parameters that get no gradient in an evaluation pass, or are frozen.
        way: one way of computing for all parameters that needs no rules; empty where there are rules.
        pass_size: how many images go through the network at once; 0: all of a batch.
    """

    structure: tuple[Any, ...] = ()
    uses: Mapping[int, Use] = field(default_factory=dict)
    deepest: frozenset[int] = frozenset()
    groups: tuple[tuple[frozenset[int], tuple[str, ...]], ...] = ()
    leaves: Mapping[str, int] = field(default_factory=dict)
    fallback: Mapping[str, str] = field(default_factory=dict)
    unused: tuple[str, ...] = ()
    way: str = ""
    pass_size: int = 0

    def counts(self) -> dict[str, int]:
        """How many parameter tensors each way of computing is responsible for.

        A single parameter in the fallback takes all others along: one image's pass gives them all.
        """
        ways = Counter(dict(sorted(self._ways().items())).values())
        return dict(ways) | ({"unused": len(self.unused)} if self.unused else {})

    def _ways(self) -> dict[str, str]:
        if self.fallback:
            return dict.fromkeys([*self.leaves, *self.fallback], "one image at a time")
        ways = dict.fromkeys(self.leaves, self.way) if self.way else {}
        for use in self.uses.values():
            ways.update(dict.fromkeys(use.names, use.rule.name))
        return ways

    def falling_back(self, names: Mapping[str, str]) -> Plan:
        """The plan in which the parameters `names` need one pass an image, each for its reason."""
        return replace(self, fallback={**self.fallback, **names})


def make_plan(
    graphs: tuple[Graph, Graph],
    parameters: Mapping[str, Tensor],
    layouts: Mapping[int, Layout],
    distrusted: frozenset[int],
) -> Plan:
    """The plan for the graphs of two passes of different size.

    Args:
        parameters: every shared parameter that has a gradient.
        layouts: where the images are in the output of each use, by place (see `find_uses`).
        distrusted: uses whose own rule was found wrong; they go to the rule for any operation.
    """
    graph = graphs[0]
    leaves = leaves_of(graph, parameters)
    sources = _sources(graphs, leaves)
    names = {place: name for name, place in leaves.items()}
    uses, fallback = {}, {}
    for node, slots in find_uses(graphs, leaves).items():
        own = sorted({names[leaf] for slot in slots for leaf in sources[graph.inputs(node)[slot][0]] or ()})
        layout = layouts.get(node)
        if layout is None:
            reason = f"the images are not told apart at {graph.name(node)}"
            fallback.update(dict.fromkeys(own, reason))
            continue
        rule = RULES.get(graph.name(node), ANY_OPERATION)
        if node in distrusted or not rule.takes(graph.nodes[node], slots, layout):
            rule = ANY_OPERATION
        uses[node] = Use(node, slots, layout, rule, tuple(own), all(_is_plain(graph, node, slot) for slot in slots))
    covered = {name for use in uses.values() for name in use.names}
    for name in parameters.keys() - covered - fallback.keys():
        fallback[name] = "it reaches the answers in a way that no operation on images shows"
    return Plan(graph.structure, uses, no_other_below(graph, uses), _groups(uses), leaves, fallback)


def find_uses(graphs: tuple[Graph, Graph], leaves: Mapping[str, int]) -> dict[int, tuple[int, ...]]:
    """Each operation in which parameters meet images, by place, and its inputs that come from parameters alone."""
    graph, sources = graphs[0], _sources(graphs, leaves)
    found: dict[int, list[int]] = defaultdict(list)
    for node in range(len(graph.nodes)):
        if sources[node] is None:
            for slot, (child, _) in enumerate(graph.inputs(node)):
                if child >= 0 and sources[child]:
                    found[node].append(slot)
    return {node: tuple(slots) for node, slots in found.items()}


def image_places(graphs: tuple[Graph, Graph], leaves: Mapping[str, int]) -> list[int]:
    """The places of all operations on what comes from images, by other operations."""
    graph, sources = graphs[0], _sources(graphs, leaves)
    inputs = [[child for child, _ in graph.inputs(place) if child >= 0] for place in range(len(sources))]
    return [place for place, children in enumerate(inputs) if any(sources[child] is None for child in children)]


def leaves_of(graph: Graph, parameters: Mapping[str, Tensor]) -> dict[str, int]:
    """The place of each of `parameters` in the graph, of those that are in it."""
    names = {id(parameter): name for name, parameter in parameters.items()}
    found = {}
    for place in range(len(graph.nodes)):
        leaf = graph.leaf(place)
        if leaf is not None and id(leaf) in names:
            found[names[id(leaf)]] = place
    return found


def _sources(graphs: tuple[Graph, Graph], leaves: Mapping[str, int]) -> list[frozenset[int] | None]:
    """For each node the shared parameters it is made of, None if images have a part in it."""
    graph, places = graphs[0], set(leaves.values())
    found: list[frozenset[int] | None] = []
    for node in range(len(graph.nodes)):
        children = [found[child] for child, _ in graph.inputs(node) if child >= 0]
        if graph.leaf(node) is not None:
            found.append(frozenset({node} & places))
        elif None in children or not children or graph.shapes(node) != graphs[1].shapes(node):
            found.append(None)
        else:
            found.append(frozenset().union(*(child for child in children if child is not None)))
    return found


def _is_plain(graph: Graph, node: int, slot: int) -> bool:
    """Whether an input is one parameter, at most with its numbers moved about."""
    child = graph.inputs(node)[slot][0]
    while graph.leaf(child) is None:
        inputs = graph.inputs(child)
        if graph.name(child) not in REARRANGING or len(inputs) != 1:
            return False
        child = inputs[0][0]
    return True


def no_other_below(graph: Graph, uses: Collection[int]) -> frozenset[int]:
    """The uses from which the way down comes by no other: a backward pass that gets there came by all."""
    below: list[bool] = []
    for node in range(len(graph.nodes)):
        below.append(any(child >= 0 and (child in uses or below[child]) for child, _ in graph.inputs(node)))
    return frozenset(node for node in uses if not below[node])


def _groups(uses: Mapping[int, Use]) -> tuple[tuple[frozenset[int], tuple[str, ...]], ...]:
    """Uses that share a parameter, directly or through others."""
    groups: list[tuple[set[int], set[str]]] = []
    for node, use in uses.items():
        joined = [group for group in groups if group[1] & set(use.names)]
        groups = [group for group in groups if group not in joined]
        groups.append(
            ({node}.union(*(nodes for nodes, _ in joined)), set(use.names).union(*(names for _, names in joined)))
        )
    return tuple((frozenset(nodes), tuple(sorted(names))) for nodes, names in groups)
