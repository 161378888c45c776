"""Before the first number: who is responsible for each shared parameter.

A plan assigns every shared parameter to a rule, to the one-image-at-a-time fallback (with the
reason), or to the parameters that take no part in the evaluation pass. What a plan takes for granted
is tried on real images (`trial.py`) and watched in every batch (`capture.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from mascli.errors import UnsupportedModelError
from mascli.importance.rules import RULES, Rule
from mascli.models.heads import MultiHeadModel


@dataclass(frozen=True)
class Plan:
    """Who computes what.

    Args:
        owners: each shared parameter and the path of the layer that owns it.
        layers: the layers that have a rule, by path.
        fallback: parameters without one, with the reason.
        unused: parameters that get no gradient in an evaluation pass, or are frozen.
        copied: layers whose input is overwritten later in the pass.
        idle: layers that did not run; that they stay so is watched.
    """

    owners: Mapping[str, str]
    layers: Mapping[str, Rule]
    fallback: Mapping[str, str]
    unused: tuple[str, ...]
    copied: frozenset[str]
    idle: frozenset[str]

    def counts(self) -> dict[str, int]:
        """How many parameter tensors each way of computing is responsible for.

        A single parameter in the fallback takes all others along: one image's pass gives them all.
        """
        used = [path for name, path in self.owners.items() if name not in self.unused]
        ways = Counter("one image at a time" if self.fallback else self.layers[path].name for path in used)
        return dict(ways) | ({"unused": len(self.unused)} if self.unused else {})

    def without(self, path: str, reason: str) -> Plan:
        """The plan in which the layer at `path` has no rule, for a `reason`."""
        own = {name for name, owner in self.owners.items() if owner == path}
        return replace(
            self,
            layers={other: rule for other, rule in self.layers.items() if other != path},
            fallback={**self.fallback, **dict.fromkeys(sorted(own), reason)},
            unused=tuple(name for name in self.unused if name not in own),
            idle=self.idle - {path},
        )


def make_plan(
    model: MultiHeadModel, images: Tensor, tasks: tuple[str, ...], gradients: Mapping[str, Tensor | None]
) -> Plan:
    """Assign every shared parameter of `model`, in eval mode, by one pass of a few images [n, C, H, W].

    Args:
        gradients: some gradient of each shared parameter, None for one that has none.

    Raises:
        UnsupportedModelError: a parameter of complex numbers.
    """
    owners = {name: name.rpartition(".")[0] for name in model.shared_parameters()}
    for name, parameter in model.shared_parameters().items():
        if parameter.is_complex():
            raise UnsupportedModelError(f"parameter {name} is complex, and importance is for real ones")
    unused = tuple(name for name in owners if gradients[name] is None)
    traces = _trace(model, images, tasks, set(owners.values()))
    modules = {path: model.network.get_submodule(path) for path in owners.values()}
    reasons = {path: _reason_against(module, traces.get(path)) for path, module in modules.items()}
    used = {path for name, path in owners.items() if name not in unused}
    plan = Plan(
        owners=owners,
        layers={path: RULES[type(modules[path])] for path in modules if path in used and reasons[path] is None},
        fallback={},
        unused=unused,
        copied=frozenset(path for path, trace in traces.items() if trace.overwritten),
        idle=frozenset(path for path in modules if path not in traces and path not in used),
    )
    for path in sorted(used):
        reason = reasons[path]
        if reason is not None:
            plan = plan.without(path, reason)
    for name in model.aliases().values():
        plan = plan.without(owners[name], "tied: it belongs to several layers")
    return plan


@dataclass
class _Trace:
    plain: bool = True  # called with one tensor of [N, ...], returning one
    overwritten: bool = False


def _trace(model: MultiHeadModel, images: Tensor, tasks: tuple[str, ...], paths: set[str]) -> dict[str, _Trace]:
    traces: dict[str, _Trace] = {}
    seen: list[tuple[str, Tensor, int]] = []

    def hook(path: str) -> Any:
        def record(module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any], output: Any) -> None:
            trace = traces.setdefault(path, _Trace())
            values = (*arguments, output)
            if keywords or len(values) != 2 or not all(_is_batch(value, len(images)) for value in values):
                trace.plain = False
            else:
                seen.append((path, arguments[0], arguments[0]._version))

        return record

    handles = [model.network.get_submodule(path).register_forward_hook(hook(path), with_kwargs=True) for path in paths]
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


def _reason_against(module: nn.Module, trace: _Trace | None) -> str | None:
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
    return None
