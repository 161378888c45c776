"""`mascli inspect` of two files, as a typed result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mascli.config import InspectConfig
from mascli.observer import Observer
from mascli.reports.change import CheckpointPairResult
from mascli.reports.comparison import OmegaPairResult
from mascli.workflows.compare_checks import check_compare
from mascli.workflows.compare_files import compare_files


def compare(first: Path, second: Path, **settings: Any) -> Any:
    config = InspectConfig(file=first, other=second, **settings)
    return compare_files(config, check_compare(config), Observer())


def omegas(first: Path, second: Path, **settings: Any) -> OmegaPairResult:
    found = compare(first, second, **settings)
    assert isinstance(found, OmegaPairResult)
    return found


def checkpoints(first: Path, second: Path, **settings: Any) -> CheckpointPairResult:
    found = compare(first, second, **settings)
    assert isinstance(found, CheckpointPairResult)
    return found
