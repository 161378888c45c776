"""One pass of a batch: the sum over its images of |gradient|, for every shared parameter.

The forward pass runs as it is. The backward pass is asked for no parameter's gradient: it ends at
the first operation that has one, and on its way tells every other what gradient arrives there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from mascli.importance.graph import Graph, graph_of
from mascli.importance.images import Images
from mascli.importance.objective import Measure, squared_l2
from mascli.importance.plan import Plan, Use
from mascli.importance.reduction import Reduction
from mascli.importance.reference import reference_sums
from mascli.importance.rules import Seen, Visit, is_asked
from mascli.importance.rules.registry import CHUNK_NUMBERS
from mascli.models.heads import MultiHeadModel


class Surprise(Exception):
    """A batch that does not run as planned; the message says what it did otherwise."""


def batch_sums(
    plan: Plan, model: MultiHeadModel, images: Images, tasks: tuple[str, ...], measure: Measure
) -> tuple[dict[str, Tensor], Tensor]:
    """Sum over the images of a batch of |gradient| for each shared parameter, and |F|^2 of each image [N].

    Raises:
        Surprise: the batch did not run as the plan has it.
    """
    if plan.fallback:  # the one-image pass gives every parameter at once
        return reference_sums(model, images, tasks, measure)

    def part_sums(part: Images) -> tuple[dict[str, Tensor], Tensor]:
        if len(part) == 1:
            return reference_sums(model, part, tasks, measure)
        return rule_sums(plan, model, part, tasks, measure)

    return in_parts(images, plan.pass_size or len(images), part_sums)


def in_parts(
    images: Images, size: int, part_sums: Callable[[Images], tuple[dict[str, Tensor], Tensor]]
) -> tuple[dict[str, Tensor], Tensor]:
    """What `part_sums` gives for parts of at most `size` images: the sums added up, the values of all images [N]."""
    sums: dict[str, Tensor] = {}
    values = []
    for part in images.split(size):
        found, norms = part_sums(part)
        for name, total in found.items():
            sums[name] = sums[name].add_(total) if name in sums else total
        values.append(norms)
    return sums, torch.cat(values)


def rule_sums(
    plan: Plan, model: MultiHeadModel, images: Images, tasks: tuple[str, ...], measure: Measure
) -> tuple[dict[str, Tensor], Tensor]:
    """The same by rules: one forward and one backward pass of the batch.

    Each operation's part is computed as soon as the backward pass has come by, and what it needed is
    let go.

    Raises:
        Surprise: the batch did not run as the plan has it.
    """
    outputs = model(images.pixels, tasks)
    values = measure.objective(outputs, images.given)
    graph = planned_graph(plan, values)
    collected = Collected(plan, graph, measure.reduction)
    backward(values.sum(), graph, plan.uses, plan.deepest, collected.receive)
    if collected.waiting:
        raise Surprise("an operation gets no gradient")
    return collected.sums, squared_l2(outputs).detach()


def planned_graph(plan: Plan, values: Tensor) -> Graph:
    """The graph behind the objective's `values` [N], in which the uses have the places that the plan says.

    Raises:
        Surprise: it is not the graph that the plan was made for.
    """
    graph = graph_of(values)
    if graph.structure != plan.structure:
        raise Surprise("the network runs other operations for other images")
    for node, use in plan.uses.items():
        if not use.layout.fits(graph.shapes(node)[0], len(values)):
            raise Surprise(f"{graph.name(node)} gets a part of the images, or more than one copy of them")
    return graph


def backward(
    value: Tensor,
    graph: Graph,
    uses: Mapping[int, Any],
    deepest: frozenset[int],
    receive: Callable[[int, Tensor], None],
    keep: bool = False,
) -> None:
    """Run the backward pass of `value` and hand each of `uses` the gradient at its output.

    Args:
        keep: keep what the graph saved, for another pass.

    Raises:
        Surprise: an operation has several outputs, or the pass fails, as where a tensor was overwritten.
    """

    def hook(node: int) -> Callable[[tuple[Tensor | None, ...]], None]:
        def arrived(gradients: tuple[Tensor | None, ...]) -> None:
            if is_asked(graph.nodes[node]):
                return
            if any(gradient is not None for gradient in gradients[1:]):
                raise Surprise(f"{graph.name(node)} has several outputs")
            if gradients[0] is not None:
                receive(node, gradients[0])

        return arrived

    ends = sorted(deepest)
    if not ends:
        return
    handles = [graph.nodes[node].register_prehook(hook(node)) for node in uses if node not in deepest]
    try:
        edges = [GradientEdge(graph.nodes[node], 0) for node in ends]
        arrived = torch.autograd.grad(value, edges, allow_unused=True, retain_graph=keep)
        with torch.no_grad():
            for node, gradient in zip(ends, arrived, strict=True):
                if gradient is not None:
                    receive(node, gradient)
    except torch.OutOfMemoryError:
        raise
    except Surprise:
        raise
    except Exception as error:  # whatever a function's own backward pass may raise when it runs again
        raise Surprise(_reason(error)) from error
    finally:
        for handle in handles:
            handle.remove()


def _reason(error: Exception) -> str:
    if "modified by an inplace operation" in str(error):
        return "a tensor that the backward pass needs is overwritten"
    return f"the backward pass of a batch fails ({str(error).strip().splitlines()[0].rstrip('.')})"


class Collected:
    """The sums of a batch, from what the backward pass tells of each use.

    A use whose parameters have no other goes at once. The others wait for each other: an image's
    gradients of all uses are added before the absolute value.
    """

    def __init__(self, plan: Plan, graph: Graph, reduction: Reduction) -> None:
        self.sums: dict[str, Tensor] = {}
        self._plan, self._graph = plan, graph
        self._reduction = reduction
        self._groups = {node: group for group in plan.groups for node in group[0]}
        self.waiting: dict[int, Seen] = {}

    def receive(self, node: int, gradient: Tensor) -> None:
        """Take in the gradient at the output of a use."""
        use, graph = self._plan.uses[node], self._graph
        inputs = [graph.inputs(node)[slot] for slot in use.slots]
        shapes = tuple(graph.shapes(child)[output] for child, output in inputs)
        seen = use.rule.see(Visit(graph.nodes[node], use.slots, shapes, gradient, use.layout))
        nodes, names = self._groups[node]
        pointwise = self._reduction.pointwise
        if pointwise is not None and use.plain and len(nodes) == 1 and len(names) == len(use.slots):
            for slot, total in seen.sum_over_images(pointwise).items():
                self.sums.update(self._pulled_back([(use, slot, total)], names))
            return
        self.waiting[node] = seen
        if nodes <= self.waiting.keys():
            self._add_together([(self._plan.uses[n], self.waiting.pop(n)) for n in sorted(nodes)], names)

    def _add_together(self, parts: list[tuple[Use, Seen]], names: tuple[str, ...]) -> None:
        images = parts[0][1].visit.images
        chunk = max(1, CHUNK_NUMBERS // max(1, sum(self._parameter(name).numel() for name in names)))
        for start in range(0, images, chunk):
            stop = min(start + chunk, images)
            each = [(use, seen.per_image(slice(start, stop))) for use, seen in parts]
            for image in range(stop - start):
                one = [(use, slot, gradients[image]) for use, found in each for slot, gradients in found.items()]
                for name, gradient in self._pulled_back(one, names).items():
                    self.take(name, start + image, gradient)

    def take(self, name: str, image: int, gradient: Tensor) -> None:
        """Take in the gradient of one image, which may be changed."""
        part = self._reduction.of(gradient, self._parameter(name))
        self.sums[name] = self.sums[name].add_(part) if name in self.sums else part

    def _pulled_back(self, parts: list[tuple[Use, int, Tensor]], names: tuple[str, ...]) -> dict[str, Tensor]:
        """From gradients at the inputs of operations to gradients of the parameters that these are made of."""
        graph, found, rest = self._graph, dict[str, Tensor](), list[tuple[GradientEdge, Tensor]]()
        places = {self._plan.leaves[name]: name for name in names}
        for use, slot, gradient in parts:
            child, output = graph.inputs(use.node)[slot]
            while graph.name(child) in ("TBackward0", "ToCopyBackward0"):
                gradient = gradient.t() if graph.name(child) == "TBackward0" else gradient
                child, output = graph.inputs(child)[0]
            if child in places:
                _add_to(found, places[child], gradient)
            else:
                rest.append((GradientEdge(graph.nodes[child], output), gradient))
        if rest:
            leaves = [self._parameter(name) for name in names]
            edges, gradients = zip(*rest, strict=True)
            pulled = torch.autograd.grad(edges, leaves, gradients, retain_graph=True, allow_unused=True)
            for name, gradient in zip(names, pulled, strict=True):
                if gradient is not None:  # a copy: autograd may give two parameters one tensor
                    _add_to(found, name, gradient.clone())
        return {name: gradient.contiguous() for name, gradient in found.items()}

    def _parameter(self, name: str) -> Tensor:
        leaf = self._graph.leaf(self._plan.leaves[name])
        assert leaf is not None
        return leaf


def _add_to(found: dict[str, Tensor], name: str, gradient: Tensor) -> None:
    found[name] = found[name] + gradient if name in found else gradient
