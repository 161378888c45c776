"""`mascli average`."""

from __future__ import annotations

from mascli.config import AverageConfig
from mascli.observer import Observer
from mascli.reports.report import Report


def average(config: AverageConfig, observer: Observer) -> Report:
    """Make one checkpoint of several that descend from a common one (IMM)."""
    from mascli.workflows.average_checks import check_average

    check_average(config)
    from mascli.reports.average import average_report
    from mascli.workflows.average import average as workflow

    return average_report(workflow(config, observer))
