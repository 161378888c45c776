"""`mascli export`."""

from __future__ import annotations

from mascli.config import ExportConfig
from mascli.observer import Observer
from mascli.reports.report import Report


def export(config: ExportConfig, observer: Observer) -> Report:
    """Write one task as plain weights that torchvision, timm or your own code loads."""
    from mascli.workflows.preflight import check_export

    check_export(config)
    from mascli.reports.export_task import export_report
    from mascli.workflows.export import export as workflow

    return export_report(workflow(config, observer))
