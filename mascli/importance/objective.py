"""The scalar functions of a model's outputs whose gradient measures importance, one value an image.

Importance of a parameter is the mean over images of the absolute value of that gradient,

    Omega = (1/N) sum_k | d objective(F(x_k)) / d theta |,

the absolute value taken for each image and each parameter before the sum (Aljundi et al. 2018,
Eq. 2 to 4, with the squared L2 norm). What else may stand for the absolute value: `reduction.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
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
    return _added(output.square().sum(1) for output in outputs)


def l1(outputs: Sequence[Tensor], given: Tensor | None = None) -> Tensor:
    """L1 norm, the sum of |F_o(x)| over all outputs o of all heads; its gradient at F_o = 0 is 0. [N]."""
    return _added(output.abs().sum(1) for output in outputs)


def l2(outputs: Sequence[Tensor], given: Tensor | None = None) -> Tensor:
    """L2 norm |F(x)|, not squared, of the concatenated outputs; its gradient at F = 0 is 0. [N]."""
    norms: Tensor = torch.linalg.vector_norm(torch.cat(list(outputs), 1), dim=1)
    return norms


def entropy(outputs: Sequence[Tensor], given: Tensor | None = None) -> Tensor:
    """Entropy of the softmax, -sum_c p_c log p_c in nats, of each head, the heads added. [N].

    A probability that underflows to 0 counts 0, which is its limit. A head with one class has entropy
    0 and gradient 0, whatever its parameters.
    """
    return _added(-(log.exp() * log).sum(1) for log in (output.log_softmax(1) for output in outputs))


def log_likelihood(outputs: Sequence[Tensor], given: Tensor | None = None) -> Tensor:
    """Log-likelihood log p(label) under each head's softmax, in nats, the heads added. [N].

    Args:
        outputs: one tensor [N, classes] a head.
        given: for each image and head, [N, heads], the label (integer type), or a uniform number in
            [0, 1) (float64) that draws one from the softmax: the first class at which the cumulative
            probability exceeds it. No gradient goes through the draw.
    """
    assert given is not None
    rows = (output.log_softmax(1) for output in outputs)
    return _added(row.gather(1, _labels(row, given[:, head])).squeeze(1) for head, row in enumerate(rows))


def _labels(logs: Tensor, given: Tensor) -> Tensor:
    """Given labels, or labels drawn from log-probabilities [N, classes]: int64 [N, 1]."""
    if given.is_floating_point():
        # where the numbers are: the model's device may have no float64
        cumulative = logs.detach().to(given.device).double().softmax(1).cumsum(1)
        given = (cumulative / cumulative[:, -1:] <= given[:, None]).sum(1)
    return given.to(logs.device)[:, None]


def _added(heads: Iterable[Tensor]) -> Tensor:
    first, *others = heads
    return sum(others, first)


OBJECTIVES: dict[str, Objective] = {
    "squared-l2": squared_l2,
    "l1": l1,
    "l2": l2,
    "entropy": entropy,
    "log-likelihood": log_likelihood,
}

# How the images of a batch are gone through; `sums.py` has the function for each.
Kind = Literal["gradient", "each-output", "batch", "local"]


@dataclass(frozen=True)
class Measure:
    """What is measured: the gradient of which objective, and what becomes of it before the sum over images.

    Args:
        kind: "gradient", of each image; "each-output", the norm over outputs of each output's
            gradient; "batch", the gradient of the sum over a batch; "local", of each layer's own
            output. For "each-output" and "local" the objective says what the plan is tried with.
    """

    objective: Objective = squared_l2
    reduction: Reduction = ABS
    kind: Kind = "gradient"
