"""`mascli report`."""

from __future__ import annotations

from mascli.config import ReportConfig
from mascli.observer import Observer
from mascli.reports.report import Report


def report(config: ReportConfig, observer: Observer) -> Report:
    """Make one page of HTML from the folder of a run or a demo."""
    from mascli.reports.page import page_report
    from mascli.workflows.report import report as workflow

    return page_report(workflow(config, observer))
