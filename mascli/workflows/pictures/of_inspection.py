"""From what `mascli inspect` has found to its picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mascli.errors import printable
from mascli.importance.change import Change
from mascli.plots.importance_picture import FilterMap, change_picture, omega_picture, scatter_picture
from mascli.plots.layer_bars import LayerPart
from mascli.plots.picture import Picture, write_picture
from mascli.reports.change import CheckpointPairResult
from mascli.reports.comparison import OmegaPairResult, correlation_text
from mascli.reports.inspect_result import InspectResult
from mascli.reports.numbers import count, share

Inspected = InspectResult | OmegaPairResult | CheckpointPairResult


def draw_inspection(result: Inspected, path: Path, *, overwrite: bool) -> None:
    """Draw an omega, how two omegas agree, or what changed between two checkpoints.

    Raises:
        UsageError: `path` is taken or cannot be written.
    """
    write_picture(lambda: picture_of_inspection(result), path, overwrite=overwrite)


def picture_of_inspection(result: Inspected) -> Picture:
    """The picture of what was found; files go by their names, without folders."""
    if isinstance(result, OmegaPairResult):
        return _of_two_omegas(result)
    if isinstance(result, CheckpointPairResult):
        return _of_two_checkpoints(result)
    return _of_an_omega(result)


def _of_an_omega(result: InspectResult) -> Picture:
    assert result.histogram is not None  # checked
    layers = [LayerPart(layer.name, layer.share, _part(layer.parameters, result.parameters)) for layer in result.layers]
    drawn = FilterMap(result.map_.layer, result.map_.importance) if result.map_ is not None else None
    return omega_picture(f"importance in {_name(result.file)}", result.histogram, layers, drawn)


def _of_two_omegas(result: OmegaPairResult) -> Picture:
    first, second = map(_name, result.files)
    overall = result.comparison.overall
    tops = (("1 %", overall.top_1), ("5 %", overall.top_5), ("10 %", overall.top_10))
    facts = (
        ("Pearson", correlation_text(overall.pearson, "undefined")),
        ("Spearman", correlation_text(overall.spearman, "undefined")),
        ("parameters", count(overall.compared)),
        ("overlap of the", ", ".join(f"top {top}: {share(part) or 'undefined'}" for top, part in tops)),
    )
    return scatter_picture(f"importance in {first} and {second}", (first, second), result.comparison.scatter, facts)


def _of_two_checkpoints(result: CheckpointPairResult) -> Picture:
    first, second = map(_name, result.files)
    total = sum(layer.parameters for layer in result.layers)
    weighed = [
        LayerPart(layer.name, layer.weighed.moved_share, _part(layer.parameters, total))
        for layer in result.layers
        if layer.weighed is not None
    ]
    changed = [LayerPart(layer.name, layer.relative_l2) for layer in result.layers]
    return change_picture(f"from {first} to {second}", changed, weighed, tuple(_change_facts(result.overall)))


def _change_facts(overall: Change) -> Iterator[tuple[str, str]]:
    yield "changed", f"{count(overall.changed)} of {count(overall.parameters)} values"
    yield "by", f"{share(overall.relative_l2) or 'an unknown part'} of their size (relative L2)"
    if overall.weighed is not None:
        yield "moved", f"{share(overall.weighed.moved) or 'an unknown part'} of what matters"


def _name(file: str) -> str:
    return printable(Path(file).name)


def _part(parameters: int, total: int) -> float:
    return parameters / total if total else 0.0
