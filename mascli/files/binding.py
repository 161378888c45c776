"""Whether an omega belongs to a checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mascli.errors import CheckpointError, listed, printable
from mascli.files.header import Header
from mascli.records import CheckpointRecord, OmegaRecord, head_tensor

Shapes = Mapping[str, tuple[int, ...]]


def shared_shapes(header: Header, record: CheckpointRecord) -> Shapes:
    """The shape of every shared parameter of a checkpoint file."""
    return {name: header.tensors[name].shape for name in record.shared}


def own_shapes(header: Header, record: CheckpointRecord) -> Shapes:
    """The shape of every tensor of the network that each task has of its own in a checkpoint file."""
    return {name: header.tensors[stored].shape for table in record.owned.values() for name, stored in table.items()}


def head_shapes(header: Header, record: CheckpointRecord) -> Shapes:
    """The shape of every tensor of a head in a checkpoint file, by the names that they have in an omega."""
    heads = ((task, name, stored) for task, table in record.heads.items() for name, stored in table.items())
    return {head_tensor(task, name): header.tensors[stored].shape for task, name, stored in heads}


def check_binding(
    omega: OmegaRecord,
    omega_shapes: Shapes,
    ancestry: frozenset[str],
    model_shapes: Shapes,
    where: str,
    own: Shapes | None = None,
) -> tuple[str, ...]:
    """Check that an omega belongs to a checkpoint; returns the shared parameters it says nothing about.

    Every contribution must have been measured on the checkpoint's weights or on those of an
    ancestor. Parameters that the omega lacks have importance zero. What it says of tensors that each
    task has had of its own since, and of heads that are not asked about (`own`), is let through.

    Args:
        omega_shapes: the shape of every tensor of the omega.
        ancestry: `shared_sha256` of the checkpoint and of all it came from.
        model_shapes: the shape of every shared parameter of the checkpoint.
        where: the omega's path, fit to be printed.
        own: the shape of every tensor that each task has of its own, and of heads.

    Raises:
        CheckpointError: other weights, or a tensor that the model lacks or has in another shape.
    """
    measured = f"{where} was measured on {printable(str(omega.model))}"
    every = {**model_shapes, **(own or {})}
    missing = sorted(omega_shapes.keys() - every.keys())
    if missing:
        raise CheckpointError(f"{measured}, which is not this model: the checkpoint has no {listed(missing, 3)}")
    for name, shape in omega_shapes.items():
        if shape != every[name]:
            raise CheckpointError(
                f"{measured}, which is not this model: {printable(name)} is {list(shape)} in the omega and "
                f"{list(every[name])} in the checkpoint"
            )
    for part in omega.contributions:
        if part.shared_sha256 not in ancestry:
            raise CheckpointError(
                f"{where} was measured on other weights: the checkpoint does not descend from those "
                f"({part.shared_sha256[:12]}) of its contribution for {listed(part.heads)}; estimate it anew with "
                "mascli estimate"
            )
    return tuple(sorted(model_shapes.keys() - omega_shapes.keys()))


def check_heads(omega: OmegaRecord, heads: Iterable[str], known: frozenset[str], where: str) -> None:
    """Check that an omega was measured on the `heads` that it has tensors for, by the task each was made for.

    Args:
        known: hashes of the checkpoint's heads, now and at every step that changed one.

    Raises:
        CheckpointError: it was measured on another head of the same name.
    """
    for task in heads:
        measured = [part.heads_sha256[task] for part in omega.contributions if task in part.heads_sha256]
        if not measured:
            raise CheckpointError(f"{where} is damaged: no estimate in it has measured the head of {printable(task)}")
        other = [sha256 for sha256 in measured if sha256 not in known]
        if other:
            raise CheckpointError(
                f"{where} was measured on another head of task {printable(task)} ({other[0][:12]}) than the "
                "checkpoint's; estimate it anew with mascli estimate --heads"
            )


def uncovered_tasks(task_names: tuple[str, ...], omega: OmegaRecord | None) -> tuple[str, ...]:
    """The tasks of a checkpoint whose answers no contribution of `omega` knows about, or with importance zero only."""
    covered = omega.covered_tasks if omega else frozenset()
    return tuple(name for name in task_names if name not in covered)
