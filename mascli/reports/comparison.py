"""The result of `mascli inspect` with two omegas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from mascli.importance.comparison import Agreement, OmegaComparison
from mascli.reports.numbers import correlation, count, number, plural, share
from mascli.reports.report import Check, Facts, Lines, Report, Scatter, Section, Table, plain

MOST = 5  # layers of the short list


@dataclass(frozen=True)
class PairImages:
    """On how many images each of two omegas was measured, and how many are in both."""

    first: int
    second: int
    both: int


@dataclass(frozen=True)
class OmegaPairResult:
    """Two omegas of one network; `differences` says in words how they were made differently."""

    files: tuple[str, str]
    model: str
    images: PairImages
    differences: tuple[str, ...]
    comparison: OmegaComparison
    notes: tuple[str, ...] = ()
    kind: Literal["omegas"] = "omegas"


def comparison_report(result: OmegaPairResult) -> Report:
    """The report of `mascli inspect` with two omegas."""
    found = result.comparison
    sections: tuple[Section, ...] = (
        Facts(_facts(result)),
        Lines(result.differences, "how they were made differently"),
        Facts(_agreement_facts(found)),
        Scatter("importance of each parameter, the second file over the first, logarithmic scales", found.scatter),
        _most_different(found),
        _layer_table(found.layers),
    )
    rows = tuple(plain(layer) for layer in found.layers)
    return Report("inspect", _payload(result), rows, sections, (Check("inspect", True),), notes=result.notes)


def _payload(result: OmegaPairResult) -> dict[str, Any]:
    """The result, with what was compared beside what was read."""
    payload: dict[str, Any] = plain(result)
    comparison = payload.pop("comparison")
    return {**payload, **comparison}


NO_VALUE = "n/a"  # in a table: what would be divided by 0, or needs values that differ
_CONSTANT = "one side has no two values that differ"


def value_or(text: str) -> str:
    """What a table shows where a quantity may have no value."""
    return text or NO_VALUE


def or_undefined(text: str, why: str) -> str:
    """What a sentence says of a quantity that may have no value, and why it has none."""
    return text or f"undefined ({why})"


def correlation_text(value: float | None, without: str = NO_VALUE) -> str:
    """A correlation of -1 to 1, `without` where there is none."""
    return without if value is None else correlation(value)


def _facts(result: OmegaPairResult) -> tuple[tuple[str, str], ...]:
    overall, images = result.comparison.overall, result.images
    values = f"{plural(overall.parameters, 'value')} in {plural(len(result.comparison.layers), 'layer')}"
    compared = "" if overall.compared == overall.parameters else f", of which {count(overall.compared)} are compared"
    return (
        ("first", result.files[0]),
        ("second", result.files[1]),
        ("both", f"importance of {result.model}, {values}{compared}"),
        ("images", f"{count(images.first)} and {count(images.second)}, {count(images.both)} of them in both"),
    )


def _agreement_facts(found: OmegaComparison) -> tuple[tuple[str, str], ...]:
    overall = found.overall
    tops = (("1 %", overall.top_1), ("5 %", overall.top_5), ("10 %", overall.top_10))
    zeros = found.scatter.counts[0]
    only_first = sum(row[0] for row in found.scatter.counts[1:])
    nothing = "" if overall.compared else "nothing is compared"
    no_total = nothing or "the first file's total is 0"
    one_total = nothing or "a file's total is 0"

    def fact(label: str, value: str, what: str, why: str) -> tuple[str, str]:
        return label, f"{value} {what}" if value else f"undefined ({why})"

    pearson, spearman = (correlation_text(value, "") for value in (overall.pearson, overall.spearman))
    return (
        fact("Pearson", pearson, "(correlation of the values: the largest decide)", nothing or _CONSTANT),
        fact("Spearman", spearman, "(correlation of the order: all count alike)", nothing or _CONSTANT),
        *(fact(f"top {top}", share(part), f"are the same (by chance: {top})", nothing) for top, part in tops),
        fact("difference", share(overall.relative_l1), "of the first file's total (sum of all differences)", no_total),
        fact("scale", number(overall.scale), "(the second file's total over the first's)", no_total),
        fact("elsewhere", share(found.elsewhere), "of the importance, once both totals are made the same", one_total),
        (
            "exactly 0",
            f"{count(zeros[0])} in both, {count(only_first)} in the first alone, {count(sum(zeros[1:]))} in the second "
            "alone",
        ),
    )


def _most_different(found: OmegaComparison) -> Table:
    differing = [layer for layer in found.layers if layer.change]
    differing.sort(key=lambda layer: -(layer.change or 0.0))
    rows = tuple(
        (
            layer.name,
            share(layer.change),
            share(layer.first_share),
            share(layer.second_share),
            value_or(share(layer.relative_l1)),
            value_or(number(layer.scale)),
        )
        for layer in differing[:MOST]
    )
    columns = (
        "layer",
        "share of\nall change",
        "of first\ntotal",
        "of second\ntotal",
        "difference\nfrom first",
        "scale",
    )
    return Table("where they differ most, once both totals are made the same", columns, rows, frozenset(columns[1:]))


def _layer_table(layers: tuple[Agreement, ...]) -> Table:
    rows = tuple(
        (
            layer.name,
            count(layer.parameters),
            share(layer.first_share),
            share(layer.second_share),
            correlation_text(layer.pearson),
            correlation_text(layer.spearman),
            *(correlation_text(part) for part in (layer.top_1, layer.top_5, layer.top_10)),
        )
        for layer in layers
    )
    names = ("layer", "values", "first\ntotal", "second\ntotal", "Pearson", "Spearman")
    columns = (*names, "top\n1 %", "top\n5 %", "top\n10 %")
    return Table("agreement by layer", columns, rows, frozenset(columns[1:]))
