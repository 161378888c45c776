"""Whether checkpoints can be averaged, from their headers alone: one network, one ancestor, an omega for each."""

from __future__ import annotations

from functools import reduce
from pathlib import Path

from mascli.config import AverageConfig, ModelOptions
from mascli.errors import CheckpointError, UsageError, listed, printable
from mascli.files.binding import check_binding, head_shapes, own_shapes, shared_shapes
from mascli.files.records_json import checkpoint_record, omega_record
from mascli.files.tensor_file import Header, read_header
from mascli.importance.combine_checks import check_one_kind
from mascli.models.spec import check_model_spec
from mascli.records import CheckpointRecord
from mascli.workflows.checked_paths import check_paths
from mascli.workflows.estimating.settled import settled_preprocessing
from mascli.workflows.preflight import omega_shapes


def check_average(config: AverageConfig) -> None:
    """Check `mascli average` before torch is loaded.

    Raises:
        CheckpointError: checkpoints of different networks or without a common ancestor, or an omega that
            belongs to another checkpoint.
        UsageError: a path that is not there or taken.
    """
    files = {f"CHECKPOINT {path}": path for path in config.checkpoints}
    check_paths(config, {**files, **{f"--omega {path}": path for path in config.omega}}, {})
    _check_different(config.checkpoints)
    headers = [read_header(path) for path in config.checkpoints]
    records = [_record(header, config) for header in headers]
    for path, record in zip(config.checkpoints, records, strict=True):
        _check_alike(config.checkpoints[0], records[0], path, record)
    _check_heads(config.checkpoints, records)
    if not reduce(frozenset.intersection, (record.ancestry for record in records)):
        raise CheckpointError(
            f"{', '.join(map(printable, config.checkpoints))} have no common ancestor: only networks that were learned "
            "from one checkpoint can be averaged"
        )
    omegas = [read_header(path) for path in config.omega]
    for header, record, path, omega in zip(headers, records, config.omega, omegas, strict=False):
        shapes, own = shared_shapes(header, record), {**own_shapes(header, record), **head_shapes(header, record)}
        check_binding(omega_record(omega), omega_shapes(omega), record.ancestry, shapes, printable(path), own)
    named = [(printable(path), omega_record(omega)) for path, omega in zip(config.omega, omegas, strict=True)]
    check_one_kind(named, "weighed together")


def _check_different(paths: tuple[Path, ...]) -> None:
    """Refuse the same file twice, under whatever name."""
    known: dict[Path, Path] = {}
    for path in paths:
        first = known.setdefault(path.resolve(), path)
        if first is not path:
            also = "" if first == path else f" (as {printable(first)} too)"
            raise UsageError(
                f"CHECKPOINT {printable(path)} is given twice{also}; give it once, with --weights if it counts more"
            )


def _record(header: Header, config: AverageConfig) -> CheckpointRecord:
    record = checkpoint_record(header)
    if record is None:
        raise CheckpointError(
            f"{printable(header.path)} holds plain weights, of which nobody knows the ancestor; make a checkpoint of "
            "them with mascli init, and learn from that"
        )
    check_model_spec(record.model)
    settled_preprocessing(record, ModelOptions(trust_model_code=config.trust_model_code))
    return record


def _check_alike(first: Path, one: CheckpointRecord, path: Path, other: CheckpointRecord) -> None:
    names = f"{printable(first)} and {printable(path)}"
    if one.model != other.model:
        raise CheckpointError(
            f"{names} are of different models ({one.model} and {other.model}): no mean of them is one"
        )
    if one.preprocessing != other.preprocessing:
        raise CheckpointError(f"{names} prepare images differently: no network fits both")
    if one.own_names != other.own_names:
        with_own, without = names.split(" and ") if one.owned else reversed(names.split(" and "))
        raise CheckpointError(
            f"in {with_own} each task has its own BatchNorm, in {without} it is shared: learn both with the same "
            "--batchnorm"
        )
    if set(one.shared) != set(other.shared) or set(one.buffers) != set(other.buffers):
        raise CheckpointError(f"{names} have different parameters: is the library that built one another version?")
    for task in one.tasks:
        known = next((found for found in other.tasks if found.name == task.name), task)
        if known.imported != task.imported:
            raise CheckpointError(f"{names} both have a task {task.name}, which came with the weights in one only")


def _check_heads(paths: tuple[Path, ...], records: list[CheckpointRecord]) -> None:
    """Check that each task uses the same head wherever it is, and that all have the heads that several tasks use."""
    every = list(zip(paths, records, strict=True))
    known: dict[str, tuple[Path, str | None]] = {}
    for path, record in every:
        for task in record.tasks:
            first, head = known.setdefault(task.name, (path, task.head))
            if head != task.head:
                raise CheckpointError(
                    f"{printable(first)} and {printable(path)} both have a task {task.name}, which uses the head of "
                    f"{head or task.head} in one only: learn both with the same --head-of"
                )
    for path, record in every:
        for owner, users in record.common_heads.items():
            classes = next(task.classes for task in record.tasks if task.name == owner)
            for other, its in every:
                if classes not in [task.classes for task in its.tasks if task.name == owner]:
                    raise CheckpointError(
                        f"{listed(users)} share one head in {printable(path)}, and {printable(other)} has none of "
                        f"{owner} with these classes: average checkpoints that were learned from one with that head"
                    )
