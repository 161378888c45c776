"""The result of `mascli estimate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mascli.errors import listed
from mascli.records import Reliability, Statistics
from mascli.reports.numbers import correlation, count, duration, number, plural, share
from mascli.reports.report import Check, Facts, Lines, Report, Table, plain

if TYPE_CHECKING:
    from mascli.importance.statistics import LayerSummary


@dataclass(frozen=True)
class LayerRow:
    """Importance of one layer: `share` of the omega's sum, `zeros` share of exact zeros (0 to 1)."""

    name: str
    parameters: int
    share: float
    mean: float
    median: float
    maximum: float
    zeros: float


@dataclass(frozen=True)
class VerifiedFacts:
    """A comparison with the reference in float64: the largest error, as a part of its parameter's maximum."""

    images: int
    error: float
    parameter: str


@dataclass(frozen=True)
class EstimateResult:
    """An omega that was written, and how it was measured.

    `images` counts those measured now and `contributions` all estimates in the file; `statistics`
    and `layers` describe the file. `rules` counts parameters a rule, `fallback` names parameters
    measured the slow way with the reason, `unused` those outside the evaluation pass.
    `unreadable` holds (file, reason). `reliability` is that of the images measured now.
    `lambda_factor` times a lambda of the implementation `compat` is the lambda to use here.
    `images_found` counts those of the folder, `batch_size_limit` is what was asked for, and `notes`
    are what the user was told on the way. `activations` names what follows each parameter's layer,
    where layers are measured on their own.
    """

    out: str
    method: str
    heads: tuple[str, ...]
    images: int
    unreadable: tuple[tuple[str, str], ...]
    mean_squared_norm: float
    statistics: Statistics
    layers: tuple[LayerRow, ...]
    rules: dict[str, int]
    fallback: dict[str, str]
    unused: tuple[str, ...]
    uncovered_tasks: tuple[str, ...]
    contributions: int
    batch_size: int
    seconds: float
    images_per_second: float
    reliability: Reliability | None = None
    verified: VerifiedFacts | None = None
    objective: str = "squared-l2"
    reduction: str = "abs"
    compat: str | None = None
    lambda_factor: float | None = None
    activations: dict[str, str] | None = None
    images_found: int | None = None
    batch_size_limit: int | None = None
    notes: tuple[str, ...] = ()


MOST_LAYERS = 12
# How a line begins that names a file that could not be read.
NOT_READ = "not read: "
LOW_RELIABILITY = 0.9
_WITHOUT_RULES = {
    "unused": "unused",
    "one image at a time": "one image at a time",
    "one gradient a batch": "by one gradient a batch",
}


def estimate_report(result: EstimateResult) -> Report:
    """The report of `mascli estimate`."""
    images = _images(result) + unreadable_text(result.unreadable)
    facts = Facts(
        (
            ("omega", f"{result.out} ({plural(result.contributions, 'estimate')})"),
            ("measured", f"{_measure(result)}, answers of {', '.join(result.heads)}, {images}"),
            ("mean squared norm", f"{number(result.mean_squared_norm)} (of the outputs: the scale of the estimate)"),
            *reliability_facts(result.reliability),
            *_verified_facts(result.verified),
            *statistics_facts(result.statistics, result.contributions),
            ("parameter tensors", ways_text(result.rules)),
            ("took", f"{duration(result.seconds)} ({result.images_per_second:,.1f} images/s, {_batches(result)})"),
        )
    )
    rows = tuple(plain(row) for row in result.layers)
    sections = (facts, layer_table(result.layers, MOST_LAYERS), Lines(_remarks(result)))
    return Report("estimate", plain(result), rows, sections, (Check("estimate", True),), notes=result.notes)


def _verified_facts(verified: VerifiedFacts | None) -> tuple[tuple[str, str], ...]:
    if verified is None:
        return ()
    where = f" ({verified.parameter})" if verified.error else ""
    images = plural(verified.images, "image")
    return (("verified", f"on {images} in float64: largest error {verified.error:.1e} of a maximum{where}"),)


def _measure(result: EstimateResult) -> str:
    """The method; its objective and reduction too, where they are not the usual ones of `mas`."""
    if result.method == "mas" and (result.objective, result.reduction) == ("squared-l2", "abs"):
        return result.method
    return f"{result.method} ({result.objective}, {result.reduction})"


def _images(result: EstimateResult) -> str:
    """How many images, and of how many where some were left out on purpose."""
    found = result.images_found
    if found is None or found <= result.images + len(result.unreadable):
        return plural(result.images, "image")
    return f"{count(result.images)} of {plural(found, 'image')}"


def _batches(result: EstimateResult) -> str:
    asked = result.batch_size_limit
    if asked in (None, result.batch_size):
        return f"batch {result.batch_size}"
    return f"batch {result.batch_size}: an even number of nearly equal ones, of at most {asked}"


def ways_text(rules: Mapping[str, int]) -> str:
    """How many parameter tensors each way of computing is responsible for."""
    ways = (f"{count(tensors)} {_WITHOUT_RULES.get(rule, f'by the {rule} rule')}" for rule, tensors in rules.items())
    return ", ".join(ways) or "none"


def statistics_facts(statistics: Statistics, estimates: int = 1) -> tuple[tuple[str, str], ...]:
    """Mean, median, maximum and zeros of an omega, as two lines."""
    return (
        (
            "importance" if estimates == 1 else f"{estimates} estimates combined",
            f"mean {number(statistics.mean)}, median {number(statistics.median)}, maximum {number(statistics.maximum)}",
        ),
        ("exactly zero", f"{share(statistics.zeros)} of the parameters"),
    )


def reliability_facts(
    reliability: Reliability | None, unknown: str = "unknown (no two halves of the images to compare)"
) -> tuple[tuple[str, str], ...]:
    """How well the halves of the images agree, as one line; `unknown` where nobody measured it."""
    if reliability is None:
        return (("reliability", unknown),)
    lowest = f"lowest: {layer_text(reliability.lowest_layer)} {correlation(reliability.lowest)}"
    half = f"half-difference {reliability.half_difference:.2g}"
    return (("reliability", f"{correlation(reliability.overall)} ({lowest}); {half}"),)


def layer_text(name: str) -> str:
    """A layer's name within a sentence: one of digits alone would read as a number."""
    return f"layer {name}" if name.replace(".", "").isdecimal() else name


def reliability_lines(reliability: Reliability | None) -> tuple[str, ...]:
    """What to do where the reliability is low; nothing where it is not, or is not known."""
    if reliability is None or reliability.overall >= LOW_RELIABILITY:
        return ()
    shown = f"{correlation(reliability.overall)} from {plural(reliability.images, 'image')}"
    return (f"the reliability is low, {shown}: other images of the kind would give another omega; measure more images",)


def layer_table(layers: Sequence[LayerRow | LayerSummary], most: int | None = None) -> Table:
    """Importance per layer in the network's order; with `most`, only the layers of the largest share."""
    title, shown = "importance by layer", list(layers)
    if most is not None and len(layers) > most:
        title = f"importance by layer, the {most} of {len(layers)} with the largest share"
        largest = sorted(range(len(layers)), key=lambda index: -layers[index].share)[:most]
        shown = [layers[index] for index in sorted(largest)]
    rows = tuple(
        (
            layer.name,
            count(layer.parameters),
            share(layer.share),
            number(layer.mean),
            number(layer.median),
            number(layer.maximum),
            share(layer.zeros),
        )
        for layer in shown
    )
    columns = ("layer", "parameters", "share", "mean", "median", "maximum", "zeros")
    return Table(title, columns, rows, right=frozenset(columns[1:]))


def unreadable_text(unreadable: Sequence[tuple[str, str]]) -> str:
    """How many files could not be read, to follow a number of images; nothing if all could."""
    return f" ({plural(len(unreadable), 'file')} could not be read)" if unreadable else ""


def unreadable_lines(
    unreadable: Sequence[tuple[str, str]], most: int = 5, rest: str = " (all in JSON)"
) -> tuple[str, ...]:
    """The files that could not be read with the reason, the first `most` of them; `rest` says where the others are."""
    lines = tuple(f"{NOT_READ}{file}: {reason}" for file, reason in unreadable[:most])
    more = len(unreadable) - most
    return (*lines, f"{NOT_READ}{plural(more, 'file')} more{rest}") if more > 0 else lines


def _remarks(result: EstimateResult) -> tuple[str, ...]:
    slow = tuple(f"measured one image at a time: {name} ({reason})" for name, reason in result.fallback.items())
    unused = (
        (f"without importance, as no answer depends on them or they are frozen: {listed(result.unused)}",)
        if result.unused
        else ()
    )
    bare = (f"no estimate in this omega protects: {listed(result.uncovered_tasks)}",) if result.uncovered_tasks else ()
    noisy = reliability_lines(result.reliability)
    return (*bare, *noisy, *slow[:5], *unused, *unreadable_lines(result.unreadable))
