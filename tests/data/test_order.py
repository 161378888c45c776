from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mascli.data.order import seeded_order, stratified_split

PINNED = [3, 2, 1, 8, 6, 0, 7, 4, 5, 9]
LABELS = st.lists(st.integers(0, 4), max_size=60)
FRACTIONS = st.floats(0, 0.99)


@given(count=st.integers(0, 300), seed=st.integers(0, 2**64))
def test_an_order_is_a_permutation_that_the_seed_fixes(count: int, seed: int) -> None:
    order = seeded_order(count, seed)
    assert sorted(order) == list(range(count))
    assert seeded_order(count, seed) == order


def test_the_order_never_changes_between_versions() -> None:
    assert seeded_order(10, 0) == PINNED
    assert seeded_order(10, (0, 1)) != PINNED
    assert seeded_order(100, 1) != seeded_order(100, 2)


def test_every_place_is_equally_likely() -> None:
    firsts = Counter(seeded_order(5, seed)[0] for seed in range(2000))
    assert all(320 < firsts[place] < 480 for place in range(5))


@given(labels=LABELS, fraction=FRACTIONS, seed=st.integers(0, 9))
def test_a_split_keeps_every_image_once_and_every_class_in_training(
    labels: list[int], fraction: float, seed: int
) -> None:
    train, val = stratified_split(labels, fraction, seed)
    assert sorted(train + val) == list(range(len(labels)))
    assert train == sorted(train)
    assert val == sorted(val)
    assert {labels[index] for index in train} == set(labels)
    if fraction > 0:
        sizes = Counter(labels)
        assert {labels[index] for index in val} == {label for label, size in sizes.items() if size >= 2}


@pytest.mark.parametrize(
    ("count", "fraction", "held_out"),
    [
        *[(10, 0.0, 0), (1, 0.5, 0), (2, 0.1, 1), (2, 0.9, 1), (10, 0.1, 1), (5, 0.1, 1), (15, 0.1, 2)],
        *[(14, 0.1, 1), (100, 0.285, 29), (10, 0.25, 3), (10, 0.99, 9)],
    ],
)
def test_halves_round_up_in_decimal(count: int, fraction: float, held_out: int) -> None:
    train, val = stratified_split([7] * count, fraction, 0)
    assert (len(train), len(val)) == (count - held_out, held_out)


@given(labels=LABELS, others=LABELS, fraction=FRACTIONS)
def test_a_class_is_split_the_same_beside_any_others(labels: list[int], others: list[int], fraction: float) -> None:
    def held_out_of_class_9(before: list[int]) -> list[int]:
        _, val = stratified_split([*before, *[9] * 20], fraction, 3)
        return [index - len(before) for index in val if index >= len(before)]

    assert held_out_of_class_9(labels) == held_out_of_class_9(others)


def test_the_seed_decides() -> None:
    assert stratified_split([0] * 50, 0.3, 0) != stratified_split([0] * 50, 0.3, 1)


def test_classes_are_not_split_in_step() -> None:
    _, val = stratified_split([0] * 50 + [1] * 50, 0.3, 0)
    assert [index for index in val if index < 50] != [index - 50 for index in val if index >= 50]
