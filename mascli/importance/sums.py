"""From a measure to the function that measures a batch: the one seam between the engine and the methods."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from mascli.importance.batch_gradient import batch_gradient_sums, batch_plan, reference_batch_gradient
from mascli.importance.batch_size import kept_bytes, pass_size
from mascli.importance.each_output import each_output_sums, reference_each_output
from mascli.importance.images import Images
from mascli.importance.local import check_local, local_sums, reference_local
from mascli.importance.objective import Kind, Measure
from mascli.importance.passes import batch_sums
from mascli.importance.plan import Plan
from mascli.importance.reference import reference_sums
from mascli.importance.trial import tried_plan
from mascli.models.heads import MultiHeadModel

Sums = tuple[dict[str, Tensor], Tensor]
Way = Callable[[Plan, MultiHeadModel, Images, tuple[str, ...], Measure], Sums]

_FAST: dict[Kind, Way] = {
    "gradient": batch_sums,
    "each-output": each_output_sums,
    "batch": batch_gradient_sums,
    "local": local_sums,
}
_SLOW: dict[Kind, Way] = {
    "gradient": lambda plan, *rest: reference_sums(*rest),
    "each-output": lambda plan, *rest: reference_each_output(*rest),
    "batch": reference_batch_gradient,
    "local": reference_local,
}


def planned(model: MultiHeadModel, images: Images, tasks: tuple[str, ...], measure: Measure) -> Plan:
    """Who computes what for `measure`, tried on some of `images`.

    Raises:
        UnsupportedModelError: the model cannot be measured, or not in this way.
    """
    if measure.kind == "batch":
        return batch_plan(model, images, tasks, measure)
    plan = tried_plan(model, images, tasks, measure)
    if measure.kind == "local":
        return check_local(plan)
    if measure.kind == "gradient" and images.pixels.device.type == "cpu":
        shared = model.shared_parameters().values()
        kept = kept_bytes(model, images.part(slice(1)), tasks, measure)
        plan = replace(plan, pass_size=pass_size(kept, len(shared), sum(p.nbytes for p in shared)))
    return plan


def sums_of(plan: Plan, model: MultiHeadModel, images: Images, tasks: tuple[str, ...], measure: Measure) -> Sums:
    """The sum over a batch of `measure` for each shared parameter, and |F|^2 of each image [N].

    Raises:
        Surprise: the batch did not run as the plan has it.
        UnsupportedModelError: the model cannot be measured in this way.
    """
    return _FAST[measure.kind](plan, model, images, tasks, measure)


def slow_sums_of(plan: Plan, model: MultiHeadModel, images: Images, tasks: tuple[str, ...], measure: Measure) -> Sums:
    """The same the slow and obvious way, by which the fast one is judged."""
    return _SLOW[measure.kind](plan, model, images, tasks, measure)
