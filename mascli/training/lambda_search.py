"""Which lambda: the largest at which the new task is still learned, found on the new task alone.

The search knows no model. It is told what was tried and what came of it, and says what to try next,
so that whoever has the trials, from a run that was stopped too, goes on as if nothing had happened.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mascli.errors import UsageError
from mascli.training.drift import Drift

# The pull x = 2 eta lambda Omega in a step below which a parameter is free, and from which it is held.
FREE_PULL, HELD_PULL = 0.01, 1.0
# The share of all importance that is not free at the lower end of the range, and that is held at the upper end.
FREE_SHARE, HELD_SHARE = 0.01, 0.5
# Two neighbouring lambdas are close enough where their ratio is less: four trials a decade.
CLOSE = 10**0.25
# Accuracies, in percentage points, that are nearer than this are the same.
SAME = 1e-9
# Validation images from which on one of them is half a percentage point or less.
ENOUGH_IMAGES = 200
PIECE = 1 << 20
# The upper 16 bits of positive float32 numbers have their order, and seven binary digits: the least number with each.
GROUPS = (np.arange(1 << 15, dtype=np.uint32) << 16).view(np.float32)


@dataclass(frozen=True)
class Trial:
    """One training with lambda = `strength`: validation accuracy of the new task in percent, predicted drift.

    Strength 0 is plain fine-tuning. An accuracy that is not finite stands for a training that failed.
    """

    strength: float
    accuracy: float
    drift: Drift | None


@dataclass(frozen=True)
class LambdaRange:
    """The lambdas worth trying: at `free` next to nothing is held, at `frozen` most of what matters."""

    free: float
    frozen: float


def lambda_range(omegas: Sequence[Tensor], pulls: Sequence[Tensor]) -> LambdaRange:
    """The range of lambda in which the penalty goes from nothing to everything, by the pull x = 2 η λ Ω.

    At `free`, the parameters with x >= 0.01 carry 1 % of all importance: all others move freely. At `frozen`,
    those with x >= 1, which a constant gradient moves by at most one of its steps, carry half of it, and most
    others are slowed. Beyond, the old tasks keep hardly more and the new one learns less: what is left to learn
    with are parameters whose Ω is near 0, which then move so far that the old tasks feel it. Shares, not
    extremes: a pull far above all others, where AdamW has hardly seen a gradient, settles nothing. All values
    count; both λ are known to 1 %, and have three digits.

    Args:
        omegas: importance >= 0 of each parameter.
        pulls: x of each at λ = 1; importance with a pull of 0 does not count.

    Raises:
        UsageError: nothing has importance and a pull, and no lambda can hold anything.
    """
    carried = _importance_by_pull(omegas, pulls)
    used = np.flatnonzero(carried)[::-1]  # from the largest pulls on
    if not used.size:
        raise UsageError(
            "the importance is zero everywhere, or too small to count at this --lr, and no --lambda can protect "
            "anything: leave out --omega, or estimate it on images to which the model gives answers"
        )
    sums = carried[used].cumsum()
    free, frozen = GROUPS[used[np.searchsorted(sums, np.array((FREE_SHARE, HELD_SHARE)) * sums[-1])]].tolist()
    return LambdaRange(rounded(FREE_PULL / free), rounded(HELD_PULL / frozen))


def next_strength(
    trials: Sequence[Trial], bounds: LambdaRange | None, max_drop: float, max_trials: int
) -> float | None:
    """The lambda to try next, or None when the search is over.

    First 0, then the two ends of the range: `free`, which says once more what learning freely reaches, and
    `frozen`; where that is within the drop, nothing is to be searched for. Then bisection in log λ, to three
    digits, between the largest λ within the drop and the smallest one above it that is not; `free` stands
    in for 0 as long as no other is within. It is over where the two are nearer than a factor 10^0.25, or when
    `max_trials` are done, the first three among them.

    Args:
        trials: what was tried, in any order.
        bounds: the range; not needed before λ = 0 was tried.
        max_drop: percentage points of accuracy that may be lost against plain fine-tuning.
    """
    if len(trials) >= max_trials:
        return None
    known = {trial.strength for trial in trials}
    if 0.0 not in known:
        return 0.0
    assert bounds is not None
    for end in (bounds.free, bounds.frozen):
        if end not in known:
            return end
    held = max(chosen_trial(trials, bounds, max_drop).strength, bounds.free)
    above = [strength for strength in known if strength > held]
    if not above or min(above) / held < CLOSE:
        return None
    return rounded(math.sqrt(held) * math.sqrt(min(above)))


def baseline_accuracy(trials: Sequence[Trial], bounds: LambdaRange) -> float:
    """What plain fine-tuning reaches, in percent: the mean of the trials that hold hardly anything, λ <= `free`.

    A training that failed is left out. One alone may be lucky, and the limit is counted from this.

    Raises:
        ValueError: λ = 0 was not tried, so that nothing is known to compare with.
    """
    if not any(trial.strength == 0 for trial in trials):
        raise ValueError("no trial with lambda 0")
    return fmean(t.accuracy for t in _firsts(trials) if t.strength <= bounds.free and not math.isnan(t.accuracy))


def chosen_trial(trials: Sequence[Trial], bounds: LambdaRange, max_drop: float) -> Trial:
    """The trial with the largest λ above `free` whose accuracy is within the drop, as far as was tried; else λ = 0.

    Within is an accuracy of at least that of plain fine-tuning (`baseline_accuracy`) less `max_drop` percentage
    points, equality included (to 1e-9). Accuracy is noisy and need not fall with λ: a smaller λ that is not within
    does not matter, and neither does a smaller one that is more accurate. Of several trials with one λ
    the first counts.
    """
    limit = baseline_accuracy(trials, bounds) - max_drop - SAME
    within = [t for t in _firsts(trials) if t.strength == 0 or (t.strength > bounds.free and t.accuracy >= limit)]
    return max(within, key=lambda trial: trial.strength)


def describe_unsteady(trials: Sequence[Trial], bounds: LambdaRange, max_drop: float, images: int) -> str | None:
    """One line where plain fine-tuning says little about what can be learned; None where it does not.

    It does where a protected trial beats it by more than the drop, or it beats itself by that, and by more
    than one of so many validation images.
    """
    plain = baseline_accuracy(trials, bounds)
    known = [trial for trial in trials if not math.isnan(trial.accuracy)]
    free = [trial.accuracy for trial in known if trial.strength <= bounds.free]
    best = max(known, key=lambda trial: trial.accuracy)
    much, advice = max(max_drop, 100 / images) + SAME, "this training is unsteady; try a lower --lr or more --epochs"
    if max(free) - min(free) > much:
        return f"with nothing held the task was learned to {min(free):.2f} and to {max(free):.2f} %: {advice}"
    if best.accuracy - plain > much:
        return (
            f"the drop is counted from {plain:.2f} %, the mean of the trainings that hold nothing, but lambda "
            f"{best.strength:g} learned the task better ({best.accuracy:.2f} %): {advice}"
        )
    return None


def describe_resolution(images: int, max_drop: float) -> str | None:
    """One line on what accuracy on so few validation images cannot tell apart; None from 200 images on."""
    if images >= ENOUGH_IMAGES:
        return None
    which, one = "1 validation image" if images == 1 else f"{images} validation images", 100 / images
    line = f"there are only {which}, of which one is {one:.3g} percentage points: smaller drops cannot be seen"
    if not 0 < max_drop < one:
        return line
    return f"{line}, and --max-drop {max_drop:g} is less than that; --max-drop {math.ceil(one)} allows one to be lost"


def rounded(strength: float) -> float:
    """Lambda to three digits, as it is printed and given."""
    return float(f"{strength:.2e}")


def _firsts(trials: Sequence[Trial]) -> list[Trial]:
    """The first trial of each strength."""
    found: dict[float, Trial] = {}
    for trial in trials:
        found.setdefault(trial.strength, trial)
    return list(found.values())


def _importance_by_pull(omegas: Sequence[Tensor], pulls: Sequence[Tensor]) -> NDArray[np.float64]:
    """The importance of the parameters whose pull is in each of GROUPS; of a pull below 1e-40 none."""
    carried = np.zeros(GROUPS.size)
    for bits, importance in _pieces(omegas, pulls):
        carried += np.bincount(bits, importance, GROUPS.size)
    carried[GROUPS <= 0] = 0
    return carried


def _pieces(omegas: Sequence[Tensor], pulls: Sequence[Tensor]) -> Iterator[tuple[NDArray[np.uint32], NDArray[Any]]]:
    """The upper 16 bits of all pulls, without the sign that a zero may have, and importance, piece by piece."""
    for omega, pull in zip(omegas, pulls, strict=True):
        columns = (tensor.detach().to("cpu", torch.float32).reshape(-1).split(PIECE) for tensor in (pull, omega))
        for of_pull, of_omega in zip(*columns, strict=True):
            yield (of_pull.numpy().view(np.uint32) >> 16) & 0x7FFF, of_omega.numpy()
