"""Numbers as a person reads them: the same quantity looks the same in every table."""

from __future__ import annotations

import math


def count(value: int) -> str:
    """A whole number with thousands separated, as in 1,234,567."""
    return f"{value:,}"


def number(value: float | None) -> str:
    """A measured quantity with four significant digits; an empty string for None."""
    return "" if value is None else f"{value:.4g}"


def percent(value: float | None) -> str:
    """A value in percent or percentage points with two decimals; an empty string for None."""
    if value is None:
        return ""
    return f"{value + 0.0:.2f}".replace("-0.00", "0.00")


def share(value: float | None) -> str:
    """A share of 0 to 1 as percent; only exactly 0 and 1 read as 0 and 100, and nan as nan.

    A ratio above 1,000 has four significant digits.
    """
    if value is None:
        return ""
    if not math.isfinite(value):
        return str(value)
    if 0 < value < 0.0001:
        return "<0.01 %"
    if 0.9999 < value < 1:
        return ">99.99 %"
    return f"{100 * value:.4g} %" if abs(value) > 1000 else f"{100 * value:.2f} %"


def correlation(value: float) -> str:
    """A correlation or reliability of 0 to 1 with three decimals, rounded down: only exactly 1 reads as 1.000."""
    return f"{math.floor(value * 1000 + 1e-9) / 1000:.3f}" if value < 1 else "1.000"


def size(value: int) -> str:
    """A number of bytes in the largest decimal unit that keeps it at least 1."""
    scaled = float(value)
    for unit in ("bytes", "kB", "MB", "GB"):
        if scaled < 1000:
            return f"{value:,} bytes" if unit == "bytes" else f"{scaled:.1f} {unit}"
        scaled /= 1000
    return f"{scaled:,.1f} TB"


def duration(seconds: float) -> str:
    """A time in seconds below two minutes, else in minutes and seconds, or hours and minutes."""
    if seconds < 119.95:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    if seconds < 7200:
        return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def plural(value: int, noun: str) -> str:
    """`value` and its noun, as in "1 image" and "2 images"."""
    return f"{value:,} {noun if value == 1 else noun + 's'}"
