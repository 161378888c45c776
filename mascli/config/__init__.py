"""The settings of each command, and where their values come from: flags, a YAML file, defaults."""

from mascli.config.checks import flag_of, range_problems, reports_of
from mascli.config.commands import (
    UNIFORM,
    AverageConfig,
    Common,
    DemoConfig,
    EstimateConfig,
    EvaluateConfig,
    ExportConfig,
    ImageOptions,
    InitConfig,
    InspectConfig,
    MergeConfig,
    ModelOptions,
    OnError,
    ReportConfig,
    Resize,
    RunConfig,
    TrainTaskConfig,
)
from mascli.config.resolve import resolve
from mascli.config.training_checks import rehearsal_folders, wants_search

__all__ = [
    "UNIFORM",
    "AverageConfig",
    "Common",
    "DemoConfig",
    "EstimateConfig",
    "EvaluateConfig",
    "ExportConfig",
    "ImageOptions",
    "InitConfig",
    "InspectConfig",
    "MergeConfig",
    "ModelOptions",
    "OnError",
    "ReportConfig",
    "Resize",
    "RunConfig",
    "TrainTaskConfig",
    "flag_of",
    "range_problems",
    "rehearsal_folders",
    "reports_of",
    "resolve",
    "wants_search",
]
