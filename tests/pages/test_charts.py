"""Charts draw the points where the numbers say, and tell them in a table and in words too."""

from __future__ import annotations

import itertools
import math
import re

import pytest
from html_page import ReadPage
from hypothesis import given
from hypothesis import strategies as st

from mascli.pages.charts import panels, scale
from mascli.pages.content import Cell, LineChart, Panels, Series


def drawn(*series: Series, places: tuple[str, ...] = ("a", "b", "c")) -> str:
    return panels(
        Panels((LineChart("What <was>", "In words", places, series, "percent", "after"),)), itertools.count(1)
    )


def cells(*values: float | None) -> tuple[Cell | None, ...]:
    return tuple(None if value is None else Cell(f"{value:.2f}", value) for value in values)


def points(made: str) -> list[tuple[float, float]]:
    (path,) = re.findall(r'<polyline points="([^"]*)"', made)
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in path.split())]


def test_a_line_goes_where_the_numbers_go() -> None:
    made = drawn(Series("one", cells(0.0, 100.0, 50.0), 0))
    (x0, y0), (x1, y1), (x2, y2) = points(made)
    assert x0 < x1 < x2 and x1 - x0 == pytest.approx(x2 - x1)
    assert y1 < y2 < y0 and y2 == pytest.approx((y0 + y1) / 2)
    assert re.findall(r'<text x="[\d.]+" y="[\d.]+" class="tick end">([\d.]+)<', made) == ["0", "25", "50", "75", "100"]


def test_a_chart_has_a_title_a_description_and_its_numbers() -> None:
    made = drawn(Series("one", cells(1.0, 2.0, None), 0), Series("two", cells(3.0, 4.0, 5.0), 1))
    read = ReadPage(made)
    assert read.problems == []
    assert '<title id="chart-1-title">What &lt;was&gt;</title><desc id="chart-1-desc">In words</desc>' in made
    assert read.tables[0].head == ["after", "one", "two"]
    assert [[text for text, _ in row] for row in read.tables[0].rows] == [
        ["a", "1.00", "3.00"],
        ["b", "2.00", "4.00"],
        ["c", "", "5.00"],
    ]
    assert "<title>two, c: 5.00 (percent)</title>" in made


def test_points_that_are_missing_or_not_finite_are_left_out() -> None:
    assert len(points(drawn(Series("one", cells(None, math.nan, 7.0), 0)))) == 1
    assert ReadPage(drawn(Series("one", cells(None, None, None), 0))).problems == []


def test_styles_are_told_apart_by_more_than_colour() -> None:
    made = drawn(*(Series(f"s{n}", cells(1.0, 2.0, 3.0), n) for n in range(16)))
    kinds = re.findall(r'class="line (s\d(?: dashed)?)"', made)
    assert len(set(kinds)) == 16
    for shape in ("circle", "rect", "polygon"):
        assert f"<{shape} " in made


def test_names_that_do_not_fit_become_numbers() -> None:
    places = tuple(f"a-rather-long-name-{number}" for number in range(10))
    made = drawn(Series("one", cells(*range(10)), 0), places=places)
    assert "after (number)" in made and 'class="tick middle">10</text>' in made
    assert all(place in made for place in places)  # in the table


def test_many_points_have_few_marks() -> None:
    made = drawn(Series("one", cells(*range(1000)), 0), places=tuple(map(str, range(1000))))
    assert len(points(made)) == 1000 and made.count("<circle ") <= 32


@given(st.floats(-1e6, 1e6, allow_subnormal=False), st.floats(0, 1e6, allow_subnormal=False))
def test_a_scale_holds_all_values_in_few_round_steps(low: float, span: float) -> None:
    ticks = scale(low, low + span)
    assert 2 <= len(ticks) <= 8
    room = 1e-8 * max(abs(low), abs(low + span))
    assert ticks[0] <= low + room and ticks[-1] >= low + span - room
    steps = [b - a for a, b in itertools.pairwise(ticks)]
    assert min(steps) > 0 and max(steps) == pytest.approx(min(steps), rel=1e-3)
