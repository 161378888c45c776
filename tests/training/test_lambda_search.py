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
    baseline_accuracy,
    chosen_trial,
    describe_resolution,
    describe_unsteady,
    lambda_range,
    next_strength,
)

BOUNDS = LambdaRange(1e-3, 1e4)


def search(
    accuracy: Callable[[float], float], bounds: LambdaRange = BOUNDS, max_drop: float = 2.0, max_trials: int = 64
) -> list[Trial]:
    trials: list[Trial] = []
    while (strength := next_strength(trials, bounds if trials else None, max_drop, max_trials)) is not None:
        trials.append(Trial(strength, accuracy(strength), None))
        assert len(trials) <= 100
    return trials


def chosen(trials: list[Trial], bounds: LambdaRange = BOUNDS, max_drop: float = 2.0) -> float:
    return chosen_trial(trials, bounds, max_drop).strength


def step(threshold: float, low: float = 50.0) -> Callable[[float], float]:
    """90 % up to the threshold, `low` above it."""
    return lambda strength: 90.0 if strength <= threshold else low


def strengths(trials: list[Trial]) -> list[float]:
    return [trial.strength for trial in trials]


def tried(*pairs: tuple[float, float]) -> list[Trial]:
    return [Trial(strength, accuracy, None) for strength, accuracy in pairs]


@given(exponent=st.floats(-3, 4), span=st.floats(0, 12))
def test_on_a_step_the_chosen_lambda_is_within_a_factor_of_the_threshold(exponent: float, span: float) -> None:
    threshold = 10**exponent
    bounds = LambdaRange(threshold * 10 ** -(4 + span), threshold * 10 ** (16 - span))
    found = chosen(search(step(threshold), bounds), bounds)
    assert threshold / CLOSE <= found * (1 + 1e-9) and found <= threshold


def test_outside_the_range_the_chosen_one_is_nothing_or_its_upper_end() -> None:
    assert chosen(search(step(1e-9))) == 0
    assert chosen(search(step(1e-3))) == 0  # at `free` nothing is held: no more than fine-tuning
    assert chosen(search(step(1e9))) == 1e4


@given(seed=st.integers(0, 10**6), span=st.floats(4, 40), max_drop=st.floats(0, 50), max_trials=st.integers(1, 20))
def test_whatever_the_accuracy_does_trials_are_bounded_and_the_chosen_one_is_within_the_drop(
    seed: int, span: float, max_drop: float, max_trials: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    bounds = LambdaRange(1e-3, 10 ** (span - 3))
    trials = search(lambda _: float(100 * torch.rand((), generator=generator)), bounds, max_drop, max_trials)
    halvings = math.ceil(math.log2(span / math.log10(CLOSE)))
    assert len(trials) <= min(max_trials, 3 + halvings + 1)  # one for what three digits round
    assert len(set(strengths(trials))) == len(trials)
    assert strengths(trials)[:3] == [0.0, bounds.free, bounds.frozen][:max_trials]
    plain = [t.accuracy for t in trials[:2]]
    within = [t.strength for t in trials[2:] if t.accuracy >= sum(plain) / len(plain) - max_drop]
    assert chosen(trials, bounds, max_drop) == max(within, default=0.0)
    assert all(bounds.free < s < bounds.frozen for s in strengths(trials)[3:])


def test_both_ends_come_first_and_the_upper_one_ends_the_search_if_it_will_do() -> None:
    trials = search(step(math.inf))
    assert strengths(trials) == [0.0, 1e-3, 1e4] and chosen(trials) == 1e4
    assert strengths(search(step(1.0)))[:4] == [0.0, 1e-3, 1e4, 3.16]  # the middle of 1e-3 and 1e4


def test_a_lucky_fine_tuning_is_weighed_with_the_other_training_that_holds_nothing() -> None:
    """Alone, 93 % would put the limit at 91, and no lambda that holds anything within it."""
    assert chosen(search(lambda strength: 93.0 if strength == 0 else 89.5)) == 1e4
    assert chosen(search(lambda strength: 93.0 if strength <= 1e-3 else 89.5)) == 0
    assert baseline_accuracy(tried((0.0, 93.0), (1e-3, 88.0), (1e-4, 86.0), (1.0, 10.0), (0.0, 1.0)), BOUNDS) == 89.0
    assert baseline_accuracy(tried((0.0, 93.0), (1e-3, math.nan)), BOUNDS) == 93.0
    with pytest.raises(ValueError, match="lambda 0"):
        baseline_accuracy(tried((1e-3, 90.0)), BOUNDS)


@pytest.mark.parametrize("most", [1, 2, 3, 4, 5])
def test_few_trials_are_the_first_of_many(most: int) -> None:
    assert search(step(1.0), max_trials=most) == search(step(1.0))[:most]
    assert chosen(search(step(1e3), max_trials=most)) == [0.0, 0.0, 0.0, 3.16, 178.0][most - 1]


def test_a_search_goes_on_from_any_of_its_moments_in_any_order() -> None:
    whole = search(step(7.0))
    for done in range(len(whole)):
        assert next_strength(whole[:done][::-1], BOUNDS, 2.0, 64) == whole[done].strength
    assert next_strength(whole, BOUNDS, 2.0, 64) is None


def test_a_drop_just_as_large_as_allowed_is_within_it() -> None:
    assert chosen(tried((0.0, 90.3), (1.0, 90.3 - 2.0 - 1e-12), (2.0, 90.3 - 2.0 - 1e-6))) == 1.0


def test_where_accuracy_does_not_fall_with_lambda_the_largest_within_the_drop_counts() -> None:
    trials = tried((0.0, 90.0), (1.0, 70.0), (10.0, 89.0), (100.0, 60.0), (0.1, 99.0))
    assert chosen(trials) == 10.0
    following = next_strength([*trials, *tried((1e-3, 90.0), (1e4, 20.0))], BOUNDS, 2.0, 64)
    assert following is not None and 10 < following < 100


def test_a_training_that_failed_is_outside_and_the_first_of_equal_lambdas_counts() -> None:
    assert chosen(tried((0.0, 90.0), (1.0, math.nan))) == 0
    assert chosen(tried((0.0, 90.0), (1.0, 50.0), (1.0, 90.0))) == 0
    assert chosen(search(lambda s: 90.0 if s == 0 else math.nan)) == 0


def test_the_range_goes_from_nothing_held_to_half_of_what_matters_held() -> None:
    torch.manual_seed(0)
    omegas = [torch.rand(50, 40) * 10.0 ** torch.randint(-9, 3, (50, 40)), torch.zeros(7), torch.zeros(0)]
    pulls = [omega / (0.1 + torch.rand_like(omega)) for omega in omegas]
    found = lambda_range(omegas, pulls)
    omega, pull = (torch.cat([one.flatten() for one in tensors]).double() for tensors in (omegas, pulls))
    descending = pull.argsort(descending=True)
    carried = omega[descending].cumsum(0) / omega.sum()
    for strength, least, share in ((found.free, 0.01, 0.01), (found.frozen, 1.0, 0.5)):
        exact = least / float(pull[descending[int((carried < share).sum())]])
        assert strength == pytest.approx(exact, rel=0.015)
        held = omega[strength * pull >= least * 0.99].sum() / omega.sum()
        assert share <= float(held) < share + 0.03
    assert int((found.frozen * pull >= 1).sum()) < 0.05 * len(pull)
    assert lambda_range(omegas, [5 * one for one in pulls]).free == pytest.approx(found.free / 5, rel=0.02)


def test_one_parameter_with_an_enormous_pull_settles_nothing() -> None:
    """AdamW's smallest steps, where a gradient was next to nothing, are held by any lambda."""
    torch.manual_seed(0)
    omega, pull = torch.rand(1000), torch.rand(1000)
    usual = lambda_range([omega], [pull])
    pull[17] = 1e12
    found = lambda_range([omega], [pull])
    assert found.free == pytest.approx(usual.free, rel=0.05) and found.frozen == pytest.approx(usual.frozen, rel=0.05)


def test_the_ends_of_the_range_are_told_in_whole_by_three_digits() -> None:
    omegas = [torch.tensor([0.123456, 0.0345678])]
    found = lambda_range(omegas, [0.0543656 * omegas[0]])
    assert found == LambdaRange(1.5, 150.0)
    assert all(strength == float(f"{strength:.3g}") for strength in strengths(search(step(7.77), found)))


def test_importance_that_is_the_same_everywhere_leaves_a_range_of_two_decades() -> None:
    assert lambda_range([torch.ones(3)], [torch.ones(3)]) == LambdaRange(0.01, 1.0)


@pytest.mark.parametrize(
    ("omegas", "pulls"),
    [
        ([], []),
        ([torch.zeros(3)], [torch.zeros(3)]),
        ([torch.full((2,), -0.0)], [torch.full((2,), -0.0)]),
        ([torch.ones(2)], [torch.zeros(2)]),
        ([torch.zeros(2)], [torch.ones(2)]),
    ],
)
def test_importance_that_can_hold_nothing_is_refused(omegas: list[torch.Tensor], pulls: list[torch.Tensor]) -> None:
    with pytest.raises(UsageError, match=r"zero everywhere.*leave out --omega"):
        lambda_range(omegas, pulls)


def test_few_validation_images_are_named_with_what_one_of_them_is() -> None:
    assert describe_resolution(200, 0.1) is None
    line = describe_resolution(50, 2.0)
    assert line is not None and "50 validation images" in line and line.endswith("drops cannot be seen")
    assert "2 percentage points" in line and describe_resolution(50, 0.0) == line
    line = describe_resolution(24, 2.0)
    assert line is not None and "--max-drop 2 is less than that; --max-drop 5 allows one to be lost" in line
    line = describe_resolution(1, 2.0)
    assert line is not None and "1 validation image," in line and "100 percentage points" in line


def test_a_fine_tuning_that_says_little_is_told() -> None:
    trials = tried((0, 80.0), (1e-3, 80.5), (50, 74.25), (3.25, 86.25), (9, math.nan))
    line = describe_unsteady(trials, BOUNDS, 2.0, 400)
    assert line is not None and "80.25 %" in line and "lambda 3.25 " in line and "86.25 %" in line
    assert describe_unsteady(trials, BOUNDS, 6.0, 400) is None
    assert describe_unsteady(trials, BOUNDS, 2.0, 10) is None  # less than one image
    assert describe_unsteady(tried((0, 90.0), (1, 92.0)), BOUNDS, 2.0, 400) is None
    assert describe_unsteady(tried((0, 90.0), (1, 90.0)), BOUNDS, 0.0, 400) is None
    line = describe_unsteady(tried((0, 90.0), (1e-3, 85.5), (1, 88.0)), BOUNDS, 2.0, 400)
    assert line is not None and "85.50 and to 90.00 %" in line
    assert describe_unsteady(tried((0, 100.0), (1e-3, 100 - 100 / 24)), BOUNDS, 2.0, 24) is None  # one image
    assert describe_unsteady(tried((0, 90.0), (1e-3, math.nan), (1, 88.0)), BOUNDS, 2.0, 400) is None
