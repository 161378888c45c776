"""What a checkpoint, or a file of plain weights, says about itself, and what can be done with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mascli.errors import listed, shell_path
from mascli.records import CheckpointRecord, Step
from mascli.reports.init import preprocessing_text
from mascli.reports.inspect_result import InspectResult, LayerShapes
from mascli.reports.model_code import code_flag, code_remark
from mascli.reports.numbers import count, percent, plural
from mascli.reports.report import Facts, Lines, Section, Table, plain

HASH = 8  # digits of a hash that a table shows; all are in the JSON
_HASHES = (
    f"from and omega: the first {HASH} digits of those files' sha256 (sha256sum FILE); came to: of the shared "
    "parameters and buffers after the step"
)


def checkpoint_sections(result: InspectResult, record: CheckpointRecord) -> list[Section]:
    """What is known of a checkpoint, its tasks, where it comes from, its tensors, and what to do next."""
    return [
        Facts(_facts(result, record)),
        _tasks(result, record),
        _lineage(record),
        Lines((_HASHES,) if any(step.parent_sha256 for step in record.lineage) else ()),
        shape_table(result.shapes),
        Lines(_next_steps(result, record), "what to do next"),
    ]


def tensors_sections(result: InspectResult) -> list[Section]:
    """What plain tensors are, as far as their names tell, and how to use them."""
    return [Facts(_network_facts(result)), shape_table(result.shapes), Lines(_use(result), "how to use it here")]


def shape_table(shapes: tuple[LayerShapes, ...]) -> Table:
    """The tensors of a file by layer."""
    rows = tuple((layer.name, count(layer.parameters), ", ".join(layer.dtypes), shape_text(layer)) for layer in shapes)
    return Table("tensors by layer", ("layer", "values", "dtype", "shapes"), rows, right=frozenset({"values"}))


def shape_text(layer: LayerShapes) -> str:
    """The tensors of a layer with their shapes, on one line."""
    return ", ".join(f"{name} {_shape(shape)}" for name, shape in layer.shapes.items())


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _facts(result: InspectResult, record: CheckpointRecord) -> tuple[tuple[str, str], ...]:
    arguments = ", ".join(f"{key}={value}" for key, value in record.model.arguments.items())
    model = f"{record.model}{f' ({arguments})' if arguments else ''}, heads replace {record.model.classifier}"
    prepared = record.preprocessing
    mean, std = (", ".join(f"{value:g}" for value in values) for values in (prepared.mean, prepared.std))
    buffers = plural(len(record.buffers), "buffer")
    return (
        ("model", model),
        ("images", preprocessing_text(prepared)),
        ("pixels", f"0 to 1, minus {mean}, over {std}"),
        ("shared", f"{_values(result, 'shared')}{plural(len(record.shared), 'parameter tensor')}, {buffers}"),
        *_head_facts(record),
        *_own_facts(record),
        ("shared sha256", record.shared_sha256),
    )


def _values(result: InspectResult, part: str) -> str:
    return f"{count(result.parts[part])} values in " if part in result.parts else ""


def _head_facts(record: CheckpointRecord) -> tuple[tuple[str, str], ...]:
    """Which tasks share a head, if some do."""
    groups = [f"{listed(users)} share that of {owner}" for owner, users in record.common_heads.items()]
    return (("one head", "; ".join(groups)),) if groups else ()


def _own_facts(record: CheckpointRecord) -> tuple[tuple[str, str], ...]:
    """Which tasks have their own normalisation, if they have."""
    if not record.owned:
        return ()
    tensors = plural(len(record.own_names), "tensor")
    return (("BatchNorm", f"each task's own ({listed(record.task_names)}): {tensors} a task, not shared"),)


def _tasks(result: InspectResult, record: CheckpointRecord) -> Table:
    rows = tuple(
        (
            task.name,
            count(len(task.classes)),
            ", ".join(f"{name} {_shape(shape)}" for name, shape in result.heads.get(task.name, {}).items())
            + (" (came with the weights)" if task.imported else ""),
            listed(task.classes),
        )
        for task in record.tasks
    )
    columns = ("task", "classes", "head", "names")
    return Table("tasks, in the order learned", columns, rows, right=frozenset({"classes"}))


def _lineage(record: CheckpointRecord) -> Table:
    rows = tuple(
        (
            step.command,
            step.task or "",
            *(_short(value) for value in (step.parent_sha256, step.omega_sha256, step.shared_sha256)),
            _result_text(step),
        )
        for step in record.lineage
    )
    return Table("lineage, oldest first", ("command", "task", "from", "omega", "came to", "result"), rows)


def _short(sha256: str | None) -> str:
    return (sha256 or "")[:HASH]


def _result_text(step: Step) -> str:
    result = dict(step.result)
    told = []
    if "best_epoch" in result and result.get("val_accuracy", 0.0) is None:
        told = [f"last epoch ({result.pop('best_epoch')})", "no validation"]
        del result["val_accuracy"]
    told += [
        f"{key.replace('_', ' ')} {percent(value) if 'accuracy' in key and isinstance(value, float) else value}"
        for key, value in result.items()
        if not isinstance(value, Mapping | list | tuple)  # tables are for the JSON
    ]
    return ", ".join(told)


def _next_steps(result: InspectResult, record: CheckpointRecord) -> tuple[str, ...]:
    file = f"{shell_path(result.file)}{code_flag(record.model)}"
    remark = code_remark(record.model)
    if not record.tasks:
        return (
            "it has no task yet; learn the first one:",
            f"  mascli train-task {file} --task NAME --data FOLDER -o NEW.st",
            *remark,
        )
    return (
        f"measure what the answers for {record.task_names[-1]} depend on, with any images of that kind, and learn the "
        "next task without losing it:",
        f"  mascli estimate {file} --data FOLDER -o NEW.omega",
        f"  mascli train-task {file} --task NAME --data FOLDER \\",
        "      --omega NEW.omega -o NEW.st",
        "how well it does now:",
        f"  mascli evaluate {file} --task {record.task_names[-1]} --data FOLDER",
        *remark,
    )


def _network_facts(result: InspectResult) -> tuple[tuple[str, str], ...]:
    exported: Mapping[str, Any] = result.exported or {}
    if exported:
        model = exported.get("model") or {}
        spec = f"{model.get('source')}:{model.get('name')}" if isinstance(model, Mapping) else "an unknown model"
        return (("written by", f"mascli export: {plain(spec)}, task {plain(str(exported.get('task')))}"),)
    if result.network is not None:
        return (("weights of", f"{result.network}, by the names and shapes of all tensors but the classifier's"),)
    return (("weights of", "not known by their names and shapes"),)


def _use(result: InspectResult) -> tuple[str, ...]:
    file, network = shell_path(result.file), result.network
    if not result.parameters:
        return ("there are no values in it: nothing can be done with it",)
    if network is not None:
        return (
            "make it a checkpoint, in which more tasks can be learned and what it knows can be protected:",
            f"  mascli init --model {network} \\",
            f"      --weights {file} -o NEW.st",
            "or measure importance at once, on any images:",
            f"  mascli estimate {file} --model {network} \\",
            "      --data FOLDER -o NEW.omega",
        )
    return (
        "if these are the weights of a network, name its architecture: torchvision:NAME, timm:NAME or "
        "python:package.module:factory",
        f"  mascli init --model SPEC --weights {file} -o NEW.st",
    )
