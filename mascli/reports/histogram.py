"""A histogram on logarithmic scales, drawn with characters.

Both the ranges and the bars are logarithmic: of an omega, most values lie at zero or in a few bins, and
those that matter are the few in the long tail; only so can both be seen. The last line is the scale of
the bars. Values that no logarithm has (zeros, negative, not finite) get a bar of their own, so that the
counts add up to all values.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mascli.reports.numbers import count, share

if TYPE_CHECKING:
    from mascli.importance.statistics import Histogram

NARROWEST = 40  # columns in which a range, a bar and a count have room
LEAST_BAR = 8
SCALE = "count, log scale"

_EIGHTHS = " ▏▎▍▌▋▊▉█"


def histogram_lines(histogram: Histogram, width: int, ascii_only: bool = False) -> tuple[str, ...]:
    """The histogram as lines of at most `width` columns: value range, bar, count and share; then the scale.

    Where that is too narrow, first the share goes, then the upper end of the range.
    """
    if width < NARROWEST:
        labels = [f">= {low:.1e}" for low in histogram.edges[:-1]]
    else:
        labels = [f"{low:.1e} .. {high:.1e}" for low, high in zip(histogram.edges, histogram.edges[1:], strict=False)]
    bars = list(zip(labels, histogram.counts, strict=True))
    special = (("exactly 0", histogram.zeros), ("negative", histogram.negative), ("not finite", histogram.not_finite))
    bars = [(label, many) for label, many in special if many] + bars
    total = sum(many for _, many in bars)
    if not total:
        return ("no values",)
    title = SCALE if width >= NARROWEST else "log scale"
    labels_width = max(len(label) for label, _ in [*bars, (title, 0)])
    counts_width = max(len(count(many)) for _, many in bars)
    share_width = len("  >99.99 %")
    if width < labels_width + counts_width + share_width + 2 + LEAST_BAR:
        share_width = 0
    room = max(width - labels_width - counts_width - share_width - 2, LEAST_BAR)
    most = max(10, *(many for _, many in bars))
    lines = [
        f"{label:<{labels_width}} {bar(length(many, most, room), ascii_only):<{room}} {count(many):>{counts_width}}"
        + (f" {share(many / total):>9}" if share_width else "")
        for label, many in bars
    ]
    return (*lines, f"{title:<{labels_width}} {scale(most, room)}".rstrip())


def length(many: int, most: int, width: int) -> float:
    """The length of a count's bar in columns: 0 for none, 1 for one, `width` for `most`, between them by logarithm."""
    return 1 + (width - 1) * math.log(many) / math.log(most) if many else 0.0


def bar(columns: float, ascii_only: bool) -> str:
    """A bar of that length, in eighths of a column; in ASCII whole columns, one at least."""
    if ascii_only:
        return "#" * round(columns)
    eighths = round(columns * 8)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def scale(most: int, width: int) -> str:
    """The scale under the bars: each power of ten stands where a bar of that count ends, if there is room."""
    line = ""
    for exponent in range(int(math.log10(most) + 1e-9) + 1):
        label = _power(exponent)
        start = min(round(length(10**exponent, most, width)) - 1, width - len(label))
        if not line or start > len(line):
            line = f"{line:<{start}}{label}"
    return line


def _power(exponent: int) -> str:
    return f"1{'0' * (exponent % 3)}{'kMGTPE'[exponent // 3 - 1] if exponent >= 3 else ''}"
