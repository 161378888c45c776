"""From the names of an objective and a reduction to what the engine measures."""

from __future__ import annotations

from mascli.importance.objective import OBJECTIVES, Measure, squared_l2
from mascli.importance.reduction import ABS, REDUCTIONS


def measure_named(objective: str, reduction: str) -> Measure:
    """What to measure, by the names that an omega has for it (see `mascli.methods`).

    `objective` is one of `OBJECTIVES`, `each-output`, or `local`; `reduction` one of `REDUCTIONS`, or
    `batch`, the absolute value of a whole batch's gradient.
    """
    if objective == "local":
        return Measure(squared_l2, REDUCTIONS[reduction], "local")
    if objective == "each-output":
        return Measure(squared_l2, REDUCTIONS[reduction], "each-output")
    if reduction == "batch":
        return Measure(OBJECTIVES[objective], ABS, "batch")
    return Measure(OBJECTIVES[objective], REDUCTIONS[reduction])
