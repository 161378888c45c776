"""`mascli export`: one task as a plain state dict that its library loads."""

from __future__ import annotations

from dataclasses import asdict

import torch

from mascli.config import ExportConfig
from mascli.errors import CheckpointError, printable
from mascli.files.export_file import is_pickled, write_state_dict
from mascli.models.plain import Plain, plain_state, python_lines
from mascli.observer import Observer
from mascli.records import Task
from mascli.reports.export_task import ExportResult
from mascli.workflows.estimating.settled import check_task
from mascli.workflows.loading import Opened, chosen_device, current_shared_sha256, open_checkpoint


def export(config: ExportConfig, observer: Observer) -> ExportResult:
    """Write the network as the chosen task has it, with its head in the classifier's place."""
    assert config.out is not None  # preflight
    device = chosen_device(config.device)
    opened = open_checkpoint(config.checkpoint, config, device, observer)
    task = _chosen(config, opened)
    prepared = opened.preprocessing
    generator = torch.Generator().manual_seed(config.seed)
    images = torch.randn(2, prepared.channels, *prepared.size, generator=generator).to(device)
    plain = plain_state(opened.model, task.name, len(task.classes), opened.spec, prepared, images)
    write_state_dict(
        config.out, plain.state, _facts(opened, task, plain), foreign=opened.foreign, overwrite=config.overwrite
    )
    pickled = is_pickled(config.out)
    return ExportResult(
        out=str(config.out),
        format="pytorch" if pickled else "safetensors",
        task=task.name,
        classes=task.classes,
        model=str(plain.spec),
        arguments=plain.spec.arguments,
        preprocessing=prepared,
        tensors=len(plain.state),
        parameters=sum(tensor.numel() for tensor in plain.state.values()),
        logits=plain.logits,
        left_out=plain.left_out,
        python=python_lines(plain.spec, prepared, len(task.classes), str(config.out), pickled),
    )


def _chosen(config: ExportConfig, opened: Opened) -> Task:
    """The task asked for, else the newest.

    Raises:
        CheckpointError: the checkpoint has no task yet.
        UsageError: it has no such task.
    """
    if not opened.tasks:
        raise CheckpointError(f"{printable(config.checkpoint)} has no task yet, so there is no head to export")
    if config.task is None:
        return opened.tasks[-1]
    check_task(config.task, opened.task_names, config.checkpoint)
    return next(task for task in opened.tasks if task.name == config.task)


def _facts(opened: Opened, task: Task, plain: Plain) -> dict[str, object]:
    """What a safetensors file says about itself: enough to build the network and to prepare images for it."""
    return {
        "task": task.name,
        "classes": task.classes,
        "model": asdict(plain.spec),
        "preprocessing": opened.preprocessing,
        "logits": plain.logits,
        "shared_sha256": current_shared_sha256(opened.model),
    }
