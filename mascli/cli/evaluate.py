"""`mascli evaluate`."""

from __future__ import annotations

from mascli.config import EvaluateConfig
from mascli.observer import Observer
from mascli.reports.report import Report


def evaluate(config: EvaluateConfig, observer: Observer) -> Report:
    """Measure accuracy, and what was forgotten since a baseline."""
    from mascli.workflows.preflight import check_evaluate

    check_evaluate(config)
    from mascli.reports.evaluate import evaluate_report
    from mascli.workflows.evaluate import evaluate as workflow

    return evaluate_report(workflow(config, observer))
