"""`mascli run`."""

from __future__ import annotations

from mascli.config import RunConfig
from mascli.observer import Observer
from mascli.reports.report import Report


def run(config: RunConfig, observer: Observer) -> Report:
    """Learn a whole sequence of tasks, by one or several methods."""
    from mascli.workflows.sequences.run_checks import check_run

    sequence = check_run(config)
    if config.dry_run:
        from mascli.reports.run import steps_report
        from mascli.workflows.sequences.run_checks import planned_steps

        return steps_report(planned_steps(config, sequence))
    from mascli.reports.run import run_report
    from mascli.workflows.run import run as workflow

    return run_report(workflow(config, sequence, observer))
