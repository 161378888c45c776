"""`mascli init`: a checkpoint, fresh or from weights that exist."""

from __future__ import annotations

import torch

from mascli.config import InitConfig
from mascli.files.tensor_file import file_sha256
from mascli.observer import Observer
from mascli.records import Step
from mascli.reports.init import InitResult
from mascli.workflows.loading import chosen_device, current_shared_sha256, save_checkpoint, start_checkpoint


def init(config: InitConfig, observer: Observer) -> InitResult:
    """Build the model, with random weights of `seed` or those of a file, and write it down."""
    assert config.out is not None  # preflight
    torch.manual_seed(config.seed)
    opened = start_checkpoint(config, config.weights, chosen_device(config.device), observer)
    step = Step(
        command="init",
        shared_sha256=current_shared_sha256(opened.model),
        parent_sha256=file_sha256(config.weights) if config.weights else None,
        settings={} if config.weights else {"seed": config.seed},
    )
    save_checkpoint(config.out, opened, step, overwrite=config.overwrite)
    return InitResult(
        out=str(config.out),
        model=str(opened.spec),
        classifier=opened.spec.classifier,
        parameters=sum(p.numel() for p in opened.model.shared_parameters().values()),
        tasks=opened.task_names,
        preprocessing=opened.preprocessing,
    )
