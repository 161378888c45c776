"""What checkpoints and omegas say about themselves, as metadata of a tensor file and back.

Each field of a record is one key `mascli.<field>` that holds canonical JSON: sorted keys, no
spaces, ASCII. JSON has no infinities and no NaN: they are the texts "inf", "-inf" and "nan".
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeVar

from mascli.errors import CheckpointError, listed, printable
from mascli.files.header import Header, strict_json
from mascli.records import (
    FORMAT_VERSION,
    TASK_NAME,
    CheckpointRecord,
    OmegaRecord,
    Preprocessing,
    Reliability,
    Task,
    head_tensor,
    is_left_out,
    task_name_problem,
)
from mascli.typed import build, key_of

Record = TypeVar("Record", CheckpointRecord, OmegaRecord)
Kind = Literal["checkpoint", "omega", "tensors"]

PREFIX = "mascli."
VERSION = f"{PREFIX}format_version"
KIND = f"{PREFIX}kind"
EXPORT = f"{PREFIX}export"  # what plain weights that mascli has exported say about themselves
RECORDS = {"checkpoint": CheckpointRecord, "omega": OmegaRecord}
MAX_PIXELS = 10_000  # a side of an image
HINT = "it may have been changed by another tool"
ROUNDED = {"BF16": "bfloat16", "F16": "float16"}  # dtypes to which other tools round importance


def checkpoint_metadata(record: CheckpointRecord, foreign: Mapping[str, str]) -> dict[str, str]:
    """The metadata of a checkpoint file; `foreign` are keys that mascli does not know."""
    return _metadata("checkpoint", record, foreign)


def omega_metadata(record: OmegaRecord, foreign: Mapping[str, str]) -> dict[str, str]:
    """The metadata of an omega file; `foreign` are keys that mascli does not know."""
    return _metadata("omega", record, foreign)


def file_kind(header: Header) -> Kind:
    """What a tensor file is; "tensors" is one without metadata of ours.

    Raises:
        CheckpointError: it comes from a newer version, or is of a kind that does not exist.
    """
    if not any(key.startswith(PREFIX) and key != EXPORT for key in header.metadata):
        return "tensors"
    where = printable(header.path)
    version, kind = _value(header, VERSION), _value(header, KIND)
    if type(version) is not int or version < 1:
        raise CheckpointError(f"{where} is damaged: it has no format version")
    if version > FORMAT_VERSION:
        raise CheckpointError(
            f"{where} was written by a newer mascli (format {version}; this one knows {FORMAT_VERSION}): upgrade mascli"
        )
    if kind == "checkpoint":
        return "checkpoint"
    if kind == "omega":
        return "omega"
    raise CheckpointError(f"{where} is damaged: {printable(str(kind)[:40])} is no kind of file")


def checkpoint_record(header: Header) -> CheckpointRecord | None:
    """What a checkpoint says about itself; None for a plain tensor file without our metadata.

    Raises:
        CheckpointError: an omega, a newer format, or metadata that contradict themselves or the tensors.
    """
    kind = file_kind(header)
    if kind == "tensors":
        return None
    if kind == "omega":
        raise CheckpointError(f"{printable(header.path)} is an omega file; a checkpoint is needed here")
    record = _record(header, CheckpointRecord)
    _refuse(header, [*_checkpoint_problems(record), *_table_problems(header, record)])
    return record


def omega_record(header: Header) -> OmegaRecord:
    """What an omega says about itself.

    Raises:
        CheckpointError: no omega, a newer format, values that another tool has rounded, or metadata that
            contradict themselves or the tensors.
    """
    kind = file_kind(header)
    if kind != "omega":
        what = "a checkpoint" if kind == "checkpoint" else "a plain tensor file"
        raise CheckpointError(
            f"{printable(header.path)} is {what}; an omega file is needed here (mascli estimate makes one)"
        )
    record = _record(header, OmegaRecord)
    _refuse_rounded(header)
    _refuse(header, [*_omega_problems(record), *_head_problems(header, record), *_dtype_problems(header)])
    return record


def foreign_metadata(header: Header) -> dict[str, str]:
    """The metadata that mascli does not know, to be kept when the file is written anew."""
    known = {"format", VERSION, KIND, EXPORT}
    known |= {_key(field) for record in RECORDS.values() for field in dataclasses.fields(record)}
    return {key: value for key, value in header.metadata.items() if key not in known}


def canonical_json(value: Any) -> str:
    """`value` (dataclasses and tuples too) as JSON of which there is one form only."""
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {key_of(field.name): _plain(its) for field, its in fields.items() if not is_left_out(field, its)}
    if isinstance(value, Mapping):
        return {key: _plain(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(member) for member in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _metadata(kind: str, record: CheckpointRecord | OmegaRecord, foreign: Mapping[str, str]) -> dict[str, str]:
    own = {VERSION: _lowest_version(record), KIND: kind}
    own |= {_key(field): getattr(record, field.name) for field in dataclasses.fields(record)}
    return {**foreign, **{key: canonical_json(value) for key, value in own.items()}}


def _lowest_version(record: CheckpointRecord | OmegaRecord) -> int:
    """The format that a program has to know to read such a file.

    2 brought tensors of each task's own, 3 heads that several tasks use, and importance of heads, 4 the
    reliability of each of several estimates.
    """
    if isinstance(record, OmegaRecord):
        if any(part.reliability for part in record.contributions):
            return 4
        return 3 if any(part.heads_sha256 for part in record.contributions) else 1
    return 3 if record.common_heads else 2 if record.owned else 1


def _key(field: dataclasses.Field[Any]) -> str:
    return PREFIX + key_of(field.name)


def _value(header: Header, key: str) -> Any:
    try:
        return strict_json(header.metadata.get(key, "null"))
    except ValueError as error:
        raise CheckpointError(
            f"{printable(header.path)} is damaged: {key} is not JSON ({printable(str(error))}); {HINT}"
        ) from error


def _record(header: Header, kind: type[Record]) -> Record:
    keys = [_key(field) for field in dataclasses.fields(kind)]
    values = {key.removeprefix(PREFIX): _value(header, key) for key in keys if key in header.metadata}
    problems: list[str] = []
    record = build(kind, values, "metadata", problems)
    _refuse(header, problems)
    assert record is not None
    return record


def _refuse(header: Header, problems: list[str]) -> None:
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise CheckpointError(f"{printable(header.path)} is damaged: {problems[0]}{more}; {HINT}")


def _checkpoint_problems(record: CheckpointRecord) -> Iterator[str]:
    if not record.lineage:
        yield "its lineage is empty"
    for position, task in enumerate(record.tasks):
        problem = task_name_problem(task.name, record.task_names[:position])
        if problem:
            yield f"task '{printable(task.name)}': {problem}"
        if not task.classes or len(set(task.classes)) < len(task.classes):
            yield f"task '{printable(task.name)}' has no classes or the same one twice"
    if set(record.heads) != {task.name for task in record.tasks if task.head is None}:
        yield "its tasks and its heads are not the same"
    for position, task in enumerate(record.tasks):
        yield from _borrowing_problems(task, record.tasks[:position])
    if record.owned and set(record.owned) != set(record.task_names):
        yield "some of its tasks have tensors of their own and others do not"
    if any(table.keys() != record.own_names for table in record.owned.values()):
        yield "its tasks have different tensors of their own"
    yield from _named(
        "the tensors {} are shared and a task's own", record.own_names & {*record.shared, *record.buffers}
    )
    yield from _preprocessing_problems(record.preprocessing)


def _borrowing_problems(task: Task, earlier: Sequence[Task]) -> Iterator[str]:
    """What is wrong with a task that uses the head of another one."""
    if task.head is None:
        return
    owner = next((other for other in earlier if other.name == task.head and other.head is None), None)
    who = f"task '{printable(task.name)}' uses the head of '{printable(task.head)}'"
    if owner is None:
        yield f"{who}, and no earlier task of that name has one"
    elif owner.classes != task.classes:
        yield f"{who}, which has other classes"
    if task.imported:
        yield f"{who} and one that came with the weights"


def _preprocessing_problems(prepared: Preprocessing) -> Iterator[str]:
    sizes = (*prepared.size, prepared.resize_to + (prepared.resize_to == 0))
    if len(prepared.size) != 2 or not all(1 <= size <= MAX_PIXELS for size in sizes):
        yield f"its image size is not two numbers from 1 to {MAX_PIXELS}"
    numbers = (*prepared.mean, *prepared.std)
    if len(prepared.mean) != prepared.channels or len(prepared.std) != prepared.channels:
        yield "its mean and std do not fit its channels"
    possible = all(math.isfinite(number) and abs(number) < 1e6 for number in numbers)
    if prepared.channels not in (1, 3) or not possible or not all(std > 1e-6 for std in prepared.std):
        yield "its channels, mean or std cannot be"


def _table_problems(header: Header, record: CheckpointRecord) -> Iterator[str]:
    """What differs between the tensors that the name table lists and those of the file."""
    tasks = (name for table in (*record.heads.values(), *record.owned.values()) for name in table.values())
    table = Counter([*record.shared, *record.buffers, *tasks])
    yield from _named("its name table lists {} twice", (name for name, times in table.items() if times > 1))
    yield from _named("it lacks the tensors {}", table.keys() - header.tensors.keys())
    yield from _named("it has the tensors {}, which belong to nothing", header.tensors.keys() - table.keys())
    yield from _named(
        "the aliases {} stand for nothing", (a for a, name in record.aliases.items() if name not in table)
    )


def _omega_problems(record: OmegaRecord) -> Iterator[str]:
    if not record.contributions:
        yield "it lists no contribution"
    for number, part in enumerate(record.contributions, start=1):
        if part.images < 1 or not part.heads:
            yield f"contribution {number} has no images or no heads"
        if not all(0 <= fact < math.inf for fact in (part.weight, part.mean_squared_norm)):  # NaN is not
            yield f"contribution {number} has a weight or a mean squared norm that cannot be"
        yield from _preprocessing_problems(part.preprocessing)
        if not _is_possible(part.reliability):
            yield f"the reliability of contribution {number} cannot be"
    if not _is_possible(record.reliability):
        yield "its reliability cannot be"


def _is_possible(known: Reliability | None) -> bool:
    if known is None:
        return True
    shares = (known.overall, known.lowest, known.half_difference)
    return known.images >= 2 and all(0 <= share <= 1 for share in shares)  # NaN is not


def _head_problems(header: Header, record: OmegaRecord) -> Iterator[str]:
    """What is wrong with the heads that estimates have measured the tensors of."""
    measured = {task for part in record.contributions for task in part.heads_sha256}
    yield from _named("{} cannot name a task", (task for task in measured if not TASK_NAME.fullmatch(task)))
    found = {task: [name for name in header.tensors if name.startswith(head_tensor(task, ""))] for task in measured}
    yield from _named("it lacks the tensors of the heads {}", (task for task, names in found.items() if not names))


def _refuse_rounded(header: Header) -> None:
    found = sorted({ROUNDED[info.dtype] for info in header.tensors.values() if info.dtype in ROUNDED})
    if found:
        raise CheckpointError(
            f"{printable(header.path)} is rounded: another tool has stored its values as {' and '.join(found)}, and "
            "importance must be float32; use the file that mascli has written, or estimate it anew"
        )


def _dtype_problems(header: Header) -> Iterator[str]:
    yield from _named(
        "importance must be float32: {}", (n for n, info in header.tensors.items() if info.dtype != "F32")
    )


def _named(problem: str, names: Iterable[str]) -> Iterator[str]:
    found = sorted(names)
    if found:
        yield problem.format(listed(found, 3))
