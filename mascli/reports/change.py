"""The result of `mascli inspect` with two checkpoints, or two files of plain weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from mascli.errors import listed
from mascli.importance.change import Change, Weighed
from mascli.reports.comparison import or_undefined, value_or
from mascli.reports.numbers import count, number, plural, share
from mascli.reports.report import Check, Facts, Lines, Report, Section, Table, plain

_NO_SIZE = "the first file's values are 0"


@dataclass(frozen=True)
class BufferChange:
    """The change of one buffer, such as a mean that BatchNorm keeps; figures as those of a `Change`."""

    name: str
    values: int
    changed: int
    relative_l2: float | None
    largest: float
    not_finite: int


@dataclass(frozen=True)
class HeadChange:
    """The tasks that only the second checkpoint has, that only the first has, and whose own tensors differ."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]


@dataclass(frozen=True)
class CheckpointPairResult:
    """Two checkpoints of one network, or two files of plain weights ("weights": no model, relation, heads).

    `relation` says in words how the second is related to the first, `descends` whether it comes from
    it. `omega` is the file that weighs the change.
    """

    kind: Literal["checkpoints", "weights"]
    files: tuple[str, str]
    model: str | None
    relation: str | None
    descends: bool
    differences: tuple[str, ...]
    heads: HeadChange | None
    overall: Change
    layers: tuple[Change, ...]
    buffers: tuple[BufferChange, ...]
    omega: str | None = None
    notes: tuple[str, ...] = ()


def change_report(result: CheckpointPairResult) -> Report:
    """The report of `mascli inspect` with two checkpoints."""
    sections: tuple[Section, ...] = (
        Facts(tuple(_facts(result))),
        Lines(result.differences, "what else differs"),
        Facts(tuple(_change_facts(result))),
        _layer_table(result),
        _buffer_table(result.buffers),
    )
    payload: dict[str, Any] = plain(result)
    rows = tuple(_row(layer) for layer in result.layers)
    return Report("inspect", payload, rows, sections, (Check("inspect", True),), notes=result.notes)


def _row(layer: Change) -> dict[str, Any]:
    """One layer in a row of CSV: the weighed figures beside the others."""
    row: dict[str, Any] = plain(layer)
    weighed = row.pop("weighed") or {}
    return {**row, **weighed}


def _facts(result: CheckpointPairResult) -> Iterator[tuple[str, str]]:
    yield "first", result.files[0]
    yield "second", result.files[1]
    what = f"checkpoints of {result.model}" if result.model else "plain weights"
    yield "both", f"{what}, {plural(result.overall.parameters, 'value')} in {plural(len(result.layers), 'layer')}"
    if result.relation is not None:
        yield "lineage", result.relation
    if result.heads is not None:
        heads = result.heads
        yield "new tasks", listed(heads.added) or "none"
        if heads.removed:
            yield "tasks gone", listed(heads.removed)
        yield "old heads", f"changed: {listed(heads.changed)}" if heads.changed else "not changed"


def _change_facts(result: CheckpointPairResult) -> Iterator[tuple[str, str]]:
    overall = result.overall
    compared = overall.parameters - overall.not_finite
    part = share(overall.changed / compared) if compared else "nothing is compared"
    yield "changed", f"{count(overall.changed)} of {plural(overall.parameters, 'value')} ({part})"
    yield "by", _by(overall)
    if result.buffers:
        moved = [buffer for buffer in result.buffers if buffer.changed]
        yield "buffers", f"{count(len(moved))} of {plural(len(result.buffers), 'tensor')} changed"
    if overall.weighed is not None:
        yield "weighed by", result.omega or ""
        yield "moved", moved_text(overall, overall.weighed, descends=result.descends)
        yield "touched", _touched_text(overall.weighed)


def _by(overall: Change) -> str:
    """How much all values changed."""
    most = f"at most {number(overall.largest)}"
    if overall.relative_l2 is None or overall.relative_l1 is None:
        return f"{most}; as a part of their size undefined ({_NO_SIZE})"
    l2, l1 = share(overall.relative_l2), share(overall.relative_l1)
    return f"{l2} of their size (relative L2), {l1} in the sum of all changes; {most}"


def moved_text(overall: Change, weighed: Weighed, *, descends: bool) -> str:
    """How much of what matters has moved, in a sentence, beside what moved if everything mattered alike."""
    who = "this fine-tuning" if descends else "the change"
    if weighed.moved is None:
        return "undefined (where there is importance, the first file's values are 0)"
    alike = or_undefined(share(overall.relative_l1), _NO_SIZE)
    return f"{who} moved {share(weighed.moved)} of what matters ({alike} if all parameters mattered alike)"


def _touched_text(weighed: Weighed) -> str:
    if weighed.on_changed is None:
        return "undefined (there is no importance)"
    return f"{share(weighed.on_changed)} of the importance sits on values that changed at all"


def _layer_table(result: CheckpointPairResult) -> Table:
    columns: tuple[str, ...] = ("layer", "values", "changed", "relative\nL2", "largest\nchange")
    weighed = result.overall.weighed is not None
    if weighed:
        columns += ("of the\nomega", "moved,\nweighed", "of all\nmoved")
    rows = tuple(
        (
            layer.name,
            count(layer.parameters),
            count(layer.changed) if not weighed else share(layer.changed / layer.parameters if layer.parameters else 0),
            value_or(share(layer.relative_l2)),
            number(layer.largest),
            *_weighed_cells(layer.weighed),
        )
        for layer in result.layers
    )
    return Table("change by layer", columns, rows, frozenset(columns[1:]))


def _weighed_cells(weighed: Weighed | None) -> tuple[str, ...]:
    if weighed is None:
        return ()
    return tuple(value_or(share(part)) for part in (weighed.importance, weighed.moved, weighed.moved_share))


def _buffer_table(buffers: tuple[BufferChange, ...]) -> Table:
    rows = tuple(
        (
            buffer.name,
            count(buffer.values),
            count(buffer.changed),
            value_or(share(buffer.relative_l2)),
            number(buffer.largest),
        )
        for buffer in buffers
        if buffer.changed
    )
    columns = ("buffer", "values", "changed", "relative\nL2", "largest\nchange")
    return Table("buffers that changed", columns, rows, frozenset(columns[1:]))
