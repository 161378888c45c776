"""The result of `mascli export`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mascli.errors import listed
from mascli.records import LogitsAt, Preprocessing
from mascli.reports.init import preprocessing_text
from mascli.reports.numbers import count, plural
from mascli.reports.report import Check, Facts, Lines, Report, Section, plain


@dataclass(frozen=True)
class ExportResult:
    """One task as plain weights: `tensors` and `parameters` (all values) of the file, and how `python` loads it.

    `logits` is None where the plain network's outputs are the logits; else other layers follow those, and
    it says where to read them. `left_out` are tensors of auxiliary heads that fit no such number of classes.
    """

    out: str
    format: str
    task: str
    classes: tuple[str, ...]
    model: str
    arguments: dict[str, Any]
    preprocessing: Preprocessing
    tensors: int
    parameters: int
    logits: LogitsAt | None
    left_out: tuple[str, ...]
    python: tuple[str, ...]


def export_report(result: ExportResult) -> Report:
    """The report of `mascli export`."""
    facts = Facts(
        (
            ("weights", f"{result.out} ({plural(result.tensors, 'tensor')}, {count(result.parameters)} values)"),
            ("task", result.task),
            ("classes", f"{count(len(result.classes))}: {listed(result.classes)}"),
            ("model", result.model),
            ("images", preprocessing_text(result.preprocessing)),
        )
    )
    sections: tuple[Section, ...] = (
        facts,
        Lines(tuple(f"  {line}" for line in result.python), "in Python"),
        Lines(tuple(_remarks(result))),
    )
    payload = plain(result)
    row = {name: payload[name] for name in ("out", "format", "task", "model", "tensors", "parameters")}
    row["classes"] = len(result.classes)
    return Report("export", payload, (row,), sections, (Check("export", True),))


def _remarks(result: ExportResult) -> list[str]:
    remarks = []
    if result.logits is not None:
        layer, dims = result.logits.layer, result.logits.mean_over
        mean = f".mean({dims})" if dims else ""
        remarks += [
            f"the outputs of this network are not the logits that mascli evaluates, those of {layer} (other layers "
            "follow it, or the outputs are no tensor), and its best class may be another; so model(images) puts the "
            "logits into logits['value']:",
            "  logits = {}",
            f"  keep = lambda *seen: logits.update(value=seen[2].clone(){mean})",
            f"  model.get_submodule({layer!r}).register_forward_hook(keep)",
        ]
    if result.left_out:
        remarks.append(
            f"left out: {listed(result.left_out, 3)}, auxiliary heads of another number of classes, which only "
            "training from scratch needs"
        )
    return remarks
