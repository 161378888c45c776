"""`mascli init`."""

from __future__ import annotations

from mascli.config import InitConfig
from mascli.observer import Observer
from mascli.reports.report import Report


def init(config: InitConfig, observer: Observer) -> Report:
    """Make a checkpoint, fresh or from weights that exist."""
    from mascli.workflows.preflight import check_init

    check_init(config)
    from mascli.reports.init import init_report
    from mascli.workflows.init import init as workflow

    return init_report(workflow(config, observer))
