"""How importance is judged in tests: a model around a network, images, the definition, and the distance to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from mascli.importance.engine import Estimate, estimate_importance
from mascli.importance.images import Images
from mascli.importance.layout import Layout
from mascli.importance.objective import Measure
from mascli.importance.reference import reference_sums
from mascli.importance.rules import Visit
from mascli.models.heads import MultiHeadModel

# A gradient that is zero in truth (of the bias of an attention's keys) leaves rounding behind, which is
# compared with this part of the network's largest importance.
FLOOR = 1e-6

# Of a float64 estimate: the largest difference of a number, in parts of the largest in its tensor.
EXACT = 1e-10


def wrapped(network: nn.Module, dtype: torch.dtype = torch.float64, size: tuple[int, int] = (8, 8)) -> MultiHeadModel:
    """A model with the network's own head `base` and a new one, `new`."""
    model = MultiHeadModel(network, "", torch.zeros(2, 3, *size))
    model.import_head("base")
    model.add_head("new", 5)
    return model.to(dtype).eval()


def images(count: int, dtype: torch.dtype = torch.float64, size: tuple[int, int] = (8, 8)) -> Tensor:
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(1)).to(dtype)


def estimated(
    model: MultiHeadModel,
    batches: Iterable[Tensor],
    tasks: tuple[str, ...] = ("base",),
    measure: Measure | None = None,
) -> Estimate:
    return estimate_importance(model, map(Images, batches), tasks, measure or Measure())


def definition(
    model: MultiHeadModel, batch: Tensor, tasks: tuple[str, ...] = ("base",), measure: Measure | None = None
) -> dict[str, Tensor]:
    sums, _ = reference_sums(model, Images(batch), tasks, measure or Measure())
    return {name: total / len(batch) for name, total in sums.items()}


def errors(found: dict[str, Tensor], expected: dict[str, Tensor]) -> dict[str, float]:
    """For each tensor the largest difference of a number, in parts of the largest that is expected in it."""
    assert found.keys() == expected.keys()
    largest = {name: float(value.abs().max()) if value.numel() else 0.0 for name, value in expected.items()}
    floor = max(FLOOR * max(largest.values()), 1e-300)
    return {
        name: float((found[name] - value).abs().max()) / max(largest[name], floor) if value.numel() else 0.0
        for name, value in expected.items()
    }


def relative_l1(found: dict[str, Tensor], expected: dict[str, Tensor]) -> dict[str, float]:
    """For each tensor the sum of the differences, in parts of the sum of what is expected in it."""
    means = {name: float(value.abs().mean()) if value.numel() else 0.0 for name, value in expected.items()}
    floor = 1e-3 * max(means.values())  # float32 leaves more behind of a gradient of zero
    return {
        name: float((found[name] - value).abs().mean()) / max(means[name], floor) if value.numel() else 0.0
        for name, value in expected.items()
    }


def assert_exact(estimate: Estimate, expected: dict[str, Tensor]) -> None:
    found = errors(estimate.omega, expected)
    assert {name: error for name, error in found.items() if not error <= EXACT} == {}


def visit_of(output: Tensor, gradient: Tensor, parameters: Sequence[Tensor], layout: Layout | None = None) -> Visit:
    """What a rule is told of the operation that made `output`, `parameters` being among its inputs."""
    node, leaves = output.grad_fn, {id(parameter): parameter for parameter in parameters}
    assert node is not None
    slots, shapes = [], []
    for slot, (child, _) in enumerate(node.next_functions):
        variable = getattr(child, "variable", None)
        if id(variable) in leaves:
            slots.append(slot)
            shapes.append(tuple(leaves[id(variable)].shape))
    return Visit(node, tuple(slots), tuple(shapes), gradient, layout or Layout(0))


@torch.enable_grad()
def each_alone(
    function: Callable[[Tensor], Tensor], x: Tensor, gradient: Tensor, parameters: Sequence[Tensor]
) -> list[Tensor]:
    """The gradient of each image of `x` (dimension 0) alone: for each parameter [N, *shape]."""
    found = [torch.autograd.grad(function(x[i : i + 1]), parameters, gradient[i : i + 1]) for i in range(len(x))]
    return [torch.stack(gradients) for gradients in zip(*found, strict=True)]


def assert_close(found: Tensor, expected: Tensor, tolerance: float = EXACT) -> None:
    assert found.shape == expected.shape
    assert float((found - expected).abs().max()) <= tolerance * max(float(expected.abs().max()), 1e-300)
