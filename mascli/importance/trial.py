"""Tries a model and its plan on a few images against the reference, before they are believed.

A model has to answer for each image alone, and every rule has to give the reference's gradient here.
So a layer that is used in a way that nobody thought of falls back instead of being wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from mascli.errors import UnsupportedModelError
from mascli.importance.capture import Surprise
from mascli.importance.objective import Objective
from mascli.importance.passes import rule_sums
from mascli.importance.plan import Plan, make_plan
from mascli.importance.reference import image_gradients
from mascli.models.heads import MultiHeadModel

# Two images could pass for two crops, or two time steps, of one.
TRIAL_IMAGES = 3

# Relative L1 difference to the reference beyond which a rule is not believed: far above float32
# noise, far below any real mistake.
TOLERANCE = 1e-2


def tried_plan(model: MultiHeadModel, images: Tensor, tasks: tuple[str, ...], objective: Objective) -> Plan:
    """A plan for `model`, in eval mode, every rule of which was right for some of `images` [n, C, H, W].

    Raises:
        UnsupportedModelError: the answer for an image is random, or depends on the other images of
            its batch, or cannot be differentiated.
    """
    images = trial_images(images)
    refuse_mixed_images(model, images, tasks)
    try:
        gradients = [image_gradients(model, image, tasks, objective)[0] for image in images.split(1)]
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise UnsupportedModelError(f"the network's answers cannot be differentiated ({reason})") from error
    expected = {name: _absolute_sum([gradient[name] for gradient in gradients]) for name in gradients[0]}
    plan = make_plan(model, images, tasks, expected)
    while plan.layers:
        try:
            sums, _ = rule_sums(plan, model, images, tasks, objective)
        except Surprise as surprise:
            plan = plan.without(surprise.path, surprise.reason)
        else:
            return _believed(plan, sums, expected)
    return plan


def trial_images(images: Tensor) -> Tensor:
    """The first two of `images` and, for where these are blank, seeded noise: three in all."""
    some = images[: TRIAL_IMAGES - 1]
    missing = TRIAL_IMAGES - len(some)
    noise = torch.randn(missing, *images.shape[1:], generator=torch.Generator().manual_seed(0))
    return torch.cat([some, noise.to(images)])


def refuse_mixed_images(model: MultiHeadModel, images: Tensor, tasks: tuple[str, ...]) -> None:
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
        together, again = (torch.cat(model(images, tasks), 1) for _ in range(2))
        alone = torch.cat([torch.cat(model(image, tasks), 1) for image in images.split(1)])
    if not _close(together, again):
        raise UnsupportedModelError("the network's answers are random, also in eval mode (dropout that stays on?)")
    if not _close(together, alone):
        raise UnsupportedModelError(
            "the network's answer for an image depends on the other images of its batch, so that no image has a "
            "gradient of its own"
        )


def _believed(plan: Plan, sums: Mapping[str, Tensor], expected: Mapping[str, Tensor | None]) -> Plan:
    """The plan without the layers whose rule did not give what was expected, or that nothing was seen of."""
    means = {name: float(value.mean()) for name, value in expected.items() if value is not None and value.numel()}
    floor = 1e-6 * max(means.values(), default=0.0)
    for path, rule in list(plan.layers.items()):
        own = [name for name, owner in plan.owners.items() if owner == path and name in means]
        if not any(means[name] for name in own):
            plan = plan.without(path, f"no gradient reaches it on the trial images, to try the {rule.name} rule on")
        for name in own:
            value = expected[name]
            assert value is not None
            difference = float((sums.get(name, torch.zeros_like(value)) - value).abs().mean())
            if not difference <= TOLERANCE * means[name] + floor and path in plan.layers:
                plan = plan.without(path, f"the {rule.name} rule does not give the reference's gradient here")
    return plan


def _close(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-2, atol=1e-2 * float(other.abs().mean()) + 1e-12, equal_nan=True)


def _absolute_sum(gradients: Sequence[Tensor | None]) -> Tensor | None:
    found = [gradient.abs() for gradient in gradients if gradient is not None]
    return torch.stack(found).sum(0) if found else None
