"""The histogram shows every value once, in the width there is."""

from __future__ import annotations

import re

import pytest
import sample_results
from hypothesis import given
from hypothesis import strategies as st

from mascli.importance.statistics import Histogram
from mascli.reports.histogram import bar, histogram_lines


def shown_counts(lines: tuple[str, ...]) -> list[int]:
    return [int(re.sub(",", "", re.findall(r" ([\d,]+) +[<>]?[\d.]+ %$", line)[0])) for line in lines]


@pytest.mark.parametrize("ascii_only", [False, True])
def test_fits_the_width_and_shows_every_count(ascii_only: bool) -> None:
    histogram = sample_results.HISTOGRAM
    lines = histogram_lines(histogram, 80, ascii_only)
    assert shown_counts(lines) == [histogram.zeros, *histogram.counts]
    assert all(len(line) <= 80 for line in lines)
    assert not ascii_only or all(line.isascii() for line in lines)
    drawn = [re.sub(r"[^█▏▎▍▌▋▊▉#.]", "", line[18:-23]) for line in lines]
    assert all(drawn), "a count above zero has no bar"


def test_what_no_logarithm_has_gets_its_own_bar() -> None:
    lines = histogram_lines(Histogram(zeros=2, not_finite=1, negative=3, edges=(), counts=()), 80)
    assert [line[:10].strip() for line in lines] == ["exactly 0", "negative", "not finite"]
    assert shown_counts(lines) == [2, 3, 1]


def test_nothing_at_all() -> None:
    assert histogram_lines(Histogram(0, 0, 0, (), ()), 80) == ("no values",)


def test_one_value() -> None:
    (line,) = histogram_lines(Histogram(0, 0, 0, (0.5, 0.5), (7,)), 60)
    assert line.startswith("5.0e-01 .. 5.0e-01 █")
    assert line.endswith("7  100.00 %")


@given(st.floats(0, 1), st.integers(1, 200), st.booleans())
def test_a_bar_is_as_long_as_its_part(part: float, width: int, ascii_only: bool) -> None:
    drawn = bar(part, width, ascii_only)
    assert len(drawn) <= width
    assert bool(drawn) == (part > 0)
    assert abs(len(drawn) - part * width) <= 1
