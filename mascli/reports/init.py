"""The result of `mascli init`."""

from __future__ import annotations

from dataclasses import dataclass

from mascli.records import Preprocessing
from mascli.reports.numbers import count
from mascli.reports.report import Check, Facts, Report, plain


@dataclass(frozen=True)
class InitResult:
    """A new checkpoint: `parameters` counts the shared ones, `classifier` is the layer that heads replace."""

    out: str
    model: str
    classifier: str
    parameters: int
    tasks: tuple[str, ...]
    preprocessing: Preprocessing


def init_report(result: InitResult) -> Report:
    """The report of `mascli init`."""
    facts = Facts(
        (
            ("checkpoint", result.out),
            ("model", f"{result.model}, heads replace {result.classifier}"),
            ("shared parameters", count(result.parameters)),
            ("tasks", ", ".join(result.tasks) or "none yet"),
            ("images", preprocessing_text(result.preprocessing)),
        )
    )
    payload = plain(result)
    row = {name: payload[name] for name in ("out", "model", "classifier", "parameters")}
    row["tasks"] = " ".join(result.tasks)
    sections = (facts,)
    return Report("init", payload, (row,), sections, (Check("init", True),))


def preprocessing_text(preprocessing: Preprocessing) -> str:
    """How images are prepared, on one line."""
    height, width = preprocessing.size
    colour = "grey" if preprocessing.channels == 1 else "RGB"
    margin = f"shorter side to {preprocessing.resize_to}" if preprocessing.resize_to else "scaled to cover"
    scaled = f"{margin}, centre cut out"
    how = {"shorter": scaled, "squash": "squashed", "none": "never resized"}[preprocessing.resize]
    return f"{height} x {width} {colour}, {how}, {preprocessing.interpolation}"
