"""Results of `mascli inspect` with two files, made of numbers by hand."""

from __future__ import annotations

import numpy as np

from mascli.importance.change import Change, Weighed
from mascli.importance.comparison import Agreement, LeftOut, OmegaComparison
from mascli.importance.density import Density, DensityGrid
from mascli.reports.change import BufferChange, CheckpointPairResult, HeadChange
from mascli.reports.comparison import OmegaPairResult, PairImages


def _scatter() -> Density:
    """Around the diagonal from 1e-6 to 1, with some zeros on either side."""
    first = np.geomspace(1e-6, 1, 5000).astype(np.float32)
    second = first * np.geomspace(0.5, 2, 100).astype(np.float32)[np.arange(5000) % 100]
    second[::50] = 0
    first[::70] = 0
    grid = DensityGrid((1e-6, float(first.max())), (5e-7, float(second.max())))
    grid.add(first, second)
    return grid.density()


INSPECT_OMEGAS = OmegaPairResult(
    files=("train.omega", "[/]/test.omega"),
    model="torchvision:resnet18",
    images=PairImages(1_200, 600, 40),
    differences=("measured on weights: 01234567 in the first, 89abcdef in the second",),
    comparison=OmegaComparison(
        overall=Agreement(
            "overall", 5_002, 5_000, 1.0, 1.0, 0.9817, 0.9342, 0.875, 0.9012, 0.92, 0.1875, 1.0625, change=1.0
        ),
        layers=(
            Agreement("conv1", 2_000, 2_000, 0.25, 0.3, 0.99, 0.95, 1.0, 0.93, 0.95, 0.125, 1.275, change=0.6),
            Agreement(
                "layer1.0.conv1", 3_000, 3_000, 0.75, 0.7, 0.9712, 0.9123, 0.8, 0.88, 0.9, 0.2083, 0.9917, change=0.4
            ),
            Agreement("layer1.0.bn1", 2, 0, 0.0, 0.0, None, None, None, None, None, 0.0, None, change=0.0),
        ),
        elsewhere=0.0833,
        scatter=_scatter(),
        first_left_out=LeftOut(not_finite=2),
        second_left_out=LeftOut(negative=1),
    ),
    notes=("train.omega: 2 values are not finite, and left out; no importance is like that",),
)

INSPECT_CHECKPOINTS = CheckpointPairResult(
    kind="checkpoints",
    files=("base.st", "[/]/flowers.st"),
    model="torchvision:resnet18",
    relation="the second descends from the first, by 1 step (train-task flowers)",
    descends=True,
    differences=(),
    heads=HeadChange(added=("flowers",), removed=(), changed=()),
    overall=Change("overall", 5_000, 4_000, 0.0123, 0.0111, 0.25, 0, Weighed(1.0, 0.97, 0.003, 1.0)),
    layers=(
        Change("conv1", 2_000, 1_000, 0.01, 0.009, 0.25, 0, Weighed(0.25, 0.9, 0.006, 0.5)),
        Change("layer1.0.conv1", 3_000, 3_000, 0.0131, 0.0118, 0.125, 0, Weighed(0.75, 1.0, 0.002, 0.5)),
    ),
    buffers=(BufferChange("bn1.running_mean", 64, 0, 0.0, 0.0, 0),),
    omega="base.omega",
)
