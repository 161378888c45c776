"""A histogram on a logarithmic scale, drawn with characters.

Values that no logarithm has (zeros, negative, not finite) get a bar of their own, so that the
counts add up to all values. Bars are proportional to counts; any count above zero shows a sliver.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mascli.reports.numbers import count, share

if TYPE_CHECKING:
    from mascli.importance.statistics import Histogram

NARROWEST = 40  # columns in which a range, a bar and a count have room
LEAST_BAR = 8

_EIGHTHS = " ▏▎▍▌▋▊▉█"


def histogram_lines(histogram: Histogram, width: int, ascii_only: bool = False) -> tuple[str, ...]:
    """The histogram as lines of at most `width` columns: value range, bar, count and share.

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
    labels_width = max(len(label) for label, _ in bars)
    counts_width = max(len(count(many)) for _, many in bars)
    share_width = len("  >99.99 %")
    if width < labels_width + counts_width + share_width + LEAST_BAR:
        share_width = 0
    room = max(width - labels_width - counts_width - share_width - 2, LEAST_BAR)
    most = max(many for _, many in bars)
    return tuple(
        f"{label:<{labels_width}} {bar(many / most, room, ascii_only):<{room}} {count(many):>{counts_width}}"
        + (f" {share(many / total):>9}" if share_width else "")
        for label, many in bars
    )


def bar(part: float, width: int, ascii_only: bool) -> str:
    """A bar of `part` (0 to 1) of `width` columns; anything above zero shows at least a sliver."""
    if ascii_only:
        return "#" * round(part * width) or ("." if part > 0 else "")
    eighths = max(round(part * width * 8), 1 if part > 0 else 0)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
