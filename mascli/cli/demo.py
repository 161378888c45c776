"""`mascli demo`."""

from __future__ import annotations

from mascli.config import DemoConfig
from mascli.observer import Observer
from mascli.reports.report import Report


def demo(config: DemoConfig, observer: Observer) -> Report:
    """See it work on real handwritten digits, in about a minute."""
    from mascli.workflows.preflight import check_demo

    check_demo(config)
    from mascli.reports.demo import demo_report
    from mascli.workflows.demo import demo as workflow

    return demo_report(workflow(config, observer))
