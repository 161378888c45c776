"""Numbers that say how well a sequence of tasks was learned and kept. All are percent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean, stdev

Matrix = Sequence[Sequence[float]]
"""Accuracies in percent, lower triangular: row i holds those of tasks 0 to i after learning task i."""


def wilson_interval(correct: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """The Wilson score interval (low, high) of an accuracy, in percent.

    With p = correct / total and z the normal quantile of `confidence`:
    (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n). Without any image it is (0, 100).

    Raises:
        ValueError: `correct` is not between 0 and `total`, or `confidence` not between 0 and 1.
    """
    if not 0 <= correct <= total:
        raise ValueError(f"{correct} of {total} cannot be correct")
    if not 0 < confidence < 1:
        raise ValueError(f"a confidence of {confidence} is not between 0 and 1")
    if total == 0:
        return 0.0, 100.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = correct / total
    centre = share + z * z / (2 * total)
    reach = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    scale = 100 / (1 + z * z / total)
    low = 0.0 if correct == 0 else (centre - reach) * scale
    high = 100.0 if correct == total else (centre + reach) * scale
    return low, high


def average_accuracy(matrix: Matrix) -> float:
    """The mean accuracy over all tasks after the last one was learned."""
    _require_triangular(matrix)
    return fmean(matrix[-1])


def learning_accuracy(matrix: Matrix) -> float:
    """The mean accuracy of each task right after it was learned: the mean of the diagonal."""
    _require_triangular(matrix)
    return fmean(row[-1] for row in matrix)


def forgetting(matrix: Matrix) -> float:
    """The mean, over all tasks but the last, of accuracy right after learning minus accuracy at the end.

    In percentage points; negative if later tasks helped. A single task has nothing to forget: 0.
    """
    _require_triangular(matrix)
    if len(matrix) == 1:
        return 0.0
    return fmean(row[-1] - final for row, final in zip(matrix[:-1], matrix[-1], strict=False))


def forgetting_from_best(matrix: Matrix, *, with_final: bool = False) -> float:
    """The mean, over all tasks but the last, of the best accuracy on it minus the accuracy at the end.

    The best is over the rows before the last one (Chaudhry et al. 2018, Eq. 3, as in FACIL), or with
    `with_final` over all rows (as in mammoth), which is never below 0. In percentage points.
    """
    _require_triangular(matrix)
    if len(matrix) == 1:
        return 0.0
    rows = matrix if with_final else matrix[:-1]
    best = [max(row[task] for row in rows[task:]) for task in range(len(matrix) - 1)]
    return fmean(top - final for top, final in zip(best, matrix[-1], strict=False))


def forgetting_over_all(matrix: Matrix) -> float:
    """`forgetting` averaged over all tasks: the last one, which nothing could disturb, counts 0.

    As in the notebook of the original authors; smaller than `forgetting` by (T - 1) / T for T tasks.
    """
    return forgetting(matrix) * (len(matrix) - 1) / len(matrix)


def backward_transfer(matrix: Matrix) -> float:
    """The mean, over all tasks but the last, of the accuracy at the end minus that right after learning.

    Lopez-Paz and Ranzato 2017, in percentage points; `forgetting` with the other sign.
    """
    return 0.0 - forgetting(matrix)


def forward_transfer(matrix: Matrix, alone: Sequence[float]) -> float:
    """The mean, over all tasks but the first, of accuracy right after learning minus that of learning it alone.

    `alone` [T] is the accuracy on each task of a model that learned it from the same start and
    nothing before it. A task has no head before it is learned, so the accuracy on a task that is not
    learned yet (Lopez-Paz and Ranzato 2017) does not exist here. In percentage points: above 0 where
    earlier tasks helped, below 0 where holding on to them was in the way.

    Raises:
        ValueError: as many accuracies as tasks, and two tasks at least, are needed.
    """
    _require_triangular(matrix)
    if len(alone) != len(matrix) or len(matrix) < 2:
        raise ValueError(f"{len(matrix)} tasks, {len(alone)} of them learned alone: two or more, and all, are needed")
    return fmean(row[-1] - own for row, own in zip(matrix[1:], alone[1:], strict=True))


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float] | None:
    """The interval (low, high) of the mean of independent values, one a seed; None for fewer than two.

    Mean ± t s / √n, with s the standard deviation (n - 1 below) and t Student's quantile of n - 1 degrees.
    """
    if len(values) < 2:
        return None
    reach = t_quantile(len(values) - 1, confidence) * stdev(values) / math.sqrt(len(values))
    return fmean(values) - reach, fmean(values) + reach


def t_quantile(degrees: int, confidence: float = 0.95) -> float:
    """The t for which a Student variable of so many degrees of freedom lies in (-t, t) with `confidence`.

    Solves P(|T| < t) = confidence by bisection on θ = atan(t / √degrees), with the finite sums of
    Abramowitz and Stegun 26.7.3 and 26.7.4.

    Raises:
        ValueError: `degrees` is less than 1, or `confidence` not between 0 and 1.
    """
    if degrees < 1 or not 0 < confidence < 1:
        raise ValueError(f"no quantile of {degrees} degrees of freedom at a confidence of {confidence}")
    low, high = 0.0, math.pi / 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _t_probability(middle, degrees) < confidence else (low, middle)
    return math.tan((low + high) / 2) * math.sqrt(degrees)


def _t_probability(theta: float, degrees: int) -> float:
    """P(|T| < t) of a Student variable, for θ = atan(t / √degrees)."""
    odd, term, total = degrees % 2, 1.0, 0.0
    for power in range(odd, degrees - 1, 2):
        total += term
        term *= math.cos(theta) ** 2 * (power + 1) / (power + 2)
    if odd:
        return 2 / math.pi * (theta + math.sin(theta) * math.cos(theta) * total)
    return math.sin(theta) * total


def _require_triangular(matrix: Matrix) -> None:
    if not matrix or any(len(row) != index + 1 for index, row in enumerate(matrix)):
        raise ValueError(f"rows of 1, 2, 3, ... accuracies expected, not of {[len(row) for row in matrix]}")
