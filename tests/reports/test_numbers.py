"""Numbers read the same everywhere, and never claim more than they know."""

from __future__ import annotations

import math

import pytest

from mascli.reports.numbers import correlation, count, duration, number, percent, plural, share, size


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (0.0, "0"),
        (0.00012345678, "0.0001235"),
        (1234567.0, "1.235e+06"),
        (math.nan, "nan"),
        (math.inf, "inf"),
    ],
)
def test_number(value: float | None, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0.000"), (0.57, "0.570"), (0.9499, "0.949"), (1 - 1e-9, "0.999"), (1.0, "1.000")]
)
def test_a_correlation_never_reads_as_more_than_it_is(value: float, text: str) -> None:
    assert correlation(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.00 %"),
        (1e-9, "<0.01 %"),
        (0.5, "50.00 %"),
        (1 - 1e-9, ">99.99 %"),
        (1.0, "100.00 %"),
        (12.5, "1250.00 %"),
        (1.5e40, "1.5e+42 %"),
        (math.nan, "nan"),
        (None, ""),
    ],
)
def test_share_keeps_nothing_and_all_apart_from_nearly(value: float | None, text: str) -> None:
    assert share(value) == text


def test_percent_has_no_negative_zero() -> None:
    assert [percent(value) for value in (-0.001, -0.0, 2.005, -1.5, None)] == ["0.00", "0.00", "2.00", "-1.50", ""]
    assert percent(-10.004) == "-10.00"


def test_sizes_times_and_counts() -> None:
    assert [size(value) for value in (0, 999, 1000, 44_712_000, 2 * 10**15)] == [
        "0 bytes",
        "999 bytes",
        "1.0 kB",
        "44.7 MB",
        "2,000.0 TB",
    ]
    assert [duration(value) for value in (0.04, 119.9, 125, 3661, 7322)] == [
        "0.0 s",
        "119.9 s",
        "2 min 05 s",
        "61 min 01 s",
        "2 h 02 min",
    ]
    assert [count(1234), plural(1, "image"), plural(2000, "image")] == ["1,234", "1 image", "2,000 images"]
