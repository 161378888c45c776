"""Orders and splits that depend on a seed and on nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np


def seeded_order(count: int, seed: int | Sequence[int]) -> list[int]:
    """The numbers 0 to `count` - 1 shuffled by `seed`, one number or several (seed, epoch).

    The order ranks the raw output of a PCG64 generator, which numpy keeps the same for ever.
    """
    ranks = np.random.PCG64(seed).random_raw(count)
    return [int(index) for index in np.argsort(ranks, kind="stable")]


def stratified_split(labels: Sequence[int], fraction: float, seed: int) -> tuple[list[int], list[int]]:
    """Split positions into (training, validation), each sorted, with `fraction` of every class in validation.

    A class of n images gives floor(n * fraction + 1/2) of them to validation, at least one if
    n >= 2, and always keeps one for training. What a class gives depends on the seed, its label and
    its own number of images: adding another class changes nothing. A `fraction` of 0 gives none.
    """
    if fraction <= 0:
        return list(range(len(labels))), []
    members: dict[int, list[int]] = {}
    for position, label in enumerate(labels):
        members.setdefault(label, []).append(position)
    validation: list[int] = []
    for label, positions in members.items():
        # 0.285 * 100 is 28.499... in binary, yet the user wrote a half
        rounded = math.floor(Fraction(str(fraction)) * len(positions) + Fraction(1, 2))
        count = min(max(rounded, 1), len(positions) - 1)
        validation += [positions[index] for index in seeded_order(len(positions), (seed, label))[:count]]
    held_out = set(validation)
    return [position for position in range(len(labels)) if position not in held_out], sorted(validation)
