"""What an omega's numbers mean, for somebody who has never read the paper: what matters, trust, what to do next."""

from __future__ import annotations

import math
import shlex
from typing import TYPE_CHECKING

from mascli.errors import listed
from mascli.records import OmegaRecord
from mascli.reports.estimate import LOW_RELIABILITY, reliability_lines
from mascli.reports.inspect_result import InspectResult
from mascli.reports.numbers import correlation, count, plural, share
from mascli.reports.report import Lines, Section, plain

if TYPE_CHECKING:
    from mascli.importance.statistics import LayerSummary

VERY_HIGH = 0.99
NAMED = 3  # layers that are named in a sentence
STORED = {"BF16": "bfloat16", "F16": "float16"}


def omega_words(result: InspectResult, omega: OmegaRecord) -> list[Section]:
    """Three groups of sentences; nothing here is a number that does not stand above it or in the JSON."""
    return [
        Lines(_matters(result), "what matters"),
        Lines((*_trust(omega), *_doubts(result)), "how far to trust it"),
        Lines(_next_steps(result, omega), "what to do next"),
    ]


def _matters(result: InspectResult) -> tuple[str, ...]:
    whole = result.overall
    if whole is None or not result.layers:
        return ()
    if not whole.parameters:
        return ("there are no values in this file: it protects nothing",)
    if whole.zeros == 1:
        return ("all importance is 0: no answer depends on any parameter, so this omega protects nothing",)
    lines = ["importance says how much the model's answers change with a parameter; the next training holds on to it"]
    leading = _leading(result)
    if leading:
        held = sum(layer.share for layer in leading)
        parameters = sum(layer.parameters for layer in leading) / whole.parameters
        names = listed((f"{layer.name} ({share(layer.share)})" for layer in leading), NAMED)
        lines.append(
            f"{plural(len(leading), 'layer')} of {len(result.layers)} hold{'s' if len(leading) == 1 else ''} "
            f"{share(held)} of all importance with {share(parameters)} of the parameters: {names}"
        )
    dense = max((layer for layer in result.layers if layer.mean > 0), key=lambda layer: layer.mean, default=None)
    if dense is not None and len(result.layers) > 1 and 0 < whole.mean < math.inf:
        among = "" if _are_all(result) else " of the layers shown"
        ratio = dense.mean / whole.mean
        lines.append(f"parameter for parameter {dense.name} matters most{among}: {ratio:,.3g} times the mean of all")
    if whole.zeros:
        lines.append(f"{share(whole.zeros)} of the parameters are exactly 0: no answer depends on them, they are free")
    return tuple(lines)


def _leading(result: InspectResult) -> list[LayerSummary]:
    """The fewest layers that together hold half of all importance; none where not all layers are shown."""
    if not _are_all(result) or any(layer.negative for layer in result.layers):
        return []
    chosen: list[LayerSummary] = []
    for layer in sorted(result.layers, key=lambda layer: -layer.share):
        if sum(one.share for one in chosen) >= 0.5 or not layer.share:
            break
        chosen.append(layer)
    return chosen


def _are_all(result: InspectResult) -> bool:
    """Whether all layers are shown."""
    return result.overall is not None and sum(one.parameters for one in result.layers) == result.overall.parameters


def _trust(omega: OmegaRecord) -> tuple[str, ...]:
    known = omega.reliability
    only = "this is about noise alone: whether the images resemble what the model has to remember, no file can tell"
    if known is None:
        return (
            "unknown: no two halves of the images were compared (one batch only, or several estimates combined); the "
            "omegas that it was made of may say",
        )
    if known.overall < LOW_RELIABILITY:
        return (*reliability_lines(known), only)
    word = "very high" if known.overall >= VERY_HIGH else "good"
    images = plural(known.images, "other image")
    lines = [f"{word}: {images} of the kind would rank the parameters almost alike ({correlation(known.overall)} of 1)"]
    if known.lowest < LOW_RELIABILITY:
        lines.append(f"least so in {known.lowest_layer} ({correlation(known.lowest)})")
    return (*lines, only)


def _doubts(result: InspectResult) -> tuple[str, ...]:
    """What must not be in an omega, and is."""
    histogram, lines = result.histogram, []
    if histogram is not None and histogram.not_finite:
        lines.append(f"warning: {plural(histogram.not_finite, 'value')} not finite: the estimate went wrong")
    if histogram is not None and histogram.negative:
        lines.append(f"warning: {plural(histogram.negative, 'value')} below 0, which importance never is")
    rounded = [STORED[dtype] for dtype in result.dtypes if dtype in STORED]
    if rounded:
        lines.append(
            f"warning: values are stored as {' and '.join(rounded)}, so they were rounded, and no other command takes "
            "them; use the file that mascli has written"
        )
    return tuple(lines)


def _next_steps(result: InspectResult, omega: OmegaRecord) -> tuple[str, ...]:
    file = shlex.quote(plain(result.file))
    histogram = result.histogram
    usable = histogram is not None and not histogram.not_finite and not histogram.negative
    if not usable or result.overall is None or result.overall.zeros == 1 or any(d in STORED for d in result.dtypes):
        return ("this omega cannot protect anything; estimate it anew:", f"  {_ESTIMATE} -o NEW.omega")
    tasks = sorted(omega.covered_tasks)
    newest = [part.shared_sha256[:8] for part in omega.contributions[-1:]]
    lines = [
        f"learn something new and keep the answers for {listed(tasks) or 'nothing'}; CHECKPOINT is the one whose "
        f"shared sha256 begins with {listed(newest)}, or one that was trained from it:",
        "  mascli train-task CHECKPOINT --task NAME --data FOLDER \\",
        f"      --omega {file} -o NEW.st",
        "how strongly it is held is found on the new task alone; --lambda X sets it",
    ]
    known = omega.reliability
    if known is not None and known.overall < LOW_RELIABILITY:
        more = count(4 * known.images)
        lines += [f"but first measure more images, such as {more} in place of {count(known.images)}:"]
        lines += [f"  {_ESTIMATE} -o MORE.omega"]
    return tuple(lines)


_ESTIMATE = "mascli estimate CHECKPOINT --data FOLDER"
