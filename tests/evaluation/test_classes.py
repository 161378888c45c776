"""Numbers by class, counted again in the plainest way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mascli.evaluation.classes import ClassCounts, class_counts, confusion

TRUTH = [0, 0, 0, 1, 1, 2]
PREDICTED = [0, 1, 1, 1, 0, -1]
BEFORE = [True, True, False, False, True, True]


def test_known_counts() -> None:
    assert class_counts(4, TRUTH, PREDICTED, BEFORE) == (
        ClassCounts(images=3, correct=1, predicted=2, lost=1, gained=0),
        ClassCounts(images=2, correct=1, predicted=3, lost=1, gained=1),
        ClassCounts(images=1, correct=0, predicted=0, lost=1, gained=0),
        ClassCounts(images=0, correct=0, predicted=0),
    )
    assert all(found.lost == found.gained == 0 for found in class_counts(4, TRUTH, PREDICTED))


def test_known_confusion_holds_the_diagonal_and_no_zero() -> None:
    assert confusion(TRUTH, PREDICTED) == ((0, 0, 1), (0, 1, 2), (1, 0, 1), (1, 1, 1))
    assert confusion([], []) == ()


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(-1, 4), st.booleans()), max_size=60))
def test_every_image_is_counted_once(images: list[tuple[int, int, bool]]) -> None:
    truth, predicted, before = ([image[part] for image in images] for part in range(3))
    counts = class_counts(5, truth, predicted, before)
    cells = {(own, other): number for own, other, number in confusion(truth, predicted)}
    for number, found in enumerate(counts):
        own = [image for image in images if image[0] == number]
        assert found.images == len(own)
        assert found.correct == cells.get((number, number), 0) == sum(image[1] == number for image in own)
        assert found.predicted == sum(image[1] == number for image in images)
        assert found.lost == sum(image[1] != number and image[2] for image in own)
        assert found.gained == sum(image[1] == number and not image[2] for image in own)
    assert sum(cells.values()) + predicted.count(-1) == len(images)
    assert all(number > 0 for number in cells.values())


def test_lists_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        class_counts(2, [0, 1], [0])
