"""In words, how two omegas were made differently, and how two checkpoints are related."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mascli.data.fingerprint import unpacked
from mascli.errors import CheckpointError, listed, printable
from mascli.files.tensor_file import Header
from mascli.records import CheckpointRecord, ModelSpec, OmegaRecord
from mascli.reports.comparison import PairImages
from mascli.reports.numbers import plural


def omega_differences(first: OmegaRecord, second: OmegaRecord) -> tuple[str, ...]:
    """Everything but the images in which two omegas were made differently, a sentence each."""
    return tuple(_omega_differences(first, second))


def _omega_differences(first: OmegaRecord, second: OmegaRecord) -> Iterator[str]:
    methods = [f"{record.method} ({record.objective}, {record.reduction})" for record in (first, second)]
    if methods[0] != methods[1]:
        yield (
            f"methods differ: {methods[0]} in the first, {methods[1]} in the second; their units differ too, so "
            "compare the order rather than the scale"
        )
    yield from _argument_differences(first.model, second.model)
    about: tuple[tuple[str, Callable[[OmegaRecord], str]], ...] = (
        ("the answers of", lambda record: listed(dict.fromkeys(h for p in record.contributions for h in p.heads))),
        ("estimates", _combined),
        ("measured on weights", lambda r: listed(dict.fromkeys(part.shared_sha256[:8] for part in r.contributions))),
    )
    for what, told in about:
        one, other = told(first), told(second)
        if one != other:
            yield f"{what}: {one} in the first, {other} in the second"
    prepared = [{str(part.preprocessing) for part in record.contributions} for record in (first, second)]
    if prepared[0] != prepared[1]:
        yield "images were prepared differently (size, crop, mean or std)"


def _combined(record: OmegaRecord) -> str:
    weights = [f"{part.weight:g}" for part in record.contributions]
    if len(weights) == 1:
        return "one" if weights == ["1"] else f"one, weighed by {weights[0]}"
    rule = "maximum" if record.combine == "max" else "sum"
    return f"the {rule} of {len(weights)}, weighed by {listed(weights)}"


def common_images(first: Header, second: Header, records: tuple[OmegaRecord, OmegaRecord]) -> PairImages:
    """On how many images each of two omegas was measured, and how many are in both.

    Raises:
        CheckpointError: the list of images in a file cannot be read.
    """
    one, other = (_images(header, record) for header, record in zip((first, second), records, strict=True))
    return PairImages(len(one), len(other), len(one & other))


def _images(header: Header, record: OmegaRecord) -> set[bytes]:
    try:
        return {image for part in record.contributions for image in unpacked(part.image_hashes)}
    except ValueError as error:
        raise CheckpointError(f"{printable(header.path)} is damaged: its image hashes are {error}") from error


def lineage_relation(first: CheckpointRecord, second: CheckpointRecord) -> tuple[str, bool]:
    """How the second checkpoint is related to the first, and whether it descends from it."""
    if first.shared_sha256 == second.shared_sha256:
        return "the shared parameters and buffers of both are the same", False
    if first.shared_sha256 in second.ancestry:
        return f"the second descends from the first, by {_steps(first, second)}", True
    if second.shared_sha256 in first.ancestry:
        return f"the first descends from the second, by {_steps(second, first)}", False
    common = [step for step in first.lineage if step.shared_sha256 in second.ancestry]
    if common:
        return f"both descend from {common[-1].shared_sha256[:8]} ({common[-1].command})", False
    return "neither descends from the other, and no ancestor is common to both", False


def _steps(older: CheckpointRecord, newer: CheckpointRecord) -> str:
    steps = [step for step in newer.lineage if step not in older.lineage]
    told = listed(" ".join((step.command, *([step.task] if step.task else []))) for step in steps)
    return f"{plural(len(steps), 'step')} ({told})"


def checkpoint_differences(first: CheckpointRecord, second: CheckpointRecord) -> tuple[str, ...]:
    """What else differs between two checkpoints of one network, a sentence each."""
    found = list(_argument_differences(first.model, second.model))
    if first.preprocessing != second.preprocessing:
        found.append("images are prepared differently (size, crop, mean or std)")
    for task in first.tasks:
        known = next((other for other in second.tasks if other.name == task.name), task)
        if known.classes != task.classes:
            found.append(f"the classes of task {task.name} differ")
    return tuple(found)


def _argument_differences(first: ModelSpec, second: ModelSpec) -> Iterator[str]:
    arguments = [", ".join(f"{k}={v}" for k, v in sorted(m.arguments.items())) or "none" for m in (first, second)]
    if arguments[0] != arguments[1]:
        yield f"arguments of the model: {arguments[0]} in the first, {arguments[1]} in the second"
    if first.classifier != second.classifier:
        yield f"heads replace {first.classifier} in the first, {second.classifier} in the second"
