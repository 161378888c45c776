"""Which heads an estimate measures the tensors of, beside the parameters that all tasks share."""

from __future__ import annotations

from mascli.config import EstimateConfig
from mascli.files.records_json import omega_record
from mascli.files.tensor_file import read_header
from mascli.workflows.loading import Opened


def heads_to_measure(config: EstimateConfig, opened: Opened, tasks: tuple[str, ...]) -> tuple[str, ...]:
    """The heads to measure: with `--heads` those of `tasks`, and those that the previous omega knows.

    Heads that several tasks use are shared, and measured without being asked for.

    Args:
        tasks: whose answers are measured.

    Raises:
        CheckpointError: the previous omega is none.
    """
    previous = omega_record(read_header(config.previous)).contributions if config.previous is not None else ()
    before = {task for part in previous for task in part.heads_sha256}
    return (*(tasks if config.heads else ()), *(task for task in opened.task_names if task in before))
