"""Whether an omega belongs to a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping

from mascli.errors import CheckpointError, listed, printable
from mascli.records import OmegaRecord


def check_binding(
    omega: OmegaRecord,
    omega_shapes: Mapping[str, tuple[int, ...]],
    ancestry: frozenset[str],
    model_shapes: Mapping[str, tuple[int, ...]],
    where: str,
) -> tuple[str, ...]:
    """Check that an omega belongs to a checkpoint; returns the shared parameters it says nothing about.

    Every contribution must have been measured on the checkpoint's weights or on those of an
    ancestor. Parameters that the omega lacks have importance zero.

    Args:
        omega_shapes: the shape of every tensor of the omega.
        ancestry: `shared_sha256` of the checkpoint and of all it came from.
        model_shapes: the shape of every shared parameter of the checkpoint.
        where: the omega's path, fit to be printed.

    Raises:
        CheckpointError: other weights, or a tensor that the model lacks or has in another shape.
    """
    measured = f"{where} was measured on {printable(str(omega.model))}"
    missing = sorted(omega_shapes.keys() - model_shapes.keys())
    if missing:
        raise CheckpointError(f"{measured}, which is not this model: the checkpoint has no {listed(missing, 3)}")
    for name, shape in omega_shapes.items():
        if shape != model_shapes[name]:
            raise CheckpointError(
                f"{measured}, which is not this model: {printable(name)} is {list(shape)} in the omega and "
                f"{list(model_shapes[name])} in the checkpoint"
            )
    for part in omega.contributions:
        if part.shared_sha256 not in ancestry:
            raise CheckpointError(
                f"{where} was measured on other weights: the checkpoint does not descend from those "
                f"({part.shared_sha256[:12]}) of its contribution for {listed(part.heads)}; estimate it anew with "
                "mascli estimate"
            )
    return tuple(sorted(model_shapes.keys() - omega_shapes.keys()))


def uncovered_tasks(task_names: tuple[str, ...], omega: OmegaRecord | None) -> tuple[str, ...]:
    """The tasks of a checkpoint whose answers no contribution of `omega` knows about."""
    covered = omega.covered_tasks if omega else frozenset()
    return tuple(name for name in task_names if name not in covered)
