"""Two models on the same images: how far their accuracies differ, and whether chance could do that.

Only the images that exactly one of them answers rightly tell them apart: those **lost** (right before,
wrong now) and those **gained** (wrong before, right now).
"""

from __future__ import annotations

import math
from statistics import NormalDist


def paired_interval(lost: int, gained: int, images: int, confidence: float = 0.95) -> tuple[float, float]:
    """Tango's score interval (low, high) of the forgetting (lost - gained) / images, in percentage points.

    It holds every δ that the score test of "the difference is δ" does not reject:
    |lost - gained - nδ| <= z √(n (2q + δ(1 - δ))), with n the images, z the normal quantile of
    `confidence` and q the share of gained images that is the most likely one if the difference is δ.
    At δ = 0 this is McNemar's test without a correction. It has a width at no lost and no gained image
    too: (-z², z²) / (n + z²). Without any image it is (-100, 100).

    Tango, "Equivalence test and confidence interval for the difference in proportions for the paired-sample
    design", Statistics in Medicine 17 (1998) 891-908.

    Raises:
        ValueError: counts that cannot be, or `confidence` not between 0 and 1.
    """
    _require_counts(lost, gained)
    if lost + gained > images:
        raise ValueError(f"{lost} lost and {gained} gained of {images} images cannot be")
    if not 0 < confidence < 1:
        raise ValueError(f"a confidence of {confidence} is not between 0 and 1")
    if images == 0:
        return -100.0, 100.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    low, high = -_highest(gained, lost, images, z), _highest(lost, gained, images, z)
    return 100 * low, 100 * high


def mcnemar(lost: int, gained: int) -> float:
    """The two-sided p of McNemar's exact test: 1 for no difference at all.

    If an image were as likely to be gained as to be lost, how many of the n = lost + gained are lost would follow
    the binomial distribution of n and ½: p = min(1, 2 Σ_{k <= min(lost, gained)} C(n, k) / 2^n).
    McNemar, "Note on the sampling error of the difference between correlated proportions or percentages",
    Psychometrika 12 (1947) 153-157.

    Raises:
        ValueError: a negative number of images.
    """
    _require_counts(lost, gained)
    number, few = lost + gained, min(lost, gained)
    if 2 * few >= number - 1:
        return 1.0
    # relative to the largest term, which neither overflows nor loses digits, down to what is too small to count
    middle = number // 2
    term, tail, below = 1.0, 0.0, 0.0
    for chosen in range(middle, 0, -1):
        term *= chosen / (number - chosen + 1)  # C(n, chosen - 1) from C(n, chosen)
        if term == 0.0:
            break
        below += term
        if chosen - 1 <= few:
            tail += term
    whole = 2 * (below + 1.0) if number % 2 else 2 * below + 1.0
    return min(1.0, 2 * tail / whole)


def _highest(more: int, less: int, images: int, z: float) -> float:
    """The largest difference δ, of (more - less) / images, that the score test does not reject."""
    low, high = (more - less) / images, 1.0
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if _score(middle, more, less, images) >= -z:
            low = middle
        else:
            high = middle
    return (low + high) / 2 if low < high else high


def _score(difference: float, more: int, less: int, images: int) -> float:
    """Tango's statistic of "the difference is δ": the distance from it in standard errors under it."""
    distance = more - less - images * difference
    q = _likeliest(difference, more, less, images)
    variance = images * (2 * q + difference * (1 - difference))
    if variance <= 0:
        return math.copysign(math.inf, distance) if distance else 0.0
    return distance / math.sqrt(variance)


def _likeliest(difference: float, more: int, less: int, images: int) -> float:
    """The share of `less` with the greatest likelihood under the difference δ: the larger root of aq² + bq + c = 0."""
    a = 2.0 * images
    b = (2 * images - more + less) * difference - more - less
    c = -less * difference * (1 - difference)
    root = math.sqrt(max(b * b - 4 * a * c, 0.0))
    largest = (root - b) / (2 * a) if b <= 0 else -2 * c / (root + b)  # without cancellation
    return max(largest, 0.0, -difference)


def _require_counts(lost: int, gained: int) -> None:
    if lost < 0 or gained < 0:
        raise ValueError(f"{lost} lost and {gained} gained images cannot be")
