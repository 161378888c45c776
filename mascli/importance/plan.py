"""Before the first number: who is responsible for each shared parameter.

A plan assigns every shared parameter to a rule, to the one-image-at-a-time fallback (with the
reason), or to the parameters that take no part in the evaluation pass. Every rule is then tried on
two real images against the reference, so that a layer which is used in a way that nobody thought of
falls back instead of being wrong.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mascli.errors import UnsupportedModelError
from mascli.importance.capture import Capture
from mascli.importance.objective import Objective
from mascli.importance.reference import image_gradients
from mascli.importance.rules import RULES, Rule, absolute_sum_of_uses
from mascli.models.heads import MultiHeadModel

# Relative L1 difference to the reference beyond which a rule is not believed: far above float32
# noise, far below any real mistake.
TRIAL_TOLERANCE = 1e-2


@dataclass(frozen=True)
class Plan:
    """Who computes what: `layers` path -> rule; `fallback` parameter -> reason; `unused` parameters.

    `copied` names the layers whose input is overwritten later in the pass.
    """

    layers: dict[str, Rule]
    fallback: dict[str, str]
    unused: tuple[str, ...]
    copied: frozenset[str]
    parameters: dict[str, str]  # parameter -> path of the layer that owns it

    def counts(self) -> dict[str, int]:
        """How many parameter tensors each way of computing is responsible for.

        A single parameter in the fallback takes all others along: one image's pass gives them all.
        """
        used = [path for name, path in self.parameters.items() if name not in self.unused]
        ways = Counter("one image at a time" if self.fallback else self.layers[path].name for path in used)
        return dict(ways) | ({"unused": len(self.unused)} if self.unused else {})


def make_plan(model: MultiHeadModel, images: Tensor, tasks: tuple[str, ...], objective: Objective) -> Plan:
    """Plan the pass of `model`, in eval mode, looking at up to two preprocessed images [n, C, H, W].

    Raises:
        UnsupportedModelError: the answer for an image depends on the other images of its batch.
    """
    images = images[:2]
    refuse_mixed_images(model, images, tasks)
    gradients = [image_gradients(model, image, tasks, objective)[0] for image in images.split(1)]
    unused = tuple(name for name in gradients[0] if all(g[name] is None for g in gradients))
    traces = _trace(model, images, tasks)
    layers: dict[str, Rule] = {}
    fallback: dict[str, str] = {}
    owners = _owners(model)
    for name, path in owners.items():
        if name in unused:
            continue
        reason = _reason_against(model.network.get_submodule(path), traces.get(path), len(images))
        if reason is None:
            layers[path] = RULES[type(model.network.get_submodule(path))]
        else:
            fallback[name] = reason
    for name in model.aliases().values():
        fallback[name] = "tied: it belongs to several layers"
        layers.pop(owners[name], None)
    copied = frozenset(path for path in layers if traces[path].overwritten)
    plan = Plan(layers, fallback, unused, copied, owners)
    return _tried(plan, model, images, tasks, objective, gradients)


def refuse_mixed_images(model: MultiHeadModel, images: Tensor, tasks: tuple[str, ...]) -> None:
    """Refuse a model whose answer for one image depends on the others in its batch.

    Raises:
        UnsupportedModelError: batch norm without running statistics, or any other such layer.
    """
    for name, module in model.network.named_modules():
        if isinstance(module, _BatchNorm) and module.running_mean is None:
            raise UnsupportedModelError(
                f"layer {name} is a batch norm without running statistics: it mixes the images of a batch, so that "
                "no image has a gradient of its own; build the model with track_running_stats=True"
            )
    with torch.no_grad():
        together = torch.cat(model(images, tasks), 1)
        alone = torch.cat([torch.cat(model(image, tasks), 1) for image in images.split(1)])
    if not torch.allclose(together, alone, rtol=1e-2, atol=1e-2 * float(alone.abs().mean()) + 1e-12):
        raise UnsupportedModelError(
            "the network's answer for an image depends on the other images of its batch, so that no image has a "
            "gradient of its own"
        )


@dataclass
class _Trace:
    calls: int = 0
    plain: bool = True  # called with one tensor of [N, ...], returning one
    overwritten: bool = False


def _trace(model: MultiHeadModel, images: Tensor, tasks: tuple[str, ...]) -> dict[str, _Trace]:
    traces: dict[str, _Trace] = {}
    seen: list[tuple[str, Tensor, int]] = []

    def hook(path: str) -> Any:
        def record(module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any], output: Any) -> None:
            trace = traces.setdefault(path, _Trace())
            trace.calls += 1
            values = (*arguments, output)
            if (
                keywords
                or len(values) != 2
                or not all(isinstance(value, Tensor) for value in values)
                or any(value.dim() < 2 or value.shape[0] != len(images) for value in values)
            ):
                trace.plain = False
            else:
                seen.append((path, arguments[0], arguments[0]._version))

        return record

    owners = set(_owners(model).values())
    handles = [model.network.get_submodule(path).register_forward_hook(hook(path), with_kwargs=True) for path in owners]
    try:
        with torch.no_grad():
            model(images, tasks)
    finally:
        for handle in handles:
            handle.remove()
    for path, inputs, version in seen:
        traces[path].overwritten |= inputs._version != version
    return traces


def _is_batch(value: Any, images: int) -> bool:
    return isinstance(value, Tensor) and value.dim() > 1 and value.shape[0] == images


def _owners(model: MultiHeadModel) -> dict[str, str]:
    return {name: name.rpartition(".")[0] for name in model.shared_parameters()}


def _reason_against(module: nn.Module, trace: _Trace | None, images: int) -> str | None:
    kind = type(module).__name__
    rule = RULES.get(type(module))
    own = {name for name, _ in module.named_parameters(recurse=False)}
    if rule is None:
        return f"{kind} has no rule"
    if not own <= rule.parameters:
        return f"{kind} owns {', '.join(sorted(own - rule.parameters))}, which the {rule.name} rule does not know"
    if trace is None:
        return f"{kind} is used without being called"
    if not trace.plain:
        return f"{kind} is called with something other than one tensor of [images, ...]"
    return rule.refuses(module)


def _tried(
    plan: Plan,
    model: MultiHeadModel,
    images: Tensor,
    tasks: tuple[str, ...],
    objective: Objective,
    gradients: list[dict[str, Tensor | None]],
) -> Plan:
    """The plan without the layers whose rule does not give what the reference gives for `images`."""
    sums, _ = rule_sums(plan, model, images, tasks, objective)
    expected = {
        name: _absolute_sum([g[name] for g in gradients]) for name in plan.parameters if name not in plan.unused
    }
    floor = 1e-6 * max((float(e.mean()) for e in expected.values() if e.numel()), default=0.0)
    layers, fallback = dict(plan.layers), dict(plan.fallback)
    for name, path in plan.parameters.items():
        if path not in plan.layers or name in fallback or name not in expected:
            continue
        given = sums.get(name, torch.zeros_like(expected[name]))
        difference, size = (float(x.mean()) for x in ((given - expected[name]).abs(), expected[name]))
        if not difference <= TRIAL_TOLERANCE * size + floor:
            layers.pop(path, None)
            fallback[name] = f"the {plan.layers[path].name} rule does not give the reference's gradient here"
    for name, path in plan.parameters.items():
        if path in plan.layers and path not in layers and name not in plan.unused:
            fallback.setdefault(name, "another parameter of its layer needs it")
    return Plan(layers, fallback, plan.unused, plan.copied, plan.parameters)


def rule_sums(
    plan: Plan, model: MultiHeadModel, images: Tensor, tasks: tuple[str, ...], objective: Objective
) -> tuple[dict[str, Tensor], Tensor]:
    """Sum over images of |gradient| for the parameters that have a rule, and the values [N].

    One forward and one backward pass of the batch; each layer's part is computed as soon as the
    backward pass has come by, and what it needed is let go.
    """
    sums: dict[str, Tensor] = {}

    def receive(path: str, uses: list[tuple[Tensor, Tensor]]) -> None:
        module, rule = model.network.get_submodule(path), plan.layers[path]
        parts = rule.absolute_sum(module, *uses[0]) if len(uses) == 1 else absolute_sum_of_uses(rule, module, uses)
        sums.update({f"{path}.{name}" if path else name: part for name, part in parts.items()})

    layers = {path: model.network.get_submodule(path) for path in plan.layers}
    capture = Capture(layers, plan.copied, receive)
    with capture.listening():
        values = objective(model(images, tasks))
        capture.backward(values)
    return sums, values.detach()


def _absolute_sum(gradients: list[Tensor | None]) -> Tensor:
    return torch.stack([gradient.abs() for gradient in gradients if gradient is not None]).sum(0)
