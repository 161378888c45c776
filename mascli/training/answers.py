"""The outputs that a training step needs, where tasks may have normalisation of their own."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext

import torch
from torch import Tensor

from mascli.errors import UnsupportedModelError, printable
from mascli.models.heads import MultiHeadModel
from mascli.training.batches import Batch


def step_outputs(
    model: MultiHeadModel, batch: Batch, learned: tuple[str, ...], kept: Iterable[str]
) -> dict[str, Tensor]:
    """The raw outputs [N, classes] of each task for the images of a batch.

    Where tasks have normalisation of their own, its statistics are of the task's own images alone: rows of
    images that a task is not asked about are then zero, and tasks without any in the batch are left out.

    Args:
        learned: the tasks that `batch.owners` numbers, each asked about its own images.
        kept: old tasks that are asked about the new task's images.

    Raises:
        UnsupportedModelError: the network cannot be trained on such images.
    """
    asked = tuple(dict.fromkeys((*learned, *kept)))
    try:
        groups = model.own.passes(asked)
        if batch.owners is None or len(groups) == 1:
            return dict(zip(asked, model(batch.images, asked), strict=True))
        found: dict[str, Tensor] = {}
        for group in groups:
            owners = {learned.index(task) for task in group if task in learned}
            owners |= {0} if any(task in kept for task in group) else set()
            rows = torch.isin(batch.owners, torch.tensor(sorted(owners), device=batch.owners.device))
            if rows.any():
                found |= _of_rows(model, batch.images, rows, group)
        return found
    except (RuntimeError, ValueError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        count, channels, height, width = batch.images.shape
        reason = printable(str(error).splitlines()[0])
        raise UnsupportedModelError(
            f"the network cannot be trained on {count} images of {height}x{width} pixels and {channels} channels "
            f"({reason}); try another --batch-size, --batchnorm freeze or larger images"
        ) from error


def _of_rows(model: MultiHeadModel, images: Tensor, rows: Tensor, group: tuple[str, ...]) -> dict[str, Tensor]:
    """The outputs of `group` for the images that `rows` [N] marks, in the places of these; zero elsewhere.

    A single image has no statistics to speak of, and is normalised by those that are known.
    """
    alone = int(rows.sum()) == 1
    with model.own.still(model.network) if alone else nullcontext():
        some = model(images[rows], group)
    zeros = (outputs.new_zeros(len(rows), outputs.shape[1]) for outputs in some)
    return {task: every.index_put((rows,), own) for task, every, own in zip(group, zeros, some, strict=True)}
