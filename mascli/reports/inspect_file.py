"""The result of `mascli inspect`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from mascli.errors import listed
from mascli.records import CheckpointRecord, OmegaRecord, Statistics
from mascli.reports.estimate import layer_table, reliability_facts, reliability_lines, statistics_facts
from mascli.reports.init import preprocessing_text
from mascli.reports.numbers import count, number, percent, plural, size
from mascli.reports.report import Chart, Check, Facts, Lines, Report, Section, Table, plain

if TYPE_CHECKING:
    from mascli.importance.statistics import Histogram, LayerSummary


@dataclass(frozen=True)
class LayerShapes:
    """The tensors of one layer of a file without importance: their dtypes, and the shape of each by its last name."""

    name: str
    parameters: int
    dtypes: tuple[str, ...]
    shapes: dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class InspectResult:
    """What a tensor file is: `kind` says which of `checkpoint` and `omega` is there ("tensors": neither).

    `parameters` counts all values in the file. `layers`, `statistics` and `histogram` describe an
    omega's values; `shapes` the tensors of any other file.
    """

    file: str
    kind: Literal["checkpoint", "omega", "tensors"]
    bytes: int
    parameters: int
    checkpoint: CheckpointRecord | None = None
    omega: OmegaRecord | None = None
    layers: tuple[LayerSummary, ...] = ()
    shapes: tuple[LayerShapes, ...] = ()
    statistics: Statistics | None = None
    histogram: Histogram | None = None


def inspect_report(result: InspectResult) -> Report:
    """The report of `mascli inspect`."""
    facts = [("file", f"{result.file} ({size(result.bytes)})"), ("holds", _kind_text(result))]
    sections: list[Section]
    if result.omega is not None:
        sections = [Facts((*facts, *_omega_facts(result.omega), *_statistics(result)))]
        sections += [Lines(reliability_lines(result.omega.reliability)), _contributions(result.omega)]
        sections.append(layer_table(result.layers))
        if result.histogram is not None:
            sections.append(Chart("importance of all parameters, logarithmic scale", result.histogram))
    elif result.checkpoint is not None:
        sections = [Facts((*facts, *_checkpoint_facts(result.checkpoint))), *_checkpoint_tables(result.checkpoint)]
        sections.append(_shape_table(result.shapes))
    else:
        sections = [Facts(tuple(facts)), Lines(_USE), _shape_table(result.shapes)]
    rows = tuple(plain(layer) for layer in result.layers) or tuple(
        {"name": layer.name, "parameters": layer.parameters, "dtypes": " ".join(layer.dtypes), "shapes": _shapes(layer)}
        for layer in result.shapes
    )
    return Report("inspect", _payload(result), rows, tuple(sections), (Check("inspect", True),))


def _payload(result: InspectResult) -> dict[str, Any]:
    """The result without the hashes of single images, of which there can be millions."""
    payload: dict[str, Any] = plain(result)
    for part in payload["omega"]["contributions"] if result.omega else ():
        del part["image_hashes"]
    return payload


_USE = (
    "Plain weights can be used with the architecture they are for:",
    "  mascli init --model torchvision:NAME --weights FILE -o CHECKPOINT",
)


def _kind_text(result: InspectResult) -> str:
    name = {"checkpoint": "a mascli checkpoint", "omega": "a mascli omega (importance)", "tensors": "plain tensors"}
    return f"{name[result.kind]}, {count(result.parameters)} values"


def _statistics(result: InspectResult) -> tuple[tuple[str, str], ...]:
    return () if result.statistics is None else statistics_facts(result.statistics)


def _omega_facts(omega: OmegaRecord) -> tuple[tuple[str, str], ...]:
    combined = f", {omega.combine} of {len(omega.contributions)}" if len(omega.contributions) > 1 else ""
    return (
        ("model", f"{omega.model}"),
        ("method", f"{omega.method}: {omega.objective}, {omega.reduction}{combined}"),
        *reliability_facts(omega.reliability),
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


def _checkpoint_facts(record: CheckpointRecord) -> tuple[tuple[str, str], ...]:
    arguments = ", ".join(f"{key}={value}" for key, value in record.model.arguments.items())
    model = f"{record.model}{f' ({arguments})' if arguments else ''}, heads replace {record.model.classifier}"
    return (
        ("model", model),
        ("images", preprocessing_text(record.preprocessing)),
        ("shared", f"{plural(len(record.shared), 'parameter tensor')}, {plural(len(record.buffers), 'buffer')}"),
        *_own_facts(record),
        ("shared sha256", record.shared_sha256),
    )


def _own_facts(record: CheckpointRecord) -> tuple[tuple[str, str], ...]:
    """Which tasks have their own normalisation, if they have."""
    if not record.owned:
        return ()
    tensors = plural(len(record.own_names), "tensor")
    return (("BatchNorm", f"each task's own ({listed(record.task_names)}): {tensors} a task, not shared"),)


def _checkpoint_tables(record: CheckpointRecord) -> tuple[Table, Table]:
    tasks = tuple((task.name, count(len(task.classes)), listed(task.classes)) for task in record.tasks)
    steps = tuple(
        (
            step.command,
            step.task or "",
            step.shared_sha256[:8],
            (step.omega_sha256 or "")[:8],
            _result_text(step.result),
        )
        for step in record.lineage
    )
    return (
        Table("tasks", ("task", "classes", "names"), tasks, right=frozenset({"classes"})),
        Table("lineage, oldest first", ("command", "task", "came to", "omega", "result"), steps),
    )


def _result_text(result: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{key.replace('_', ' ')} {percent(value) if 'accuracy' in key and isinstance(value, float) else value}"
        for key, value in result.items()
        if not isinstance(value, Mapping | list | tuple)  # tables are for the JSON
    )


def _shape_table(shapes: tuple[LayerShapes, ...]) -> Table:
    rows = tuple((layer.name, count(layer.parameters), ", ".join(layer.dtypes), _shapes(layer)) for layer in shapes)
    return Table("tensors by layer", ("layer", "values", "dtype", "shapes"), rows, right=frozenset({"values"}))


def _shapes(layer: LayerShapes) -> str:
    return ", ".join(f"{name} {'x'.join(map(str, shape)) or 'scalar'}" for name, shape in layer.shapes.items())
