"""Numbers that say how well a sequence of tasks was learned and kept. All are percent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean

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


def _require_triangular(matrix: Matrix) -> None:
    if not matrix or any(len(row) != index + 1 for index, row in enumerate(matrix)):
        raise ValueError(f"rows of 1, 2, 3, ... accuracies expected, not of {[len(row) for row in matrix]}")
