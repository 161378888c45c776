"""`mascli train-task`."""

from __future__ import annotations

from mascli.config import TrainTaskConfig
from mascli.observer import Observer
from mascli.reports.report import Report


def train_task(config: TrainTaskConfig, observer: Observer) -> Report:
    """Learn one task, and leave the important parameters alone."""
    from mascli.workflows.preflight import check_train_task

    check_train_task(config)
    from mascli.reports.train_task import train_task_report
    from mascli.workflows.train_task import train_task as workflow

    return train_task_report(workflow(config, observer))
