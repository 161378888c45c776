"""The scalar functions of a model's outputs whose gradient measures importance, one value an image.

Importance of a parameter is the mean over images of the absolute value of that gradient,

    Omega = (1/N) sum_k | d objective(F(x_k)) / d theta |,

the absolute value taken for each image and each parameter before the sum (Aljundi et al. 2018,
Eq. 2 to 4, with the squared L2 norm).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

Objective = Callable[[Sequence[Tensor]], Tensor]


def squared_l2(outputs: Sequence[Tensor]) -> Tensor:
    """Squared L2 norm |F(x)|^2 of each image's raw outputs, those of several heads concatenated.

    Args:
        outputs: one tensor [N, classes] a head.

    Returns:
        [N], in squared units of the outputs.
    """
    return sum((output.square().sum(1) for output in outputs[1:]), outputs[0].square().sum(1))


OBJECTIVES: dict[str, Objective] = {"squared-l2": squared_l2}
