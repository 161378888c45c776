"""Importance of each layer for its own output, without a backward pass: l-MAS, the Hebbian form of the method.

Each layer counts as a function of its own (Aljundi et al. 2018, section 4.2): with output z and y =
sigma(z), sigma the element-wise activation that alone consumes z, else the identity, its objective is
|y|^2. The gradient at z is then 2 y sigma'(z), and the rules that turn (input, gradient at the output)
into importance are those of the global method. For a linear layer with ReLU: |2 y_i x_j|, whose
correlation of what fires before and after a connection is Hebb's rule. The factor 2 is kept: for a
network of one layer, the local method is the global one.

A layer is an operation in which parameters meet images (a *use*, see `plan.py`), together with the
addition of its own bias where that is an operation by itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, Node
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mascli.errors import UnsupportedModelError
from mascli.importance.graph import Graph
from mascli.importance.images import Images
from mascli.importance.layout import Layout
from mascli.importance.objective import Measure, squared_l2
from mascli.importance.passes import Collected, Surprise, planned_graph
from mascli.importance.plan import Plan
from mascli.importance.rules import Rule, Seen, Visit
from mascli.models.heads import MultiHeadModel

IDENTITY = "identity"

# Element-wise activations, and how autograd calls them: its own step gives sigma', its output is y.
# The second name is that of the form that overwrites z, where it differs.
ACTIVATIONS = {
    **{
        f"{name}Backward0": word
        for name, word in {
            "Relu": "relu",
            "Gelu": "gelu",
            "Silu": "silu",
            "Mish": "mish",
            "Sigmoid": "sigmoid",
            "Tanh": "tanh",
            "Hardswish": "hardswish",
            "Hardsigmoid": "hardsigmoid",
            "Hardtanh": "hardtanh",
            "LeakyRelu": "leaky_relu",
            "Elu": "elu",
            "Celu": "celu",
            "Softplus": "softplus",
            "LogSigmoid": "log_sigmoid",
            "Threshold": "threshold",
            "PreluKernel": "prelu",
            "ClampMin": "clamp_min",
            "Sin": "sin",
        }.items()
    },
    "HardtanhBackward1": "hardtanh",
    "LeakyReluBackward1": "leaky_relu",
    "EluBackward1": "elu",
    "CeluBackward1": "celu",
    "ThresholdBackward1": "threshold",
}
_OVERWRITING = {f"aten::{word}_" for word in ACTIVATIONS.values()}

# Operations whose output has all the numbers of their input, in another shape or order.
_MOVING = {
    *(f"{name}Backward0" for name in ("T", "Transpose", "Permute", "View", "UnsafeView", "ReshapeAlias", "Clone")),
    *(f"{name}Backward0" for name in ("Alias", "Unsqueeze", "Squeeze")),
    "SqueezeBackward1",
    "SqueezeBackward2",
}


@dataclass(frozen=True)
class Layer:
    """Where a use's y is read: the places in the graph whose outputs have its numbers, and which sigma made them."""

    places: tuple[int, ...]
    sigma: str


def layers_of(plan: Plan) -> dict[int, Layer]:
    """The layer of each use of a plan, by the place of the use."""
    consumers: dict[int, list[int]] = defaultdict(list)
    for place, (_, inputs) in enumerate(plan.structure):
        for child, _ in inputs:
            consumers[child].append(place)
    return {node: _followed(plan, node, consumers) for node in plan.uses}


def activations(plan: Plan) -> dict[str, str]:
    """The sigma of each parameter's layer, several for a parameter that is used several times."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for node, layer in layers_of(plan).items():
        for name in plan.uses[node].names:
            found[name][layer.sigma] = None
    return {name: ", ".join(words) for name, words in sorted(found.items())}


def _followed(plan: Plan, use: int, consumers: Mapping[int, list[int]]) -> Layer:
    place, same = use, [use]
    while len(consumers[place]) == 1:
        (place,) = consumers[place]
        name = plan.structure[place][0]
        if name in ACTIVATIONS:
            return Layer((place,), ACTIVATIONS[name])
        if name in _MOVING:
            same.append(place)
        elif name == "AddBackward0" and place in plan.uses and _module(plan, place) == _module(plan, use):
            same = [place]  # the layer's own bias
        else:
            break
    return Layer(tuple(same), IDENTITY)


def _module(plan: Plan, use: int) -> set[str]:
    """The modules that own the parameters of a use."""
    return {name.rpartition(".")[0] for name in plan.uses[use].names}


def check_local(plan: Plan) -> Plan:
    """The plan, if every parameter is in a layer that can be measured on its own.

    Raises:
        UnsupportedModelError: it has a parameter that no rule measures.
    """
    for name, reason in plan.fallback.items():
        raise UnsupportedModelError(f"--method mas-local cannot measure {name}: {reason}; use --method mas")
    return plan


def local_sums(
    plan: Plan, model: MultiHeadModel, images: Images, tasks: tuple[str, ...], measure: Measure
) -> tuple[dict[str, Tensor], Tensor]:
    """Sum over images of |gradient of the layer's own |y|^2| for each parameter, and |F|^2 of each image [N].

    One forward pass.

    Raises:
        UnsupportedModelError: the batch does not run as planned, or the output of a layer cannot be had.
    """
    if len(images) == 1:  # which may run by other operations: it counts twice, and half of it is taken
        twice = torch.cat([images.pixels, images.pixels])
        sums, norms = local_sums(plan, model, Images(twice), tasks, measure)
        return {name: total / 2 for name, total in sums.items()}, norms[:1]
    layers = layers_of(plan)
    outputs = _Outputs({plan.structure[place][0] for layer in layers.values() for place in layer.places})
    with outputs:
        norms = squared_l2(model(images.pixels, tasks))
    outputs.settle()
    try:
        graph = planned_graph(plan, norms)
    except Surprise as surprise:
        raise UnsupportedModelError(f"--method mas-local cannot measure this: {surprise}; use --method mas") from None
    collected = Collected(plan, graph, measure.reduction)
    for node, layer in layers.items():
        y = next((outputs.values[graph.nodes[p]] for p in layer.places if graph.nodes[p] in outputs.values), None)
        if y is None:
            raise UnsupportedModelError(
                f"--method mas-local cannot measure {plan.uses[node].names[0]}: the output of its layer "
                f"({graph.name(node)}) is overwritten before it can be read; use --method mas"
            )
        with torch.no_grad():
            collected.receive(node, _gradient(graph, node, layer.places, y, outputs.values))
    return collected.sums, norms.detach()


def reference_local(
    plan: Plan, model: MultiHeadModel, images: Images, tasks: tuple[str, ...], measure: Measure
) -> tuple[dict[str, Tensor], Tensor]:
    """The same one image at a time, with autograd's own step of each layer in place of its rule."""
    slow = replace(plan, uses={node: replace(use, rule=_OneStep()) for node, use in plan.uses.items()})
    sums: dict[str, Tensor] = {}
    norms = []
    for image in images.split(1):
        found, norm = local_sums(slow, model, image, tasks, measure)
        for name, part in found.items():
            sums[name] = sums[name] + part if name in sums else part
        norms.append(norm)
    return sums, torch.cat(norms)


class _Stepped(Seen):
    def per_image(self, images: slice) -> dict[int, Tensor]:
        visit, found = self.visit, defaultdict[int, list[Tensor]](list)
        for image in range(visit.images)[images]:
            alone = visit.layout.alone(visit.gradient, image)
            others = [None] * (len(visit.node._input_metadata) - 1)  # of its outputs
            gradients = visit.node(alone, *others)
            for slot, shape in zip(visit.slots, visit.shapes, strict=True):
                gradient = gradients[slot] if isinstance(gradients, tuple) else gradients
                found[slot].append(gradient.sum_to_size(shape))
        return {slot: torch.stack(parts) for slot, parts in found.items()}


class _OneStep(Rule):
    """The gradient of an image: autograd's own step of this one operation."""

    name = "one step"

    def takes(self, node: Any, slots: tuple[int, ...], layout: Layout) -> bool:
        return True

    def see(self, visit: Visit) -> Seen:
        return _Stepped(visit)


def _gradient(graph: Graph, use: int, places: tuple[int, ...], y: Tensor, values: Mapping[Node, Tensor]) -> Tensor:
    """The gradient of |y|^2 at the output z of a use: 2 y sigma'(z), by autograd's step of sigma."""
    place = next(p for p in places if graph.nodes[p] in values)
    if place == use:
        return 2 * y
    ends = [GradientEdge(graph.nodes[place], 0)], [GradientEdge(graph.nodes[use], 0)]
    (gradient,) = torch.autograd.grad(*ends, [2 * y.detach()], retain_graph=True)
    return gradient


class _Outputs(TorchDispatchMode):
    """Keeps the output of every operation with one of certain names, by its node in autograd's graph.

    Outputs are kept by reference. One that is about to be overwritten is copied first, unless by an
    activation: then what comes of it is what is asked for.

    Args:
        names: autograd's names of the operations.
    """

    def __init__(self, names: set[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.values: dict[Node, Tensor] = {}
        self._names = names
        self._new: list[Tensor] = []
        self._stored: dict[int, list[Node]] = defaultdict(list)

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        self.settle()
        if operation._schema.is_mutable:
            self._before_writing(operation, args, kwargs)
        result = operation(*args, **kwargs)
        self._new = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        return result

    def settle(self) -> None:
        """Take in the outputs of the operation before, which autograd has given their nodes by now."""
        for output in self._new:
            node = output.grad_fn
            if node is not None and node.name() in self._names and node not in self.values:
                self.values[node] = output
                self._stored[output.untyped_storage()._cdata].append(node)
        self._new = []

    def _before_writing(self, operation: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        given = [*zip(operation._schema.arguments, args, strict=False)]
        given += [
            (argument, kwargs[argument.name]) for argument in operation._schema.arguments if argument.name in kwargs
        ]
        for argument, tensor in given:
            if argument.alias_info is None or not argument.alias_info.is_write or not isinstance(tensor, Tensor):
                continue
            for node in self._stored.pop(tensor.untyped_storage()._cdata, ()):
                if operation._schema.name in _OVERWRITING:
                    del self.values[node]
                else:
                    self.values[node] = self.values[node].detach().clone()
