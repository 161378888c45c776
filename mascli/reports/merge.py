"""The result of `mascli merge`."""

from __future__ import annotations

from dataclasses import dataclass

from mascli.errors import listed
from mascli.records import Statistics
from mascli.reports.estimate import statistics_facts
from mascli.reports.numbers import number, plural
from mascli.reports.report import Check, Facts, Report, Section, Table, plain


@dataclass(frozen=True)
class MergeResult:
    """An omega made from others; `images` is the sum over its contributions.

    The values are the sum (`max`: the largest) of `factors` times those of `files`. `normalized` says
    that every estimate was divided by its mean squared norm, `mean_squared_norm` is None where the
    estimates have several, `decay` where the rule has none.
    """

    out: str
    combine: str
    files: tuple[str, ...]
    factors: tuple[float, ...]
    images: int
    contributions: int
    statistics: Statistics
    mean_squared_norm: float | None = None
    decay: float | None = None
    normalized: bool = False
    notes: tuple[str, ...] = ()


def merge_report(result: MergeResult) -> Report:
    """The report of `mascli merge`."""
    rule = result.combine if result.decay is None else f"{result.combine} (decay {result.decay:g})"
    normalized = ", each divided by its mean squared norm" if result.normalized else ""
    facts = [
        ("omega", result.out),
        ("made from", f"{rule} of {plural(len(result.files), 'file')}: {listed(result.files)}{normalized}"),
        ("holds", f"{plural(result.contributions, 'estimate')} on {plural(result.images, 'image')}"),
    ]
    if result.mean_squared_norm is not None:
        facts.append(("mean squared norm", f"{number(result.mean_squared_norm)} (of the outputs)"))
    facts += statistics_facts(result.statistics)
    payload = plain(result)
    row = {name: payload[name] for name in ("out", "combine", "images", "contributions", "mean_squared_norm")}
    row |= payload["statistics"]
    sections: tuple[Section, ...] = (Facts(tuple(facts)), *_factor_table(result))
    return Report("merge", payload, (row,), sections, (Check("merge", True),), notes=result.notes)


def _factor_table(result: MergeResult) -> tuple[Table, ...]:
    """What each file counts for, where the rule and the images do not say it already."""
    if result.combine == "pool" or set(result.factors) == {1.0}:
        return ()
    rows = tuple((file, number(factor)) for file, factor in zip(result.files, result.factors, strict=True))
    return (Table("files", ("file", "factor"), rows, right=frozenset({"factor"})),)
