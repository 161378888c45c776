"""Importance by each output on its own: how far the vector of outputs moves with a parameter.

    Omega = (1/N) sum_k sqrt( sum_o (d F_o(x_k) / d theta)^2 )

over the outputs o of all heads, concatenated: the Euclidean norm over outputs in place of the gradient
of one scalar (Aljundi et al. 2018, section 4.1, where the squared L2 norm is its cheap stand-in). It
takes one backward pass for each output.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mascli.importance.graph import Graph
from mascli.importance.images import Images
from mascli.importance.objective import Measure, squared_l2
from mascli.importance.passes import Collected, Surprise, backward, in_parts, planned_graph
from mascli.importance.plan import Plan
from mascli.importance.reduction import Reduction
from mascli.importance.reference import with_company
from mascli.models.heads import MultiHeadModel

# Images of a chunk times parameters: the squares of so many numbers are kept.
SQUARES = 1 << 26


def each_output_sums(
    plan: Plan, model: MultiHeadModel, images: Images, tasks: tuple[str, ...], measure: Measure
) -> tuple[dict[str, Tensor], Tensor]:
    """Sum over images of the norm over outputs for each shared parameter, and |F|^2 of each image [N].

    One forward pass of a chunk of images, and one backward pass for each output.

    Raises:
        Surprise: a chunk did not run as the plan has it.
    """
    parameters = model.shared_parameters()
    size = max(1, SQUARES // max(1, sum(parameter.numel() for parameter in parameters.values())))

    def part_sums(part: Images) -> tuple[dict[str, Tensor], Tensor]:
        if plan.fallback or len(part) == 1:
            return reference_each_output(model, part, tasks, measure)
        return _chunk_sums(plan, model, part, tasks, measure)

    return in_parts(images, size, part_sums)


def reference_each_output(
    model: MultiHeadModel, images: Images, tasks: tuple[str, ...], measure: Measure
) -> tuple[dict[str, Tensor], Tensor]:
    """The same the slow and obvious way: one image, one backward pass for each output, square, add, root."""
    parameters = model.shared_parameters()
    trained = {name: parameter for name, parameter in parameters.items() if parameter.requires_grad}
    sums = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    norms = []
    for image in images.split(1):
        outputs = torch.cat(model(with_company(model, image).pixels, tasks), 1)[0]
        squares = {name: torch.zeros_like(parameter) for name, parameter in trained.items()}
        for output in outputs if trained else ():
            gradients = torch.autograd.grad(output, list(trained.values()), retain_graph=True, allow_unused=True)
            for square, gradient in zip(squares.values(), gradients, strict=True):
                if gradient is not None:
                    square.add_(gradient.square())
        for name, square in squares.items():
            sums[name] += measure.reduction.of(square.sqrt_(), parameters[name])
        norms.append(outputs.detach().square().sum().view(1))
    return sums, torch.cat(norms)


def _chunk_sums(
    plan: Plan, model: MultiHeadModel, images: Images, tasks: tuple[str, ...], measure: Measure
) -> tuple[dict[str, Tensor], Tensor]:
    heads = model(images.pixels, tasks)
    norms = squared_l2(heads)
    graph = planned_graph(plan, norms)  # the one that was tried; every output's own is a part of it
    squares = _Squares(plan, graph, measure.reduction, len(images))
    outputs = torch.cat(heads, 1)
    for number in range(outputs.shape[1]):
        value, last = outputs[:, number].sum(), number == outputs.shape[1] - 1
        backward(value, graph, plan.uses, plan.deepest, squares.receive, keep=not last)
        squares.check_complete()
    return squares.summed(), norms.detach()


class _Squares(Collected):
    """For each parameter and image, the squares of its gradients added over backward passes: [N, *shape]."""

    def __init__(self, plan: Plan, graph: Graph, reduction: Reduction, images: int) -> None:
        # without its shortcut for sums over images: the gradients of each image are asked for
        super().__init__(plan, graph, Reduction(reduction.name, reduction.of))
        self._images = images
        self._squares: dict[str, Tensor] = {}

    def take(self, name: str, image: int, gradient: Tensor) -> None:
        if name not in self._squares:
            self._squares[name] = gradient.new_zeros(self._images, *gradient.shape)
        self._squares[name][image].addcmul_(gradient, gradient)

    def check_complete(self) -> None:
        if self.waiting:
            raise Surprise("an output does not depend on all uses of a parameter")

    def summed(self) -> dict[str, Tensor]:
        """Root, reduction, and sum over images."""
        return {
            name: self._reduction.of(squares.sqrt_(), self._parameter(name)).sum(0)
            for name, squares in self._squares.items()
        }
