"""The search for lambda on accuracy functions that are known, and its range."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mascli.errors import UsageError
from mascli.training.lambda_search import (
    CLOSE,
    LambdaRange,
    Trial,
    chosen_trial,
    describe_baseline,
    describe_resolution,
    lambda_range,
    next_strength,
)

BOUNDS = LambdaRange(1e-3, 1e4)


def search(
    accuracy: Callable[[float], float], bounds: LambdaRange = BOUNDS, max_drop: float = 2.0, max_trials: int = 64
) -> list[Trial]:
    trials: list[Trial] = []
    while (strength := next_strength(trials, bounds, max_drop, max_trials)) is not None:
        trials.append(Trial(strength, accuracy(strength), None))
        assert len(trials) <= 100
    return trials


def step(threshold: float, low: float = 50.0) -> Callable[[float], float]:
    """90 % up to the threshold, `low` above it."""
    return lambda strength: 90.0 if strength <= threshold else low


def strengths(trials: list[Trial]) -> list[float]:
    return [trial.strength for trial in trials]


@given(exponent=st.floats(-3, 4), span=st.floats(0, 12))
def test_on_a_step_the_chosen_lambda_is_within_a_factor_of_the_threshold(exponent: float, span: float) -> None:
    threshold = 10**exponent
    bounds = LambdaRange(threshold * 10 ** -(4 + span), threshold * 10 ** (16 - span))
    found = chosen_trial(search(step(threshold), bounds), 2.0).strength
    assert threshold / CLOSE <= found * (1 + 1e-9) and found <= threshold


def test_outside_the_range_the_chosen_one_is_nothing_or_near_its_upper_end() -> None:
    assert chosen_trial(search(step(1e-9)), 2.0).strength == 0
    assert 1e4 / CLOSE <= chosen_trial(search(step(1e9)), 2.0).strength <= 1e4


@given(seed=st.integers(0, 10**6), span=st.floats(4, 40), max_drop=st.floats(0, 50), max_trials=st.integers(1, 20))
def test_whatever_the_accuracy_does_trials_are_bounded_and_the_chosen_one_is_within_the_drop(
    seed: int, span: float, max_drop: float, max_trials: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    bounds = LambdaRange(1e-3, 10 ** (span - 3))
    trials = search(lambda _: float(100 * torch.rand((), generator=generator)), bounds, max_drop, max_trials)
    halvings = math.ceil(math.log2(span / math.log10(CLOSE)))
    assert len(trials) <= min(max_trials, 3 + halvings)
    assert len(set(strengths(trials))) == len(trials)
    chosen = chosen_trial(trials, max_drop)
    assert chosen.strength == 0 or chosen.accuracy >= trials[0].accuracy - max_drop - 1e-9
    within = [t.strength for t in trials if t.accuracy >= trials[0].accuracy - max_drop]
    assert chosen.strength == max(within)
    assert all(bounds.free < s < bounds.frozen for s in strengths(trials)[2:])


def test_no_protection_comes_first_and_the_head_alone_ends_the_search_if_it_will_do() -> None:
    trials = search(step(math.inf))
    assert strengths(trials) == [0.0, math.inf] and math.isinf(chosen_trial(trials, 2.0).strength)
    assert strengths(search(step(1.0)))[:3] == [0.0, math.inf, 3.16]  # the middle of 1e-3 and 1e4


@pytest.mark.parametrize("most", [1, 2, 3, 4])
def test_few_trials_are_the_first_of_many(most: int) -> None:
    assert search(step(1.0), max_trials=most) == search(step(1.0))[:most]
    assert chosen_trial(search(step(1e3), max_trials=most), 2.0).strength == [0.0, 0.0, 3.16, 178.0][most - 1]


def test_a_search_goes_on_from_any_of_its_moments_in_any_order() -> None:
    whole = search(step(7.0))
    for done in range(len(whole)):
        assert next_strength(whole[:done][::-1], BOUNDS, 2.0, 64) == whole[done].strength
    assert next_strength(whole, BOUNDS, 2.0, 64) is None


def test_a_drop_just_as_large_as_allowed_is_within_it() -> None:
    equal = [Trial(0.0, 90.3, None), Trial(1.0, 90.3 - 2.0 - 1e-12, None), Trial(2.0, 90.3 - 2.0 - 1e-6, None)]
    assert chosen_trial(equal, 2.0).strength == 1.0


def test_where_accuracy_does_not_fall_with_lambda_the_largest_within_the_drop_counts() -> None:
    trials = [Trial(s, a, None) for s, a in ((0.0, 90.0), (1.0, 70.0), (10.0, 89.0), (100.0, 60.0), (0.1, 99.0))]
    assert chosen_trial(trials, 2.0).strength == 10.0
    trials.append(Trial(math.inf, 20.0, None))
    following = next_strength(trials, BOUNDS, 2.0, 64)
    assert following is not None and 10 < following < 100


def test_a_training_that_failed_is_outside_and_the_first_of_equal_lambdas_counts() -> None:
    assert chosen_trial([Trial(0.0, 90.0, None), Trial(1.0, math.nan, None)], 2.0).strength == 0
    twice = [Trial(0.0, 90.0, None), Trial(1.0, 50.0, None), Trial(1.0, 90.0, None)]
    assert chosen_trial(twice, 2.0).strength == 0
    assert chosen_trial(search(lambda s: 90.0 if s == 0 else math.nan), 2.0).strength == 0
    with pytest.raises(ValueError, match="lambda 0"):
        chosen_trial([], 2.0)


def test_the_range_goes_from_nothing_held_to_everything_that_matters_held() -> None:
    torch.manual_seed(0)
    omegas = [torch.rand(50, 40) * 10.0 ** torch.randint(-9, 3, (50, 40)), torch.zeros(7), torch.zeros(0)]
    eta = 0.02
    found = lambda_range(omegas, eta)
    positive = torch.cat([omega.flatten() for omega in omegas])
    positive = positive[positive > 0].double()
    assert 2 * eta * found.free * float(positive.max()) == pytest.approx(0.01)
    held = positive[2 * eta * found.frozen * positive >= 1]
    assert 0.99 <= float(held.sum() / positive.sum()) < 0.9999 and len(held) < 0.5 * len(positive)
    descending = positive.sort(descending=True).values
    exact = float(descending[int((descending.cumsum(0) < 0.99 * positive.sum()).sum())])
    assert 0.97 / (2 * eta * exact) <= found.frozen <= 1.03 / (2 * eta * exact)
    assert lambda_range([5 * omega for omega in omegas], eta).free == pytest.approx(found.free / 5)


def test_importance_that_is_the_same_everywhere_leaves_a_range_of_two_decades() -> None:
    found = lambda_range([torch.ones(3)], 0.5)
    assert (found.free, found.frozen) == pytest.approx((0.01, 1.0))


@pytest.mark.parametrize("omegas", [[], [torch.zeros(3)], [torch.full((2,), -0.0)]])
def test_importance_that_is_zero_everywhere_is_refused(omegas: list[torch.Tensor]) -> None:
    with pytest.raises(UsageError, match=r"zero everywhere.*leave out --omega"):
        lambda_range(omegas, 0.1)


def test_few_validation_images_are_named_with_what_one_of_them_is() -> None:
    assert describe_resolution(200) is None
    line = describe_resolution(50)
    assert line is not None and "50 validation images" in line and "2 percentage points" in line
    line = describe_resolution(1)
    assert line is not None and "1 validation image," in line and "100 percentage points" in line


def test_a_baseline_that_a_protected_trial_beats_is_told() -> None:
    trials = [Trial(0, 80.25, None), Trial(math.inf, 74.25, None), Trial(3.25, 86.25, None), Trial(9, math.nan, None)]
    line = describe_baseline(trials, 2.0)
    assert line is not None and "80.25 %" in line and "lambda 3.25 " in line and "86.25 %" in line
    assert describe_baseline(trials, 6.0) is None
    assert describe_baseline([Trial(0, 90.0, None), Trial(1, 92.0, None)], 2.0) is None
    assert describe_baseline([Trial(0, 90.0, None), Trial(1, 90.0, None)], 0.0) is None
