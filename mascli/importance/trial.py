"""Tries a model on a few images against the reference, before a plan for it is believed.

A model has to answer for each image alone, and what the rules give has to be the reference's. So a
use that nobody thought of falls back instead of being wrong.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from mascli.errors import UnsupportedModelError
from mascli.importance.graph import Graph, graph_of
from mascli.importance.images import Images
from mascli.importance.layout import Layout, agrees, image_dimension, layouts
from mascli.importance.objective import Measure
from mascli.importance.passes import Surprise, backward, rule_sums
from mascli.importance.plan import Plan, find_uses, image_places, leaves_of, make_plan, no_other_below
from mascli.importance.reduction import ABS
from mascli.importance.reference import image_gradients
from mascli.importance.routing import picks_images
from mascli.models.heads import MultiHeadModel

# Two images could pass for two crops, or two time steps, of one.
TRIAL_IMAGES = 3

# Relative L1 difference to the reference beyond which a rule is not believed: far above float32
# noise, far below any real mistake.
TOLERANCE = 1e-2
DISAGREES = "the rules do not give the reference's gradient here"


def tried_plan(model: MultiHeadModel, images: Images, tasks: tuple[str, ...], measure: Measure) -> Plan:
    """A plan for `model`, in eval mode, that gave the reference's importance for some of `images` [n, C, H, W].

    What fails in float32 gets a second opinion in float64: in a deep network, rounding alone can look
    like a wrong rule, or like images that influence each other.

    Raises:
        UnsupportedModelError: the answer for an image is random, or depends on the other images of
            its batch, or cannot be differentiated; or a parameter is complex.
    """
    doubt: UnsupportedModelError | Plan
    try:
        doubt = _tried(model, images, tasks, measure)
        if DISAGREES not in doubt.fallback.values():
            return doubt
    except UnsupportedModelError as error:
        doubt = error
    hooked = any(parameter._backward_hooks for parameter in model.parameters())  # a copy would lose these
    if images.pixels.dtype != torch.float64 and images.pixels.device.type != "mps" and not hooked:
        with suppress(RuntimeError, TypeError):  # of a network that cannot be copied, or not run in float64
            exact = copy.deepcopy(model).double()
            return _tried(exact, Images(images.pixels.double(), images.given), tasks, measure)
    if isinstance(doubt, UnsupportedModelError):
        raise doubt
    return doubt


def _tried(model: MultiHeadModel, images: Images, tasks: tuple[str, ...], measure: Measure) -> Plan:
    """The same in the model's own precision."""
    for name, parameter in model.shared_parameters().items():
        if parameter.is_complex():
            raise UnsupportedModelError(f"parameter {name} is complex, and importance is for real ones")
    # a reduction that needs each image's gradient is tried on the way that gives it
    reduction = replace(ABS, pointwise=ABS.pointwise if measure.reduction.pointwise else None)
    images, measure = trial_images(images), replace(measure, reduction=reduction)
    refuse_mixed_images(model, images, tasks)
    expected = _expected(model, images, tasks, measure)
    used = {name: model.shared_parameters()[name] for name, value in expected.items() if value is not None}
    vanishing = any(value is not None and not value.any() for value in expected.values())
    with shaken(used.values()) if vanishing else nullcontext():
        generic = _expected(model, images, tasks, measure) if vanishing else expected
        plan = _plan_that_agrees(model, images, tasks, measure, used, generic)
    if vanishing:
        wrong = _disagreements(plan, model, images, tasks, measure, expected)
        plan = plan.falling_back(wrong)
    return replace(plan, unused=tuple(name for name in expected if name not in used))


def trial_images(images: Images) -> Images:
    """The first two of `images` and, for where these are blank, seeded noise: three in all."""
    some = images.part(slice(TRIAL_IMAGES - 1))
    missing = TRIAL_IMAGES - len(some)
    noise = torch.randn(missing, *images.pixels.shape[1:], generator=torch.Generator().manual_seed(0))
    pixels = torch.cat([some.pixels, noise.to(images.pixels)])
    given = images.given
    return Images(pixels, None if given is None else given[torch.arange(TRIAL_IMAGES) % len(some)])


@contextmanager
def shaken(parameters: Iterable[Tensor]) -> Iterator[None]:
    """Move the parameters a little inside this context, so that no gradient vanishes by accident.

    A fresh network may multiply whole branches by zero; nothing could be tried there.
    """
    before = [(parameter, parameter.detach().clone()) for parameter in parameters]
    generator = torch.Generator().manual_seed(0)
    try:
        with torch.no_grad():
            for parameter, values in before:
                noise = torch.randn(values.shape, generator=generator).to(values)
                spread = float(values.float().std()) if values.numel() > 1 else 0.0
                parameter.add_(noise * max(0.1 * spread, 0.01))
        yield
    finally:
        with torch.no_grad():
            for parameter, values in before:
                parameter.copy_(values)


def refuse_mixed_images(model: MultiHeadModel, images: Images, tasks: tuple[str, ...]) -> None:
    """Refuse a model in which no image has a gradient of its own.

    Raises:
        UnsupportedModelError: its answers are random, or depend on the other images of the batch.
    """
    for name, module in model.network.named_modules():
        if isinstance(module, _BatchNorm) and module.running_mean is None:
            raise UnsupportedModelError(
                f"layer {name} is a batch norm without running statistics: it mixes the images of a batch, so that "
                "no image has a gradient of its own; build the model with track_running_stats=True"
            )
    with torch.no_grad():
        together, again = (torch.cat(model(images.pixels, tasks), 1) for _ in range(2))
        alone = torch.cat([torch.cat(model(image.pixels, tasks), 1) for image in images.split(1)])
    if not _close(together, again):
        raise UnsupportedModelError("the network's answers are random, also in eval mode (dropout that stays on?)")
    if not _close(together, alone):
        raise UnsupportedModelError(
            "the network's answer for an image depends on the other images of its batch, so that no image has a "
            "gradient of its own"
        )


def _plan_that_agrees(
    model: MultiHeadModel,
    images: Images,
    tasks: tuple[str, ...],
    measure: Measure,
    used: Mapping[str, Tensor],
    expected: Mapping[str, Tensor | None],
) -> Plan:
    """A plan by rules as far as they give what is `expected`; what they do not is in its fallback."""
    sizes = len(images), len(images) - 1
    parts = [images.part(slice(size)) for size in sizes]
    values = [measure.objective(model(part.pixels, tasks), part.given) for part in parts]
    graphs = graph_of(values[0]), graph_of(values[1])
    if graphs[0].structure != graphs[1].structure:
        return Plan(fallback=dict.fromkeys(used, "the network runs other operations for other images"))
    dependent = image_places(graphs, leaves_of(graphs[0], used))
    picking = picks_images(graphs, sizes, dependent)
    if picking is not None:
        return Plan(fallback=dict.fromkeys(used, f"{picking} may pick images by what is in them"))
    try:
        layouts = _layouts(values[0], graphs, sizes, used)
        plan = make_plan(graphs, used, layouts, frozenset())
        wrong = _disagreements(plan, model, images, tasks, measure, expected)
        if wrong:
            distrusted = frozenset(node for node, use in plan.uses.items() if wrong.keys() & set(use.names))
            plan = make_plan(graphs, used, layouts, distrusted)
            wrong = _disagreements(plan, model, images, tasks, measure, expected)
    except (Surprise, RuntimeError) as problem:
        return Plan(fallback=dict.fromkeys(used, str(problem).strip().splitlines()[0]))
    return plan.falling_back(wrong)


def _layouts(
    values: Tensor, graphs: tuple[Graph, Graph], sizes: tuple[int, int], used: Mapping[str, Tensor]
) -> dict[int, Layout]:
    """Where the images are in the output of each use that can tell them apart."""
    graph = graphs[0]
    uses = find_uses(graphs, leaves_of(graph, used))
    fitting: dict[int, list[Layout]] = {}
    for node in uses:
        grown = image_dimension(graphs[0].shapes(node)[0], graphs[1].shapes(node)[0], sizes)
        fitting[node] = layouts(*grown) if grown is not None else []
    ends = no_other_below(graph, uses)
    for image, value in enumerate(values):

        def narrow(node: int, gradient: Tensor, image: int = image) -> None:
            fitting[node] = [layout for layout in fitting[node] if agrees(layout, gradient, image)]

        backward(value, graph, uses, ends, narrow, keep=True)
    return {node: fits[0] for node, fits in fitting.items() if fits}


def _disagreements(
    plan: Plan,
    model: MultiHeadModel,
    images: Images,
    tasks: tuple[str, ...],
    measure: Measure,
    expected: Mapping[str, Tensor | None],
) -> dict[str, str]:
    """The parameters for which the plan does not give what is `expected`, with a reason."""
    if plan.fallback:
        return {}
    try:
        sums, _ = rule_sums(plan, model, images, tasks, measure)
    except Surprise as surprise:
        return dict.fromkeys(plan.leaves, str(surprise))
    means = {name: float(value.mean()) for name, value in expected.items() if value is not None and value.numel()}
    exact = all(value is None or value.dtype == torch.float64 for value in expected.values())
    floor = (1e-12 if exact else 1e-6) * max(means.values(), default=0.0)  # a gradient of zero is rounding only
    wrong = {}
    for name, mean in means.items():
        value = expected[name]
        assert value is not None
        difference = float((sums.get(name, torch.zeros_like(value)) - value).abs().mean())
        if not difference <= TOLERANCE * mean + floor:
            wrong[name] = DISAGREES
    return wrong


def _expected(
    model: MultiHeadModel, images: Images, tasks: tuple[str, ...], measure: Measure
) -> dict[str, Tensor | None]:
    """Sum over `images` of |gradient| by the reference, None for a parameter without one."""
    sums: dict[str, Tensor | None] = {}
    try:
        for image in images.split(1):
            gradients, _ = image_gradients(model, image, tasks, measure.objective)
            for name, gradient in gradients.items():
                known = sums.get(name)
                sums[name] = known if gradient is None else gradient.abs() if known is None else known + gradient.abs()
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise UnsupportedModelError(f"the network's answers cannot be differentiated ({reason})") from error
    return sums


def _close(one: Tensor, other: Tensor) -> bool:
    size = float(other.abs().mean())
    atol = 1e-2 * size if math.isfinite(size) else 0.0
    return torch.allclose(one, other, rtol=1e-2, atol=atol + 1e-12, equal_nan=True)
