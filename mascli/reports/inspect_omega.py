"""The importance in an omega: what it is, its statistics, layers, histograms, the most important, and a map."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mascli.errors import printable
from mascli.records import OmegaRecord
from mascli.reports.estimate import reliability_facts
from mascli.reports.inspect_result import InspectResult
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
    columns = ("layer", "parameters", "share", *_NUMBERS, "zeros", *(name.replace("_", " ") for name in odd))
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
    return Table("importance by layer", columns, rows, frozenset(columns[1:]), ("p99", "p90", "mean", "median"))


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
        *reliability_facts(omega.reliability),
    )


def _overall_facts(result: InspectResult) -> tuple[tuple[str, str], ...]:
    """Statistics of all values; of what must not be there only if it is."""
    whole, histogram = result.overall, result.histogram
    if whole is None or histogram is None:
        return ()
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
            number(part.weight),
            number(part.mean_squared_norm),
            number(part.statistics.median),
            number(part.statistics.maximum),
            part.shared_sha256[:8],
        )
        for part in omega.contributions
    )
    columns = ("answers of", "images", "weight", "mean sq. norm", "median", "maximum", "measured at")
    return Table("estimates", columns, rows, right=frozenset(columns[1:6]))


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
    left_out = result.overall.not_finite if result.overall is not None else 0
    told = (Lines((f"{plural(left_out, 'value')} not finite: left out of the ranking and of sums",)),)
    return [Table(title, columns, rows, frozenset(columns[1:])), *(told if left_out else ())]


def _map(result: InspectResult) -> list[Section]:
    """The filters of a layer, a block each."""
    drawn = result.map_
    if drawn is None:
        return []
    shape = "x".join(map(str, drawn.shape))
    title = f"importance of each filter of {printable(drawn.tensor)} ({shape}), on a logarithmic scale"
    return [FilterMap(title, drawn.importance)]
