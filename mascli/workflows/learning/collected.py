"""Writes the importance that Synaptic Intelligence has collected while a task was learned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from mascli.data.fingerprint import fingerprint, packed
from mascli.files.omega_file import write_omega
from mascli.files.tensors import to_source
from mascli.importance.statistics import statistics
from mascli.models.heads import MultiHeadModel, evaluating
from mascli.records import Contribution, OmegaRecord
from mascli.training.regularizer import Regularizer
from mascli.training.synaptic_intelligence import PathIntegral
from mascli.workflows.learning.task_data import LearningData
from mascli.workflows.loading import Opened


def write_collected(
    path: Path,
    opened: Opened,
    task: str,
    data: LearningData,
    shared_sha256: str,
    regularizers: Sequence[Regularizer],
    *,
    overwrite: bool,
) -> bool:
    """Write the omega of the path integral among `regularizers`, measured on the weights as they are now.

    Returns whether any importance is above zero.
    """
    (path_integral,) = (one for one in regularizers if isinstance(one, PathIntegral))
    omega = path_integral.omega()
    part = Contribution(
        heads=(task,),
        images=len(data.training),
        shared_sha256=shared_sha256,
        fingerprint=fingerprint(data.digests),
        image_hashes=packed(data.digests),
        mean_squared_norm=_mean_squared_norm(opened.model, task, data),
        statistics=statistics(values.numpy() for values in omega.values()),
        preprocessing=opened.preprocessing,
        heads_sha256=opened.measured_heads(omega),
    )
    record = OmegaRecord(opened.spec, "si", "loss", "path-integral", (part,))
    sources = {name: to_source(values) for name, values in omega.items()}
    write_omega(path, record, sources, foreign={}, overwrite=overwrite)
    return part.statistics.maximum > 0


def _mean_squared_norm(model: MultiHeadModel, task: str, data: LearningData) -> float:
    """E|F|^2 of the new task's outputs over the images learned from, as they are without augmentation."""
    total = torch.zeros((), dtype=torch.float64)
    with evaluating(model), torch.inference_mode():
        for images in data.inputs(data.images, data.training):
            outputs: Tensor = model(images, (task,))[0]
            total += outputs.double().square().sum().cpu()
    return float(total) / len(data.training)
