"""The result of `mascli merge`."""

from __future__ import annotations

from dataclasses import dataclass

from mascli.errors import listed
from mascli.records import Statistics
from mascli.reports.estimate import statistics_facts
from mascli.reports.numbers import number, plural
from mascli.reports.report import Check, Facts, Lines, Report, plain


@dataclass(frozen=True)
class MergeResult:
    """An omega made from others; `images` is the sum over its contributions.

    `mean_squared_norm` is None where the contributions have several.
    """

    out: str
    combine: str
    files: tuple[str, ...]
    images: int
    contributions: int
    statistics: Statistics
    mean_squared_norm: float | None = None
    notes: tuple[str, ...] = ()


def merge_report(result: MergeResult) -> Report:
    """The report of `mascli merge`."""
    facts = [
        ("omega", result.out),
        ("made from", f"{result.combine} of {plural(len(result.files), 'file')}: {listed(result.files)}"),
        ("holds", f"{plural(result.contributions, 'estimate')} on {plural(result.images, 'image')}"),
    ]
    if result.mean_squared_norm is not None:
        facts.append(("mean squared norm", f"{number(result.mean_squared_norm)} (of the outputs)"))
    facts += statistics_facts(result.statistics)
    payload = plain(result)
    row = {name: payload[name] for name in ("out", "combine", "images", "contributions", "mean_squared_norm")}
    row |= payload["statistics"]
    return Report("merge", payload, (row,), (Facts(tuple(facts)), Lines(result.notes)), (Check("merge", True),))
