"""`mascli inspect`."""

from __future__ import annotations

from mascli.config import InspectConfig
from mascli.observer import Observer
from mascli.reports.report import Report


def inspect_file(config: InspectConfig, observer: Observer) -> Report:
    """Show what a checkpoint or an omega holds, or how two files differ.

    With OTHER: of two omegas, the correlation of values and of their order, the overlap of the largest, a
    scatter, and where they differ most; of two checkpoints, what changed in each layer, and, with
    --omega, how much of what matters was moved. Files of different networks end with exit code 4.
    """
    if config.other is not None:
        return _compare(config, observer)
    from mascli.workflows.inspect_file import check_inspect
    from mascli.workflows.inspect_file import inspect_file as workflow

    check_inspect(config)
    from mascli.reports.inspect_file import inspect_report

    return inspect_report(workflow(config))


def _compare(config: InspectConfig, observer: Observer) -> Report:
    """Show how two files differ."""
    from mascli.workflows.compare_checks import check_compare

    pair = check_compare(config)
    from mascli.reports.change import change_report
    from mascli.reports.comparison import OmegaPairResult, comparison_report
    from mascli.workflows.compare_files import compare_files

    result = compare_files(config, pair, observer)
    return comparison_report(result) if isinstance(result, OmegaPairResult) else change_report(result)
