from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mascli.evaluation.metrics import (
    average_accuracy,
    backward_transfer,
    forgetting,
    forgetting_from_best,
    forgetting_over_all,
    forward_transfer,
    learning_accuracy,
    mean_interval,
    t_quantile,
    wilson_interval,
)

MATRIX = [[99.0], [95.0, 98.0], [90.0, 97.0, 96.0]]


def test_figures_of_a_known_matrix() -> None:
    assert average_accuracy(MATRIX) == pytest.approx((90 + 97 + 96) / 3)
    assert learning_accuracy(MATRIX) == pytest.approx((99 + 98 + 96) / 3)
    assert forgetting(MATRIX) == pytest.approx(((99 - 90) + (98 - 97)) / 2)  # over 2 tasks, not 3


def test_a_single_task_has_nothing_to_forget() -> None:
    assert forgetting([[88.0]]) == 0
    assert average_accuracy([[88.0]]) == learning_accuracy([[88.0]]) == 88


def test_what_later_tasks_improve_is_negative_forgetting() -> None:
    assert forgetting([[50.0], [60.0, 70.0]]) == -10


@pytest.mark.parametrize("matrix", [[], [[]], [[1.0, 2.0]], [[1.0], [2.0]]])
@pytest.mark.parametrize("figure", [average_accuracy, learning_accuracy, forgetting])
def test_a_matrix_of_another_shape_is_refused(figure: object, matrix: list[list[float]]) -> None:
    assert callable(figure)
    with pytest.raises(ValueError, match="expected"):
        figure(matrix)


@given(st.lists(st.floats(0, 100), min_size=2, max_size=8))
def test_average_is_learning_minus_forgetting(finals: list[float]) -> None:
    matrix = [[100.0] * (row + 1) for row in range(len(finals) - 1)] + [finals]
    tasks = len(finals)
    expected = learning_accuracy(matrix) - forgetting(matrix) * (tasks - 1) / tasks
    assert average_accuracy(matrix) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    [
        # Newcombe (1998), Statistics in Medicine 17, table I, method 3
        (81, 263, 25.53, 36.62),
        (15, 148, 6.24, 16.05),
        (0, 20, 0.0, 16.11),
        (1, 29, 0.61, 17.18),
    ],
)
def test_published_intervals(correct: int, total: int, low: float, high: float) -> None:
    assert wilson_interval(correct, total) == (pytest.approx(low, abs=0.006), pytest.approx(high, abs=0.006))


@given(total=st.integers(1, 10_000), data=st.data(), confidence=st.floats(0.01, 0.999))
def test_the_interval_holds_the_accuracy_and_mirrors(total: int, data: st.DataObject, confidence: float) -> None:
    correct = data.draw(st.integers(0, total))
    low, high = wilson_interval(correct, total, confidence)
    assert 0 <= low <= 100 * correct / total + 1e-9
    assert 100 * correct / total - 1e-9 <= high <= 100
    mirrored = wilson_interval(total - correct, total, confidence)
    assert mirrored == (pytest.approx(100 - high, abs=1e-9), pytest.approx(100 - low, abs=1e-9))


@given(total=st.integers(1, 1000), data=st.data())
def test_the_ends_solve_the_score_equation(total: int, data: st.DataObject) -> None:
    correct = data.draw(st.integers(0, total))
    for end in wilson_interval(correct, total):
        true = end / 100
        if 0 < true < 1:
            z = (correct / total - true) / math.sqrt(true * (1 - true) / total)
            assert abs(z) == pytest.approx(1.959964, abs=1e-4)


def test_more_images_narrow_it_and_no_image_says_nothing() -> None:
    widths = [high - low for low, high in (wilson_interval(n // 2, n) for n in (10, 100, 1000))]
    assert widths == sorted(widths, reverse=True)
    assert wilson_interval(0, 0) == (0, 100)


@pytest.mark.parametrize(("correct", "total", "confidence"), [(2, 1, 0.95), (-1, 1, 0.95), (1, 2, 0), (1, 2, 1)])
def test_impossible_counts_are_refused(correct: int, total: int, confidence: float) -> None:
    with pytest.raises(ValueError, match=r"cannot be correct|not between"):
        wilson_interval(correct, total, confidence)


# what other code calls forgetting, worked out by hand: task 0 was best after task 1, task 1 at the very end
UNEVEN = [[80.0], [90.0, 70.0], [60.0, 75.0, 50.0]]


def test_definitions_of_forgetting_that_others_use() -> None:
    assert forgetting(UNEVEN) == pytest.approx(((80 - 60) + (70 - 75)) / 2)
    assert forgetting_from_best(UNEVEN) == pytest.approx(((90 - 60) + (70 - 75)) / 2)
    assert forgetting_from_best(UNEVEN, with_final=True) == pytest.approx(((90 - 60) + (75 - 75)) / 2)
    assert forgetting_over_all(UNEVEN) == pytest.approx(((80 - 60) + (70 - 75) + 0) / 3)
    assert backward_transfer(UNEVEN) == -forgetting(UNEVEN)
    assert forgetting_from_best([[50.0]]) == forgetting_over_all([[50.0]]) == backward_transfer([[50.0]]) == 0


@given(
    st.integers(2, 6).flatmap(
        lambda n: st.tuples(*(st.lists(st.floats(0, 100), min_size=k, max_size=k) for k in range(1, n + 1)))
    )
)
def test_definitions_in_order(matrix: tuple[list[float], ...]) -> None:
    assert forgetting_from_best(matrix, with_final=True) >= 0
    assert forgetting_from_best(matrix, with_final=True) >= forgetting_from_best(matrix) >= forgetting(matrix) - 1e-9
    assert abs(forgetting_over_all(matrix)) <= abs(forgetting(matrix))


def test_forward_transfer_leaves_the_first_task_out() -> None:
    assert forward_transfer(UNEVEN, [1.0, 65.0, 58.0]) == pytest.approx(((70 - 65) + (50 - 58)) / 2)
    for matrix, alone in ((UNEVEN, [1.0, 2.0]), ([[50.0]], [50.0])):
        with pytest.raises(ValueError, match="learned alone"):
            forward_transfer(matrix, alone)


@pytest.mark.parametrize("degrees", [*range(1, 12), 29, 30, 199])
@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.999])
def test_students_quantile(degrees: int, confidence: float) -> None:
    assert t_quantile(degrees, confidence) == pytest.approx(stats.t.ppf((1 + confidence) / 2, degrees), rel=1e-9)


def test_the_interval_of_a_mean() -> None:
    values = [99.1, 99.3, 99.2, 98.9, 99.25]
    expected = stats.t.interval(0.95, 4, loc=np.mean(values), scale=stats.sem(values))
    assert mean_interval(values) == pytest.approx(expected)
    assert mean_interval([99.1]) is None
    assert mean_interval([3.0, 3.0]) == (3, 3)


@pytest.mark.parametrize(("degrees", "confidence"), [(0, 0.95), (3, 0.0), (3, 1.0)])
def test_quantiles_that_do_not_exist(degrees: int, confidence: float) -> None:
    with pytest.raises(ValueError, match="no quantile"):
        t_quantile(degrees, confidence)
