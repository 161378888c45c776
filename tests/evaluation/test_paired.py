"""The paired interval and test: against other code, against published numbers, and what they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats
from scipy.special import gammaln

from mascli.evaluation.metrics import wilson_interval
from mascli.evaluation.paired import mcnemar, paired_interval

Z = stats.norm.ppf(0.975)
DISCORDANT = [
    (0, 0),
    (1, 0),
    (0, 1),
    (5, 0),
    (1, 7),
    (3, 3),
    (4, 5),
    (16, 6),
    (40, 20),
    (0, 60),
    (250, 310),
    (1500, 1203),
]


@pytest.mark.parametrize(("lost", "gained"), DISCORDANT)
def test_mcnemar_is_the_binomial_test_of_scipy(lost: int, gained: int) -> None:
    expected = stats.binomtest(lost, lost + gained).pvalue if lost + gained else 1.0
    assert mcnemar(lost, gained) == pytest.approx(expected, rel=1e-9)


@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_on_any_counts(lost: int, gained: int) -> None:
    p = mcnemar(lost, gained)
    assert 0 < p <= 1 and p == mcnemar(gained, lost)
    assert p == pytest.approx(min(1.0, 2 * stats.binom.cdf(min(lost, gained), lost + gained, 0.5)), rel=1e-9)


def test_mcnemar_of_very_many_images_neither_overflows_nor_loses_digits() -> None:
    assert mcnemar(500_000, 501_000) == pytest.approx(stats.binomtest(500_000, 1_001_000).pvalue, rel=1e-9)
    assert mcnemar(0, 100_000) == 0.0 and mcnemar(100_000, 100_000) == 1.0
    assert mcnemar(0, 1000) == pytest.approx(2.0**-999, rel=1e-9)


def slow_interval(lost: int, gained: int, images: int, z: float) -> tuple[float, float]:
    """The same interval by another road: the greatest likelihood by its slope, the limits by a root finder."""
    same, middle = images - lost - gained, (lost - gained) / images

    def likeliest(difference: float) -> float:
        low, high = max(0.0, -difference), (1 - difference) / 2  # the share gained
        for _ in range(100):
            q = (low + high) / 2
            parts = ((lost, q + difference, 1), (gained, q, 1), (same, 1 - 2 * q - difference, -2))
            slope = sum(count * sign / share if share > 0 else sign * math.inf for count, share, sign in parts if count)
            low, high = (q, high) if slope > 0 else (low, q)
        return (low + high) / 2

    def score(difference: float) -> float:
        variance = images * (2 * likeliest(difference) + difference * (1 - difference))
        return float((lost - gained - images * difference) / math.sqrt(variance))

    def limit(end: float, level: float) -> float:
        if middle == end:
            return end
        near, far = middle + math.copysign(1e-12, end), end * (1 - 1e-12)
        if (score(far) > level) == (end > 0):
            return end  # not even the farthest difference is rejected
        return float(optimize.brentq(lambda difference: score(difference) - level, near, far, xtol=1e-15))

    return 100 * limit(-1.0, z), 100 * limit(1.0, -z)


SMALL = [(b, c, n) for n in (1, 2, 3, 7) for b in range(n + 1) for c in range(n + 1 - b)]
LARGER = [(1, 7, 21), (40, 20, 160), (0, 0, 100), (3, 0, 1000), (0, 12, 50), (25, 28, 618), (700, 650, 10_000)]


@pytest.mark.parametrize(("lost", "gained", "images"), [*SMALL, *LARGER])
def test_the_interval_is_that_of_a_slow_and_independent_solution(lost: int, gained: int, images: int) -> None:
    assert paired_interval(lost, gained, images) == pytest.approx(slow_interval(lost, gained, images, Z), abs=1e-9)


def test_the_interval_is_the_published_one() -> None:
    """Fagerland, Lydersen and Laake (2017), chapter 8: n12 = 1, n21 = 7, n = 21; and PropCIs of R for 25, 28, 618."""
    assert [round(limit / 100, 3) for limit in paired_interval(1, 7, 21)] == [-0.517, -0.026]
    assert [round(limit / 100, 4) for limit in paired_interval(28, 25, 618, 0.9)] == [-0.0148, 0.0247]


@pytest.mark.parametrize("images", [1, 10, 100, 10_000_000])
def test_without_any_change_it_still_has_a_width(images: int) -> None:
    width = 100 * Z * Z / (images + Z * Z)
    assert paired_interval(0, 0, images) == pytest.approx((-width, width), rel=1e-9)


def test_no_image_says_nothing() -> None:
    assert paired_interval(0, 0, 0) == (-100, 100)
    assert mcnemar(0, 0) == 1


@st.composite
def counts(draw: st.DrawFn) -> tuple[int, int, int]:
    images = draw(st.integers(1, 3000))
    lost = draw(st.integers(0, images))
    return lost, draw(st.integers(0, images - lost)), images


@given(counts())
def test_the_interval_holds_what_was_measured_and_mirrors(found: tuple[int, int, int]) -> None:
    lost, gained, images = found
    low, high = paired_interval(lost, gained, images)
    assert -100 <= low <= 100 * (lost - gained) / images <= high <= 100
    assert paired_interval(gained, lost, images) == pytest.approx((-high, -low), abs=1e-9)
    narrow, wide = paired_interval(lost, gained, images, 0.5), paired_interval(lost, gained, images, 0.999)
    assert wide[0] <= low <= narrow[0] and narrow[1] <= high <= wide[1]


@given(counts())
def test_it_leaves_zero_out_where_the_test_without_correction_does(found: tuple[int, int, int]) -> None:
    lost, gained, images = found
    low, high = paired_interval(lost, gained, images)
    squared = (lost - gained) ** 2 / (lost + gained) if lost + gained else 0.0
    if abs(squared - Z * Z) > 1e-9:
        assert (low > 0 or high < 0) == (squared > Z * Z)


def coverage(images: int, wald: bool = False) -> list[float]:
    """How probable it is, exactly, that the interval holds the truth: for each of a grid of two probabilities."""
    pairs = np.array([(b, c) for b in range(images + 1) for c in range(images + 1 - b)])
    lost, gained = pairs[:, 0], pairs[:, 1]
    limits = np.array([paired_interval(int(b), int(c), images) for b, c in pairs]) / 100
    if wald:
        reach = Z * np.sqrt(lost + gained - (lost - gained) ** 2 / images) / images
        limits = np.stack([(lost - gained) / images - reach, (lost - gained) / images + reach], 1)
    ways = gammaln(images + 1) - gammaln(lost + 1) - gammaln(gained + 1) - gammaln(images - lost - gained + 1)
    found = []
    for p, q in [(p, q) for p in np.arange(0.005, 0.6, 0.03) for q in np.arange(0.005, 0.6, 0.03) if p + q < 1]:
        weights = np.exp(ways + lost * np.log(p) + gained * np.log(q) + (images - lost - gained) * np.log1p(-p - q))
        assert weights.sum() == pytest.approx(1)
        held = (limits[:, 0] <= p - q + 1e-12) & (p - q - 1e-12 <= limits[:, 1])
        found.append(float(weights[held].sum()))
    return found


@pytest.mark.parametrize("images", [10, 20, 30, 50])
def test_the_interval_holds_the_truth_about_as_often_as_it_says(images: int) -> None:
    found = coverage(images)
    assert min(found) >= 0.93 and np.mean(found) >= 0.95


def test_the_textbook_interval_does_not() -> None:
    assert min(coverage(20, wald=True)) < 0.6


@pytest.mark.parametrize(
    ("lost", "gained", "images", "confidence"), [(1, 1, 1, 0.95), (-1, 0, 3, 0.95), (0, -1, 3, 0.95)]
)
def test_impossible_counts_are_refused(lost: int, gained: int, images: int, confidence: float) -> None:
    with pytest.raises(ValueError, match="cannot be"):
        paired_interval(lost, gained, images, confidence)


def test_impossible_questions_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be"):
        mcnemar(-1, 2)
    for confidence in (0.0, 1.0, math.nan):
        with pytest.raises(ValueError, match="not between 0 and 1"):
            paired_interval(1, 1, 4, confidence)


@pytest.mark.parametrize("total", [1, 2, 13, 500, 10_000, 1_281_167])
@pytest.mark.parametrize("share", [0.0, 0.003, 0.5, 0.87, 1.0])
def test_the_interval_of_an_accuracy_is_that_of_scipy(total: int, share: float) -> None:
    correct = round(share * total)
    expected = stats.binomtest(correct, total).proportion_ci(0.95, method="wilson")
    assert wilson_interval(correct, total) == pytest.approx((100 * expected.low, 100 * expected.high), abs=1e-9)
