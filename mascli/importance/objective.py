"""The scalar functions of a model's outputs whose gradient measures importance, one value an image.

Importance of a parameter is the mean over images of the absolute value of that gradient,

    Omega = (1/N) sum_k | d objective(F(x_k)) / d theta |,

the absolute value taken for each image and each parameter before the sum (Aljundi et al. 2018,
Eq. 2 to 4, with the squared L2 norm). What else may stand for the absolute value: `reduction.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from mascli.importance.reduction import ABS, Reduction

# From the raw outputs, one tensor [N, classes] a head, and `Images.given`, to one value an image [N].
Objective = Callable[[Sequence[Tensor], Tensor | None], Tensor]


def squared_l2(outputs: Sequence[Tensor], given: Tensor | None = None) -> Tensor:
    """Squared L2 norm |F(x)|^2 of each image's raw outputs, those of several heads concatenated.

    Args:
        outputs: one tensor [N, classes] a head.
        given: nothing is needed.

    Returns:
        [N], in squared units of the outputs.
    """
    return sum((output.square().sum(1) for output in outputs[1:]), outputs[0].square().sum(1))


OBJECTIVES: dict[str, Objective] = {"squared-l2": squared_l2}


@dataclass(frozen=True)
class Measure:
    """What is measured: the gradient of which objective, and what becomes of it before the sum over images."""

    objective: Objective = squared_l2
    reduction: Reduction = ABS
