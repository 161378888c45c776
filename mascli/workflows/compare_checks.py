"""Whether two files belong together, from their headers alone: the first thing in which they do not is named."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from mascli.config import InspectConfig
from mascli.errors import CheckpointError, UsageError, closest, listed, printable
from mascli.files.binding import check_binding, head_shapes, own_shapes, shared_shapes
from mascli.files.partial_file import KEY
from mascli.files.records_json import checkpoint_record, file_kind, omega_record
from mascli.files.tensor_file import Header, read_header
from mascli.importance.layer_names import layer_of, natural_order
from mascli.importance.rank_agreement import MOST
from mascli.records import CheckpointRecord, OmegaRecord
from mascli.workflows.checked_paths import check_paths
from mascli.workflows.preflight import omega_shapes

_KINDS = {"checkpoint": "a checkpoint", "omega": "an omega", "tensors": "plain weights"}
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")  # of BatchNorm, as PyTorch names them


@dataclass(frozen=True)
class Omegas:
    """Two omegas with the same tensors, of which `names` are to be compared."""

    first: Header
    second: Header
    records: tuple[OmegaRecord, OmegaRecord]
    names: tuple[str, ...]


@dataclass(frozen=True)
class Checkpoints:
    """Two checkpoints or files of plain weights (`records` None), and the omega that weighs their change.

    `names` are the parameters to compare, `buffers` the other tensors of the network. `own` are
    parameters that are shared in one file and each task's own in the other: nothing compares them.
    """

    first: Header
    second: Header
    records: tuple[CheckpointRecord, CheckpointRecord] | None
    names: tuple[str, ...]
    buffers: tuple[str, ...]
    own: tuple[str, ...] = ()
    omega: Header | None = None


def check_compare(config: InspectConfig) -> Omegas | Checkpoints:
    """Check `mascli inspect FILE OTHER` from headers, and find what there is to compare.

    Raises:
        CheckpointError: files that are damaged, of different kinds, of different networks, or an omega
            that was measured on other weights than the first checkpoint's and its ancestors'.
        UsageError: a path that is not there, a flag that is for one file, or a pattern without a layer.
    """
    assert config.other is not None
    check_paths(config, {"FILE": config.file, "OTHER": config.other, "--omega": config.omega}, {})
    _check_flags(config)
    first, second = _header(config.file), _header(config.other)
    kind, other = file_kind(first), file_kind(second)
    if kind != other:
        raise CheckpointError(
            f"{printable(first.path)} is {_KINDS[kind]} and {printable(second.path)} is {_KINDS[other]}: "
            + _advice(kind, other)
        )
    if kind == "omega":
        return _omegas(first, second, config)
    return _checkpoints(first, second, config)


def _check_flags(config: InspectConfig) -> None:
    given = {"--histogram": config.histogram, "--top": config.top is not None, "--map": config.map_ is not None}
    problems = [f"{flag} is for one file: leave OTHER out" for flag, is_given in given.items() if is_given]
    if problems:
        raise UsageError("\n".join(problems))


def _header(path: Path) -> Header:
    header = read_header(path)
    if KEY in header.metadata:
        raise CheckpointError(f"{printable(path)} is unfinished work of train-task or estimate; end it with --resume")
    return header


def _advice(kind: str, other: str) -> str:
    kinds = {kind, other}
    if kinds == {"omega", "checkpoint"}:
        return "give two omegas, or two checkpoints and the omega with --omega"
    if "omega" in kinds:
        return "give two files of a kind"
    return "make a checkpoint of the plain weights with mascli init --weights, and compare that"


def _omegas(first: Header, second: Header, config: InspectConfig) -> Omegas:
    if config.omega is not None:
        raise UsageError("--omega weighs what changed between two checkpoints; these are two omegas: leave it out")
    records = omega_record(first), omega_record(second)
    _check_model(first, second, *records)
    _check_shapes(first, second, omega_shapes(first), omega_shapes(second))
    names = _chosen(first.tensors, config.layer)
    values = sum(first.tensors[name].count for name in names)
    if values > MOST:
        raise CheckpointError(
            f"{printable(first.path)} has {values:,} values, and {MOST:,} can be ranked at a time: choose layers with "
            "--layer"
        )
    return Omegas(first, second, records, names)


def _checkpoints(first: Header, second: Header, config: InspectConfig) -> Checkpoints:
    one, other = checkpoint_record(first), checkpoint_record(second)
    if one is None or other is None:
        if config.omega is not None:
            raise CheckpointError(
                f"{printable(first.path)} holds plain weights, which no omega was measured on: make checkpoints of "
                "both files with mascli init --weights"
            )
        _check_shapes(first, second, omega_shapes(first), omega_shapes(second))
        buffers = {name for name, info in first.tensors.items() if _is_buffer(name, info.dtype)}
        names = _chosen(first.tensors.keys() - buffers, config.layer)
        return Checkpoints(first, second, None, names, _matching(buffers, config.layer))
    _check_model(first, second, one, other)
    own = one.own_names ^ other.own_names
    tensors = [
        {name: header.tensors[name].shape for name in (*record.shared, *record.buffers) if name not in own}
        for header, record in ((first, one), (second, other))
    ]
    _check_shapes(first, second, *tensors)
    omega = None if config.omega is None else _bound(config.omega, first, one, other)
    return Checkpoints(
        first,
        second,
        (one, other),
        _chosen(set(one.shared) - own, config.layer),
        _matching(set(one.buffers) - own, config.layer),
        tuple(natural_order(own & {*one.shared, *other.shared})),
        omega,
    )


def _is_buffer(name: str, dtype: str) -> bool:
    """Whether a tensor of plain weights is no parameter, as far as its name and dtype tell."""
    return name.rpartition(".")[2] in _STATISTICS or not dtype.startswith(("F", "BF", "C"))


def _bound(path: Path, first: Header, record: CheckpointRecord, other: CheckpointRecord) -> Header:
    """The header of an omega that was measured on the first checkpoint or an ancestor of it."""
    header = read_header(path)
    omega = omega_record(header)
    measured = {part.shared_sha256 for part in omega.contributions}
    if not measured <= record.ancestry and measured <= other.ancestry and record.shared_sha256 in other.ancestry:
        raise CheckpointError(
            f"{printable(path)} was measured after {printable(first.path)}, whose change it cannot weigh: give the "
            "omega that was there before the change"
        )
    shapes, own = shared_shapes(first, record), {**own_shapes(first, record), **head_shapes(first, record)}
    check_binding(omega, omega_shapes(header), record.ancestry, shapes, printable(path), own)
    return header


def _check_model(
    first: Header, second: Header, one: OmegaRecord | CheckpointRecord, other: OmegaRecord | CheckpointRecord
) -> None:
    if str(one.model) != str(other.model):
        raise CheckpointError(
            f"{printable(first.path)} is of {printable(str(one.model))} and {printable(second.path)} of "
            f"{printable(str(other.model))}: only files of one network can be compared"
        )


def _check_shapes(
    first: Header, second: Header, one: Mapping[str, tuple[int, ...]], other: Mapping[str, tuple[int, ...]]
) -> None:
    """Name the first tensor that only one of the files has, or that has two shapes."""
    paths = printable(first.path), printable(second.path)
    for name in natural_order({*one, *other}):
        if name not in one or name not in other:
            has, lacks = paths if name in one else reversed(paths)
            raise CheckpointError(f"{has} has a tensor {printable(name)} and {lacks} has none: other networks")
        if one[name] != other[name]:
            raise CheckpointError(
                f"{printable(name)} is {list(one[name])} in {paths[0]} and {list(other[name])} in {paths[1]}: other "
                "networks"
            )


def _chosen(names: Iterable[str], patterns: tuple[str, ...]) -> tuple[str, ...]:
    """The tensors of the layers that match one of `patterns`; all where there are none."""
    every = list(names)
    for pattern in patterns:
        if not _matching(every, (pattern,)):
            raise UsageError(
                f"--layer '{printable(pattern)}' matches no layer (the first: {listed(_layers(every), 3)})"
                + closest(pattern, _layers(every))
            )
    return _matching(every, patterns)


def _matching(names: Iterable[str], patterns: tuple[str, ...]) -> tuple[str, ...]:
    kept = (name for name in names if not patterns or any(fnmatchcase(layer_of(name), glob) for glob in patterns))
    return tuple(natural_order(kept))


def _layers(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(map(layer_of, natural_order(names))))
