"""How far features move, by hand and beside scikit-like references."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mascli.evaluation.feature_drift import feature_drift, projected


def features(seed: int, count: int, size: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    random = np.random.default_rng(seed)
    return (random.normal(size=(count, size)) * np.linspace(3, 0.1, size)).astype(np.float32)


def test_drift_is_the_distance_moved_over_the_length_before() -> None:
    before = np.array([[3.0, 4.0], [0.0, 5.0]], np.float32)  # lengths 5 and 5
    after = np.array([[3.0, 4.0], [4.0, 8.0]], np.float32)  # moved by 0 and 5
    assert feature_drift(before, after) == pytest.approx(0.5)
    assert feature_drift(before, before) == 0.0
    assert feature_drift(7 * before, 7 * after) == pytest.approx(0.5)  # no unit
    assert feature_drift(after, before) != pytest.approx(0.5)


def test_drift_where_there_is_no_length_or_no_number() -> None:
    zero, one = np.zeros((2, 3), np.float32), np.ones((2, 3), np.float32)
    assert feature_drift(zero, zero) == 0.0 and feature_drift(zero, one) == math.inf
    assert math.isnan(feature_drift(one, one * np.float32(np.nan))) and math.isnan(feature_drift(zero[:0], zero[:0]))
    with pytest.raises(ValueError, match="cannot be compared"):
        feature_drift(zero, zero[:, :2])


@given(seed=st.integers(0, 50), count=st.integers(2, 12), size=st.integers(1, 12))
def test_the_axes_are_the_two_first_principal_components(seed: int, count: int, size: int) -> None:
    before, after = features(seed, count, size), features(seed + 99, count, size)
    found = projected(before, after)
    centred = before.astype(np.float64) - before.mean(axis=0, dtype=np.float64)
    _, values, directions = np.linalg.svd(centred, full_matrices=False)
    for axis in range(min(2, count - 1, size)):
        direction = directions[axis] * np.sign(directions[axis][np.abs(directions[axis]).argmax()])
        assert np.allclose(found.before[:, axis], centred @ direction, atol=1e-6)
        assert np.allclose(found.after[:, axis], (after - before.mean(axis=0, dtype=np.float64)) @ direction, atol=1e-6)
        assert found.shown[axis] == pytest.approx(values[axis] ** 2 / (values**2).sum(), abs=1e-9)


def test_axes_do_not_turn_with_the_sign_that_the_solver_finds() -> None:
    before = features(1, 6, 3)
    assert np.allclose(projected(before, before).before, projected(before[::-1], before).before[::-1])
    assert not np.allclose(projected(-before, before).before, projected(before, before).before)


def test_an_image_that_stayed_is_at_the_same_place() -> None:
    before = features(2, 5, 4)
    after = before.copy()
    after[0] += 1
    found = projected(before, after)
    assert np.array_equal(found.before[1:], found.after[1:]) and not np.allclose(found.before[0], found.after[0])


@pytest.mark.parametrize("shape", [(0, 0), (1, 5), (4, 1), (3, 2)])
def test_a_direction_in_which_nothing_varies_is_zero(shape: tuple[int, int]) -> None:
    same = np.ones(shape, np.float32)
    found = projected(same, same)
    assert found.before.tolist() == [[0.0, 0.0]] * shape[0] and found.shown == (0.0, 0.0)
    line = np.arange(shape[0] * shape[1], dtype=np.float32).reshape(shape)
    assert np.allclose(projected(line, line).before[:, 1], 0, atol=1e-6)


def test_features_that_are_not_finite_are_at_the_origin() -> None:
    before = features(3, 4, 3)
    after = before.copy()
    after[2, 1] = np.inf
    found = projected(before, after)
    assert not found.before.any() and not found.after.any() and found.shown == (0.0, 0.0)
