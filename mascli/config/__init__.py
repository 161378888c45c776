"""The settings of each command, and where their values come from: flags, a YAML file, defaults."""

from mascli.config.checks import flag_of, range_problems
from mascli.config.commands import (
    Common,
    DemoConfig,
    EstimateConfig,
    EvaluateConfig,
    ImageOptions,
    InitConfig,
    InspectConfig,
    MergeConfig,
    ModelOptions,
    OnError,
    Resize,
    TrainTaskConfig,
)
from mascli.config.resolve import resolve

__all__ = [
    "Common",
    "DemoConfig",
    "EstimateConfig",
    "EvaluateConfig",
    "ImageOptions",
    "InitConfig",
    "InspectConfig",
    "MergeConfig",
    "ModelOptions",
    "OnError",
    "Resize",
    "TrainTaskConfig",
    "flag_of",
    "range_problems",
    "resolve",
]
