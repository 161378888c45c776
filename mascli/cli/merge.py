"""`mascli merge`."""

from __future__ import annotations

from mascli.config import MergeConfig
from mascli.observer import Observer
from mascli.reports.report import Report


def merge(config: MergeConfig, observer: Observer) -> Report:
    """Combine omegas: parts of one estimate, or successive tasks in their order."""
    from mascli.workflows.preflight import check_merge

    check_merge(config)
    from mascli.reports.merge import merge_report
    from mascli.workflows.merge import merge as workflow

    return merge_report(workflow(config, observer))
