"""The importance in an omega: what it is, its statistics, layers, histograms, the most important, and a map."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mascli.errors import printable
from mascli.records import OmegaRecord
from mascli.reports.inspect_result import InspectResult
from mascli.reports.inspect_trust import contribution_text, reliability_fact
from mascli.reports.inspect_words import omega_words
from mascli.reports.numbers import count, number, plural, share
from mascli.reports.report import Chart, Facts, FilterMap, Lines, Section, Table
from mascli.reports.sparkline import sparkline

if TYPE_CHECKING:
    from mascli.importance.statistics import Histogram, LayerSummary

_NUMBERS = ("mean", "median", "p90", "p99", "maximum")


def omega_sections(result: InspectResult, omega: OmegaRecord) -> list[Section]:
    """Facts first, what they mean last."""
    sections: list[Section] = [Facts((*_facts(omega), *_overall_facts(result))), _contributions(omega)]
    sections += [layer_table(result), *_axis(result.histogram)]
    if result.histogram is not None:
        sections.append(Chart("importance of all parameters, on logarithmic scales", result.histogram))
    if result.each_histogram:
        sections += [
            Chart(f"importance of {printable(layer)}, on logarithmic scales", histogram)
            for layer, histogram in result.histograms.items()
        ]
    sections += [*_top(result), *_map(result)]
    return [*sections, *omega_words(result, omega)]


def layer_table(result: InspectResult) -> Table:
    """Statistics of each layer, with a histogram as small as a word."""
    layers = result.layers
    odd = [name for name in ("not_finite", "negative") if any(getattr(layer, name) for layer in layers)]
    columns = ("layer", "parameters", "share", *_NUMBERS, "zeros", *(name.replace("_", "\n") for name in odd))
    with_lines = any(layer.name in result.histograms for layer in layers)
    rows = tuple(
        (
            layer.name,
            count(layer.parameters),
            share(layer.share),
            *(number(getattr(layer, name)) for name in _NUMBERS),
            share(layer.zeros),
            *(count(getattr(layer, name)) for name in odd),
            *((_spark(result, layer),) if with_lines else ()),
        )
        for layer in layers
    )
    columns += ("histogram",) if with_lines else ()
    less = ("p99", "p90", "mean", "median", *(("zeros",) if odd else ()))
    return Table("importance by layer", columns, rows, frozenset(columns[1:]), less)


def _spark(result: InspectResult, layer: LayerSummary) -> str:
    histogram = result.histograms.get(layer.name)
    return sparkline(histogram.counts) if histogram is not None else ""


def _axis(histogram: Histogram | None) -> list[Section]:
    """What the small histograms show."""
    if histogram is None or not histogram.edges:
        return []
    low, high = number(histogram.edges[0]), number(histogram.edges[-1])
    return [Lines((f"histogram: the values above 0, from {low} (left) to {high} (right), on logarithmic scales",))]


def _facts(omega: OmegaRecord) -> tuple[tuple[str, str], ...]:
    combined = f", {omega.combine} of {len(omega.contributions)}" if len(omega.contributions) > 1 else ""
    return (
        ("model", f"{omega.model}"),
        ("method", f"{omega.method}: {omega.objective}, {omega.reduction}{combined}"),
        *reliability_fact(omega),
    )


def _overall_facts(result: InspectResult) -> tuple[tuple[str, str], ...]:
    """Statistics of all values; of what must not be there only if it is."""
    whole, histogram = result.overall, result.histogram
    if whole is None or histogram is None:
        return ()
    if not whole.parameters:
        return (("importance", "no values"),)
    odd = (("negative", histogram.negative), ("not finite", histogram.not_finite))
    return (
        ("importance", f"mean {number(whole.mean)}, median {number(whole.median)}, maximum {number(whole.maximum)}"),
        ("quantiles", f"10 % {number(whole.p10)}, 90 % {number(whole.p90)}, 99 % {number(whole.p99)}"),
        ("exactly zero", f"{share(whole.zeros)} of the parameters"),
        *((name, plural(many, "parameter")) for name, many in odd if many),
    )


def _contributions(omega: OmegaRecord) -> Table:
    rows = tuple(
        (
            ", ".join(part.heads),
            count(part.images),
            contribution_text(known),
            number(part.weight),
            number(part.mean_squared_norm),
            number(part.statistics.median),
            number(part.statistics.maximum),
            part.shared_sha256[:8],
        )
        for part, known in zip(omega.contributions, omega.reliabilities, strict=True)
    )
    columns = ("answers of", "images", "reliability", "weight", "mean sq.\nnorm", "median", "maximum", "measured\nat")
    return Table("estimates", columns, rows, right=frozenset(columns[1:7]))


def _top(result: InspectResult) -> list[Section]:
    """The most important parameters, filters or tensors."""
    if result.top is None or result.by is None:
        return []
    single = result.by == "parameters"
    columns = (result.by[:-1], *(() if single else ("parameters",)), "importance", "share")
    rows = tuple(
        (one.name, *(() if single else (count(one.parameters),)), number(one.importance), share(one.share))
        for one in result.top
    )
    title = (
        f"the {count(len(rows))} most important {result.by}" if len(rows) != 1 else f"the most important {columns[0]}"
    )
    return [Table(title, columns, rows, frozenset(columns[1:])), *_left_out(result)]


def _left_out(result: InspectResult) -> tuple[Lines, ...]:
    """What the ranking leaves out since it is not finite."""
    if not result.top_left_out:
        return ()
    if result.by == "filters":
        return (Lines((f"{plural(result.top_left_out, 'filter')} with values that are not finite: not ranked",)),)
    told = "not ranked" if result.by == "parameters" else "left out of the sums"
    return (Lines((f"{plural(result.top_left_out, 'value')} not finite: {told}",)),)


def _map(result: InspectResult) -> list[Section]:
    """The filters of a layer, a block each."""
    drawn = result.map_
    if drawn is None:
        return []
    shape = "x".join(map(str, drawn.shape))
    title = f"importance of each filter of {printable(drawn.tensor)} ({shape}), on a logarithmic scale"
    return [FilterMap(title, drawn.importance)]
