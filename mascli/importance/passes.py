"""One pass of a batch: the sum over its images of |gradient|, for every shared parameter."""

from __future__ import annotations

from torch import Tensor

from mascli.importance.capture import Capture
from mascli.importance.objective import Objective
from mascli.importance.plan import Plan
from mascli.importance.reference import reference_sums
from mascli.importance.rules import absolute_sum_of_uses
from mascli.models.heads import MultiHeadModel


def batch_sums(
    plan: Plan, model: MultiHeadModel, images: Tensor, tasks: tuple[str, ...], objective: Objective
) -> tuple[dict[str, Tensor], Tensor]:
    """Sum over the images of a batch of |gradient| for each shared parameter, and the values [N].

    Raises:
        Surprise: the batch did not run as the plan has it.
    """
    if plan.fallback:  # the one-image pass gives every parameter at once
        return reference_sums(model, images, tasks, objective)
    return rule_sums(plan, model, images, tasks, objective)


def rule_sums(
    plan: Plan, model: MultiHeadModel, images: Tensor, tasks: tuple[str, ...], objective: Objective
) -> tuple[dict[str, Tensor], Tensor]:
    """The same for the parameters that have a rule: one forward and one backward pass of the batch.

    Each layer's part is computed as soon as the backward pass has come by, and what it needed is let go.

    Raises:
        Surprise: the batch did not run as the plan has it.
    """
    sums: dict[str, Tensor] = {}

    def receive(path: str, uses: list[tuple[Tensor, Tensor]]) -> None:
        module, rule = model.network.get_submodule(path), plan.layers[path]
        parts = rule.absolute_sum(module, *uses[0]) if len(uses) == 1 else absolute_sum_of_uses(rule, module, uses)
        sums.update({f"{path}.{name}" if path else name: part for name, part in parts.items()})

    layers = {path: model.network.get_submodule(path) for path in plan.layers}
    idle = {path: model.network.get_submodule(path) for path in plan.idle}
    capture = Capture(layers, idle, plan.copied, len(images), receive)
    with capture.listening():
        values = objective(model(images, tasks))
        capture.backward(values)
    return sums, values.detach()
