"""The histogram shows every value once, in the width there is, and says what its bars mean."""

from __future__ import annotations

import math
import re

import pytest
import sample_results
from hypothesis import given
from hypothesis import strategies as st

from mascli.importance.statistics import Histogram
from mascli.reports.histogram import bar, histogram_lines, length, scale


def shown_counts(lines: tuple[str, ...]) -> list[int]:
    return [int(re.sub(",", "", re.findall(r" ([\d,]+) +[<>]?[\d.]+ %$", line)[0])) for line in lines]


def bar_of(line: str) -> str:
    return re.sub(r"[^█▏▎▍▌▋▊▉#]", "", line)


@pytest.mark.parametrize("ascii_only", [False, True])
@pytest.mark.parametrize("width", [80, 100, 200])
def test_fits_the_width_and_shows_every_count(width: int, ascii_only: bool) -> None:
    histogram = sample_results.HISTOGRAM
    *lines, axis = histogram_lines(histogram, width, ascii_only)
    assert shown_counts(tuple(lines)) == [histogram.zeros, *histogram.counts]
    assert all(len(line) <= width for line in (*lines, axis))
    assert not ascii_only or all(line.isascii() for line in (*lines, axis))
    assert all(bar_of(line) for line in lines), "a count above zero has no bar"
    assert axis.startswith("count, log scale")


def test_the_peak_at_zero_and_the_long_tail_are_both_seen() -> None:
    histogram = sample_results.HISTOGRAM
    zero, *_, tail, last, _ = (len(bar_of(line)) for line in histogram_lines(histogram, 80))
    assert (histogram.zeros, histogram.counts[-2:]) == (1_398_101, (310, 1))
    assert zero > 35 and tail > zero / 3 and last == 1
    plain = histogram.counts[-2] / max(histogram.counts) * 43
    assert plain < 0.01  # what a bar in proportion to the count would be


@pytest.mark.parametrize("most", [1, 7, 10, 99, 1000, 123_456_789])
def test_each_mark_of_the_scale_stands_where_the_bar_of_that_count_ends(most: int) -> None:
    most, width = max(10, most), 60
    marks = {"1": 1, "10": 10, "100": 100, "1k": 1000, "10k": 10**4, "100k": 10**5, "1M": 10**6, "10M": 10**7}
    line = scale(most, width)
    found = {match[0]: match.start() for match in re.finditer(r"\S+", line)}
    assert {"1"} < found.keys() <= marks.keys() | {"100M"}
    for name, start in found.items():
        many = marks.get(name, 10**8)
        assert many <= most
        ends = len(bar(length(many, most, width), ascii_only=True))
        assert ends == start + 1 or start + len(name) == width  # at the right edge a mark ends where there is room
        assert start < ends <= start + len(name)


def test_what_no_logarithm_has_gets_its_own_bar() -> None:
    *lines, _ = histogram_lines(Histogram(zeros=2, not_finite=1, negative=3, edges=(), counts=()), 80)
    assert [line[:10].strip() for line in lines] == ["exactly 0", "negative", "not finite"]
    assert shown_counts(tuple(lines)) == [2, 3, 1]


def test_nothing_at_all() -> None:
    assert histogram_lines(Histogram(0, 0, 0, (), ()), 80) == ("no values",)


def test_one_value() -> None:
    line, axis = histogram_lines(Histogram(0, 0, 0, (0.5, 0.5), (7,)), 60)
    assert line.startswith("5.0e-01 .. 5.0e-01 █")
    assert line.endswith("7  100.00 %")
    assert axis.split() == ["count,", "log", "scale", "1", "10"]


@given(st.integers(0, 10**12), st.integers(10, 10**12), st.integers(8, 200), st.booleans())
def test_a_bar_is_as_long_as_the_logarithm_of_its_count(many: int, most: int, width: int, ascii_only: bool) -> None:
    many = min(many, most)
    drawn = bar(length(many, most, width), ascii_only)
    assert len(drawn) <= width
    assert bool(drawn) == (many > 0)
    if many:
        assert abs(len(drawn) - (1 + (width - 1) * math.log(many) / math.log(most))) <= 1


@pytest.mark.parametrize("width", range(20, 60))
def test_narrow_terminals(width: int) -> None:
    lines = histogram_lines(sample_results.HISTOGRAM, width)
    assert width < 32 or all(len(line) <= width for line in lines)
