"""The result of `mascli inspect` for one file, in every form."""

from __future__ import annotations

from typing import Any

from mascli.reports.inspect_checkpoint import checkpoint_sections, shape_text, tensors_sections
from mascli.reports.inspect_omega import omega_sections
from mascli.reports.inspect_result import InspectResult
from mascli.reports.numbers import count, size
from mascli.reports.report import Check, Facts, Report, plain

_KINDS = {"checkpoint": "a mascli checkpoint", "omega": "a mascli omega (importance)", "tensors": "plain tensors"}


def inspect_report(result: InspectResult) -> Report:
    """The report of `mascli inspect`."""
    if result.omega is not None:
        facts, *sections = omega_sections(result, result.omega)
    elif result.checkpoint is not None:
        facts, *sections = checkpoint_sections(result, result.checkpoint)
    else:
        facts, *sections = tensors_sections(result)
    assert isinstance(facts, Facts)
    facts = Facts((("file", f"{result.file} ({size(result.bytes)})"), ("holds", _holds(result)), *facts.rows))
    return Report("inspect", _payload(result), _rows(result), (facts, *sections), (Check("inspect", True),))


def _holds(result: InspectResult) -> str:
    dtypes = ", ".join(result.dtypes) if len(result.dtypes) == 1 else _by_dtype(result.dtypes)
    return f"{_KINDS[result.kind]}, {count(result.parameters)} values{f' of {dtypes}' if dtypes else ''}"


def _by_dtype(dtypes: dict[str, int]) -> str:
    return ", ".join(f"{dtype} ({count(values)})" for dtype, values in dtypes.items())


def _payload(result: InspectResult) -> dict[str, Any]:
    """The result without the hashes of single images, of which there can be millions.

    Histograms by layer are left out unless they were asked for.
    """
    payload: dict[str, Any] = plain(result)
    for part in payload["omega"]["contributions"] if result.omega else ():
        del part["image_hashes"]
    if not payload.pop("each_histogram"):
        payload["histograms"] = {}
    return payload


def _rows(result: InspectResult) -> tuple[dict[str, Any], ...]:
    """The one table that CSV has room for: what was asked for by the most special flag, else the layers."""
    if result.map_ is not None:
        drawn = result.map_
        return tuple(
            {"layer": drawn.layer, "tensor": drawn.tensor, "filter": index, "importance": importance}
            for index, importance in enumerate(drawn.importance)
        )
    if result.top is not None:
        return tuple(plain(one) for one in result.top)
    if result.each_histogram:
        return _histogram_rows(result)
    if result.kind == "omega":
        return tuple(plain(layer) for layer in result.layers)
    return tuple(
        {
            "name": layer.name,
            "parameters": layer.parameters,
            "dtypes": " ".join(layer.dtypes),
            "shapes": shape_text(layer),
        }
        for layer in result.shapes
    )


def _histogram_rows(result: InspectResult) -> tuple[dict[str, Any], ...]:
    """A row for each bin of each histogram; of the whole file, the layer is empty."""
    rows: list[dict[str, Any]] = []
    whole = {"": result.histogram} if result.histogram is not None else {}
    for layer, histogram in {**whole, **result.histograms}.items():
        for kind in ("zeros", "negative", "not_finite"):
            rows.append({"layer": layer, "kind": kind, "low": None, "high": None, "count": getattr(histogram, kind)})
        bins = zip(histogram.edges, histogram.edges[1:], histogram.counts, strict=False)
        rows += [
            {"layer": layer, "kind": "positive", "low": low, "high": high, "count": many} for low, high, many in bins
        ]
    return tuple(rows)
