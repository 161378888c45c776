"""How far the learned features of the same images have moved, and the two directions that show most of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Projection:
    """Features before and after on two axes, [N, 2] each, and the parts (0 to 1) of the variance that these show."""

    before: Array
    after: Array
    shown: tuple[float, float]


def feature_drift(before: NDArray[np.float32], after: NDArray[np.float32]) -> float:
    """How far features have moved: Σ_k ‖f'(x_k) − f(x_k)‖ / Σ_k ‖f(x_k)‖, over the same images x_k.

    The mean distance over the mean length, without unit: 0 for features that stayed, infinite for any that
    left the origin. NaN where features are not finite, or where there are none.

    Args:
        before: f, [N, D].
        after: f', [N, D].

    Raises:
        ValueError: the shapes differ.
    """
    if before.shape != after.shape:
        raise ValueError(f"features of shapes {before.shape} and {after.shape} cannot be compared")
    if not len(before) or not (np.isfinite(before).all() and np.isfinite(after).all()):
        return float("nan")
    moved = float(np.linalg.norm(after.astype(np.float64) - before, axis=1).sum())
    length = float(np.linalg.norm(before.astype(np.float64), axis=1).sum())
    return moved / length if length else (float("inf") if moved else 0.0)


def projected(before: NDArray[np.float32], after: NDArray[np.float32]) -> Projection:
    """Both on the two directions in which the features before vary most (principal components).

    The origin is the mean of the features before. The entry of a direction that is largest in size is
    positive, the first of several, so that the picture is never mirrored. A direction in which nothing
    varies is all 0, and so is everything where features are not finite.
    """
    count = len(before)
    if not count or not (np.isfinite(before).all() and np.isfinite(after).all()):
        return Projection(np.zeros((count, 2)), np.zeros((count, 2)), (0.0, 0.0))
    mean = before.mean(axis=0, dtype=np.float64)
    centred = before - mean
    directions, variances = _principal(centred)
    total = float((centred**2).sum())
    shown = (variances[0] / total, variances[1] / total) if total else (0.0, 0.0)
    return Projection(centred @ directions, (after - mean) @ directions, shown)


def _principal(centred: Array) -> tuple[Array, tuple[float, float]]:
    """The two first directions [D, 2] and the sums of squares along them, from the smaller of the two products."""
    count, size = centred.shape
    directions, sums = np.zeros((size, 2)), [0.0, 0.0]
    wide = size > count
    values, vectors = np.linalg.eigh(centred @ centred.T if wide else centred.T @ centred)
    largest = max(float(values[-1]), 0.0)
    for axis in range(min(2, len(values))):
        value = float(values[-1 - axis])
        if value <= 1e-12 * largest or value <= 0:
            continue
        direction = centred.T @ vectors[:, -1 - axis] if wide else vectors[:, -1 - axis]
        direction = direction / np.linalg.norm(direction)
        size_of = np.abs(direction)
        leading = int(np.flatnonzero(size_of >= size_of.max() * (1 - 1e-9))[0])
        directions[:, axis] = direction * np.sign(direction[leading])
        sums[axis] = value
    return directions, (sums[0], sums[1])
