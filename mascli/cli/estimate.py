"""`mascli estimate`."""

from __future__ import annotations

from mascli.config import EstimateConfig
from mascli.observer import Observer
from mascli.reports.report import Report


def estimate(config: EstimateConfig, observer: Observer) -> Report:
    """Measure how much the answers depend on each parameter."""
    from mascli.workflows.preflight import check_estimate

    check_estimate(config)
    from mascli.reports.estimate import estimate_report
    from mascli.workflows.estimate import estimate as workflow

    return estimate_report(workflow(config, observer))
