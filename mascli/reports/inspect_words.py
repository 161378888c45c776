"""What an omega's numbers mean, for somebody who has never read the paper: what matters, trust, what to do next."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mascli.errors import listed, shell_path
from mascli.records import FEWEST_IMAGES, Contribution, OmegaRecord, Reliability
from mascli.reports.estimate import layer_text
from mascli.reports.inspect_result import InspectResult
from mascli.reports.inspect_trust import doubts, is_rounded, trust, wants_more_images
from mascli.reports.model_code import code_flag, code_remark
from mascli.reports.numbers import count, plural, share
from mascli.reports.report import Lines, Section

if TYPE_CHECKING:
    from mascli.importance.statistics import LayerSummary

NAMED = 3  # layers that are named in a sentence
ALIKE = 1.005  # a ratio of means that three digits do not tell from 1


def omega_words(result: InspectResult, omega: OmegaRecord) -> list[Section]:
    """Three groups of sentences; nothing here is a number that does not stand above it or in the JSON."""
    return [
        Lines(_matters(result), "what matters"),
        Lines(trust(result, omega), "how far to trust it"),
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
        names = listed((f"{layer_text(layer.name)} ({share(layer.share)})" for layer in leading), NAMED)
        lines.append(
            f"{plural(len(leading), 'layer')} of {len(result.layers)} hold{'s' if len(leading) == 1 else ''} "
            f"{share(held)} of all importance with {share(parameters)} of the parameters: {names}"
        )
    lines += _densest(result, whole)
    if whole.zeros:
        lines.append(f"{share(whole.zeros)} of the parameters are exactly 0: no answer depends on them, they are free")
    return tuple(lines)


def _densest(result: InspectResult, whole: LayerSummary) -> tuple[str, ...]:
    """The layer whose parameters matter most, one for one."""
    layers = [layer for layer in result.layers if layer.parameters]
    dense = max((layer for layer in layers if layer.mean > 0), key=lambda layer: layer.mean, default=None)
    if dense is None or len(layers) < 2 or not 0 < whole.mean < math.inf:
        return ()
    among = "" if _are_all(result) else " of those shown"
    if all(layer.mean * ALIKE >= dense.mean for layer in layers):
        return (f"parameter for parameter all layers{among} matter alike",)
    ratio = dense.mean / whole.mean
    return (f"parameter for parameter layer {dense.name} matters most{among}: {ratio:,.3g} times the mean of all",)


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


def _next_steps(result: InspectResult, omega: OmegaRecord) -> tuple[str, ...]:
    remark = code_remark(omega.model)
    if is_rounded(result):
        return ("use the file that mascli has written, or estimate it anew:", _estimate(omega, "NEW.omega"), *remark)
    if doubts(result) or not omega.contributions:
        return ("this omega cannot protect anything; estimate it anew:", _estimate(omega, "NEW.omega"), *remark)
    noisy = wants_more_images(omega)
    if noisy is None:
        return (*_learning(omega, shell_path(result.file)), *remark)
    first, *then = _learning(omega, "MORE.omega")
    return (*_measuring_first(omega, *noisy), f"then {first}", *then, *remark)


def _measuring_first(omega: OmegaRecord, part: Contribution, known: Reliability | None) -> tuple[str, ...]:
    """How to measure an estimate again, on more images, before the omega is used."""
    images = part.images if known is None else known.images
    more = f"such as {count(max(4 * images, FEWEST_IMAGES))} in place of {count(images)}"
    command = _estimate(omega, "MORE.omega")
    if len(omega.contributions) > 1:
        return (
            f"first measure more images for the answers of {listed(part.heads)}, {more}, on the checkpoint whose "
            f"shared sha256 begins with {part.shared_sha256[:8]}, and combine that with the other omegas anew (mascli "
            "merge):",
            command,
        )
    if known is None and images >= FEWEST_IMAGES:
        return (f"first measure all {count(images)} images in one estimate, which tells its reliability:", command)
    return (f"first measure more images, {more}:", command)


def _learning(omega: OmegaRecord, file: str) -> tuple[str, ...]:
    """How the omega `file`, written as in a shell, protects what the model knows."""
    newest = [part.shared_sha256[:8] for part in omega.contributions[-1:]]
    return (
        f"learn something new and keep the answers for {listed(sorted(omega.covered_tasks)) or 'nothing'}; CHECKPOINT "
        f"is the one whose shared sha256 begins with {listed(newest)}, or one that was trained from it:",
        f"  mascli train-task CHECKPOINT{code_flag(omega.model)} --task NAME --data FOLDER \\",
        f"      --omega {file} -o NEW.st",
        "how strongly it is held is found on the new task alone; --lambda X sets it",
    )


def _estimate(omega: OmegaRecord, out: str) -> str:
    return f"  mascli estimate CHECKPOINT{code_flag(omega.model)} --data FOLDER -o {out}"
