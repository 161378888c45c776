"""A small histogram keeps the form of the large one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mascli.reports.sparkline import WIDEST, cell_text, sparkline

counts = st.lists(st.integers(0, 10**9), max_size=200)


def test_heights_are_logarithms_of_counts() -> None:
    assert sparkline([0, 1, 10, 1000, 10**7, 10**8, 0]) == "·▁▂▄██·"
    assert sparkline([1]) == "▁"
    assert sparkline([]) == ""
    assert sparkline([5, 0], 2) != sparkline([0, 5], 2)


def test_neighbours_are_added_in_equal_groups() -> None:
    assert sparkline([1] * 24) == "▃" * WIDEST
    assert len(sparkline([1] * 30)) == 10
    assert sparkline([0, 0, 0, 7], 2) == sparkline([0, 7])


@given(counts, st.integers(1, 20))
def test_never_wider_and_a_dot_only_where_there_is_nothing(numbers: list[int], width: int) -> None:
    spark = sparkline(numbers, width)
    assert len(spark) <= width
    assert bool(set(spark) - {"·"}) == bool(any(numbers))
    assert len(spark.ascii_form) == len(spark) and spark.ascii_form.isascii()
    assert [mark == "." for mark in spark.ascii_form] == [mark == "·" for mark in spark]


def test_a_cell_is_drawn_in_ascii_if_need_be() -> None:
    spark = sparkline([0, 1, 10**6])
    assert (cell_text(spark, False), cell_text(spark, True)) == (spark, spark.ascii_form)
    assert cell_text("é", True) == "é"
