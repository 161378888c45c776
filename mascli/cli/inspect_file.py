"""`mascli inspect`."""

from __future__ import annotations

from mascli.config import InspectConfig
from mascli.observer import Observer
from mascli.reports.report import Report


def inspect_file(config: InspectConfig, observer: Observer) -> Report:
    """Show what a checkpoint or an omega holds."""
    from mascli.workflows.preflight import check_inspect

    check_inspect(config)
    from mascli.reports.inspect_file import inspect_report
    from mascli.workflows.inspect_file import inspect_file as workflow

    return inspect_report(workflow(config))
