"""What becomes of each image's gradient g of a parameter theta before the sum over images.

- abs:    |g|, Memory Aware Synapses (Aljundi et al. 2018, Eq. 2).
- square: g^2, the diagonal of the Fisher matrix for the log-likelihood (EWC, Kirkpatrick et al. 2017).
- taylor: max(0, g theta + g^2 theta^2 / 2), the estimated loss of removing the parameter (ANPyC, in
  the sign of its published code; g^2 stands for the Hessian).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

# Changes a tensor of gradients in place, number by number, and returns it.
Pointwise = Callable[[Tensor], Tensor]


def sum_dtype(tensor: Tensor) -> torch.dtype:
    """The dtype to add up in: the tensor's own, but at least float32."""
    return torch.float32 if tensor.dtype in (torch.float16, torch.bfloat16) else tensor.dtype


@dataclass(frozen=True)
class Reduction:
    """One reduction.

    Args:
        of: from gradients [..., *shape of the parameter], which it may change, and the parameter, to
            what is summed.
        pointwise: the same where the parameter does not matter, and f(g a) = f(g) f(a) holds, so that
            rules may apply it to the parts of a product; None where it does.
    """

    name: str
    of: Callable[[Tensor, Tensor], Tensor]
    pointwise: Pointwise | None = None


def _square(gradients: Tensor) -> Tensor:
    return gradients.mul_(gradients)


def _taylor(gradients: Tensor, parameter: Tensor) -> Tensor:
    change = gradients.mul_(parameter.detach())
    return change.addcmul_(change, change, value=0.5).clamp_(min=0)


ABS = Reduction("abs", lambda gradients, _: gradients.abs_(), Tensor.abs_)
SQUARE = Reduction("square", lambda gradients, _: _square(gradients), _square)
TAYLOR = Reduction("taylor", _taylor)

REDUCTIONS = {reduction.name: reduction for reduction in (ABS, SQUARE, TAYLOR)}
