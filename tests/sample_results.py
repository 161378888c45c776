"""One result of each command, with names that a careless renderer would trip over."""

from __future__ import annotations

import math

from mascli.importance.filters import LayerMap
from mascli.importance.statistics import Histogram, LayerSummary
from mascli.importance.top import Ranked
from mascli.records import (
    CheckpointRecord,
    Contribution,
    LogitsAt,
    ModelSpec,
    OmegaRecord,
    Preprocessing,
    Reliability,
    Statistics,
    Step,
    Task,
)
from mascli.reports.average import AverageResult, TaskSource
from mascli.reports.demo import DemoResult, MethodResult
from mascli.reports.estimate import EstimateResult, LayerRow
from mascli.reports.evaluate import EvaluateResult, Gate, TaskRow
from mascli.reports.evaluate_classes import ClassRow, ConfusedPair
from mascli.reports.export_task import ExportResult
from mascli.reports.init import InitResult
from mascli.reports.inspect_result import InspectResult, LayerShapes
from mascli.reports.merge import MergeResult
from mascli.reports.run import Figure, MethodRun, PlannedSteps, RunResult, SeedResult, StepRow
from mascli.reports.train_task import DriftFacts, DriftRow, EpochRow, SearchFacts, TrainResult, TrialRow

PREPROCESSING = Preprocessing(size=(224, 224), resize_to=256)
STATISTICS = Statistics(mean=0.0123, median=0.00045, maximum=91.25, zeros=0.125)
SPEC = ModelSpec("torchvision", "resnet18", {"width": 64}, "fc")
SHA = "0123456789abcdef" * 4
RELIABILITY = Reliability(0.9814, 0.87, "layer4.1.conv2", 0.0612, 1_200)
HISTOGRAM = Histogram(
    zeros=1_398_101,
    not_finite=0,
    negative=0,
    edges=tuple(10.0**exponent for exponent in range(-8, 3)),
    counts=(12, 400, 81_000, 910_000, 3_400_000, 4_100_000, 1_200_000, 90_000, 310, 1),
)

INIT = InitResult(
    out="base.st",
    model="torchvision:resnet18",
    classifier="fc",
    parameters=11_176_512,
    tasks=("base",),
    preprocessing=PREPROCESSING,
)

_LAYERS = tuple(
    LayerRow(f"layer{stage}.{block}.conv{conv}", 36_864 * 4**stage, 0.05, 0.0123, 4.5e-4, 91.25, 0.0)
    for stage in range(1, 5)
    for block in range(2)
    for conv in (1, 2)
)

ESTIMATE = EstimateResult(
    out="[/]/base.omega",
    method="mas",
    heads=("base",),
    images=1_200,
    unreadable=(("photos/[bold].jpg", "truncated"), ("photos/\x1b[31mred.png", "not an image")),
    mean_squared_norm=812.5,
    statistics=STATISTICS,
    layers=_LAYERS,
    rules={"conv2d": 11_166_912, "batchnorm2d": 9_600},
    fallback={"class_token": "a bare parameter"},
    unused=("aux.fc.weight",),
    uncovered_tasks=("flowers",),
    contributions=1,
    batch_size=32,
    seconds=71.2,
    images_per_second=16.85,
    reliability=RELIABILITY,
)

TRAIN = TrainResult(
    out="flowers.st",
    task="flowers",
    classes=tuple(f"class {number}" for number in range(102)),
    train_images=918,
    val_images=102,
    unreadable=(),
    epochs=(
        EpochRow("head", 1, 3.21, 41.5),
        EpochRow("main", 1, 1.02, 81.25),
        EpochRow("main", 2, 0.0000123, 86.27),
    ),
    best_epoch=2,
    val_accuracy=86.27,
    val_interval=(78.3, 91.6),
    penalty="decoupled",
    lambda_=10.0,
    free=0.8123,
    slowed=0.15,
    held=0.0377,
    uncovered_tasks=("birds",),
    unprotected_parameters=("extra.weight",),
    warnings=("the training loss ended at 4.6, close to guessing (4.62): try a smaller --lambda or a larger --lr",),
    seconds=754.2,
    drift=DriftFacts(12.5, 0.031, 0.0154, (DriftRow("layer4.1.conv2", 8.25, 0.02), DriftRow("[/]", 4.25, 0.011))),
    lambda_search=SearchFacts(
        2.0,
        87.25,
        (
            TrialRow(0.0, 87.5, 210.0, 3.5, 0.259, False),
            TrialRow(0.125, 87.0, 205.0, 3.25, 0.253, False),
            TrialRow(10.0, 86.27, 12.5, 0.031, 0.0154, True),
            TrialRow(316.0, math.nan, None, None, None, False),
        ),
    ),
    collected="[/]/flowers.omega",
)

EVALUATE = EvaluateResult(
    checkpoint="new.st",
    tasks=(
        TaskRow(
            *("base", "data/base/test", 10, 1000, 912, 91.2, 89.3, 92.8, "flowers.st", 93.5, 2.3, 1),
            known_classes=12,
            top5=99.1,
            forgetting_low=1.0,
            forgetting_high=3.7,
            lost=33,
            gained=10,
            p_value=0.00061,
            no_answer=2,
            without_images=("[/]", "a\x1b[31mb"),
            per_class=(
                ClassRow("[bold]", 400, 388, 412, 97.0, 94.8, 98.3, 8, 3, 1.25),
                ClassRow("a name of a class that is rather long", 600, 524, 586, 87.3, 84.4, 89.8, 25, 7, 3.0),
                ClassRow("[/]", 0, 0, 0, None, None, None, 0, 0, None),
            ),
            confusion=(
                ConfusedPair("[bold]", "[bold]", 388),
                ConfusedPair("[bold]", "a name of a class that is rather long", 12),
                ConfusedPair("a name of a class that is rather long", "[bold]", 24),
                ConfusedPair("a name of a class that is rather long", "a name of a class that is rather long", 524),
            ),
        ),
        TaskRow(
            *("flowers", "data/flowers/[/]", 102, 510, 439, 86.08, 82.8, 88.8, "flowers.st", 86.08, -0.0),
            known_classes=102,
            top5=97.25,
            forgetting_low=-0.75,
            forgetting_high=0.75,
            lost=0,
            gained=0,
            p_value=1.0,
        ),
        TaskRow("birds", "data/birds/test", 5, 50, 50, 100.0, 92.9, 100.0, known_classes=5),
    ),
    average_accuracy=92.42,
    average_forgetting=1.15,
    not_evaluated=("cars",),
    gates=(
        Gate("min-accuracy", "base", 80.0, 91.2, True),
        Gate("max-forgetting", "base", 1.0, 2.3, False),
    ),
)

MERGE = MergeResult(
    out="all.omega",
    combine="ema",
    files=("one.omega", "[/]/two.omega"),
    factors=(0.75, 0.25),
    decay=0.75,
    images=2_400,
    contributions=2,
    statistics=STATISTICS,
    notes=("mean squared norms differ 14-fold: the larger one dominates",),
)

AVERAGE = AverageResult(
    out="both.st",
    mode="mode",
    files=("birds.st", "[/]/pets.st"),
    omegas=("birds.omega", "[/]/pets.omega"),
    weights=(0.25, 0.75),
    tasks=(TaskSource("base", "[/]/pets.st"), TaskSource("birds", "birds.st"), TaskSource("pets", "[/]/pets.st")),
    parameters=11_176_512,
    unweighed=0.0123,
)

EXPORT = ExportResult(
    out="[/]/pets.safetensors",
    format="safetensors",
    task="pets",
    classes=("[bold]", "dog"),
    model="torchvision:squeezenet1_1",
    arguments={"num_classes": 2},
    preprocessing=PREPROCESSING,
    tensors=52,
    parameters=723_522,
    logits=LogitsAt("classifier.1", (2, 3)),
    left_out=("aux1.fc2.weight", "aux1.fc2.bias"),
    python=(
        "import torchvision",
        "from safetensors.torch import load_file",
        "model = torchvision.models.squeezenet1_1(num_classes=2).eval()",
        "model.load_state_dict(load_file('[/]/pets.safetensors'), strict=True)",
    ),
)

_CONTRIBUTION = Contribution(("base",), 1_200, SHA, SHA, "", 812.5, STATISTICS, PREPROCESSING)
OMEGA = OmegaRecord(SPEC, "mas", "squared-l2", "abs", (_CONTRIBUTION, _CONTRIBUTION))

INSPECT_OMEGA = InspectResult(
    file="both.omega",
    kind="omega",
    bytes=44_712_000,
    parameters=11_179_824,
    omega=OMEGA,
    layers=(
        LayerSummary("conv1", 9_408, 0.25, 0.1, 0.05, 3.0, 91.25, 0.0, 0),
        LayerSummary("layer1.0.a_rather_long_name_of_a_block.depthwise_convolution", 36_864, 0.75, *[math.nan] * 5, 3),
    ),
    statistics=STATISTICS,
    histogram=HISTOGRAM,
    overall=LayerSummary("", 11_179_824, 1.0, 0.0123, 4.5e-4, 3.0, 91.25, 0.125, 3, 0.0, 0.02, 0.0, 2),
    histograms={"conv1": HISTOGRAM},
    each_histogram=True,
    top=(
        Ranked(1, "conv1.weight[3,1,0,2]", 1, 91.25, 0.000_663),
        Ranked(2, "[bold].\x1b[31mweight[0]", 1, 3.0, 0.000_02),
    ),
    by="parameters",
    map_=LayerMap("conv1", "conv1.weight", (6, 3, 7, 7), (0.0, 0.5, 91.25, math.inf, -1.0, 3.0)),
    dtypes={"F32": 11_179_824},
)

RECORD = CheckpointRecord(
    model=SPEC,
    preprocessing=PREPROCESSING,
    tasks=(Task("base", tuple(f"n{number:04}" for number in range(1000)), imported=True), Task("pets", ("[/]", "dog"))),
    lineage=(
        Step("init", SHA),
        Step(
            "train-task",
            SHA,
            "pets",
            omega_sha256=SHA,
            settings={"lambda": "inf"},
            result={"val_accuracy": 97.5, "drift": {"linear": 1.5}},
        ),
    ),
    shared=("conv1.weight", "bn1.weight"),
    buffers=("bn1.running_mean",),
    heads={"base": {"weight": "mascli.head.base.weight"}, "pets": {"weight": "mascli.head.pets.weight"}},
)

_SHAPES = (
    LayerShapes("conv1", 9_408, ("F32",), {"weight": (64, 3, 7, 7)}),
    LayerShapes("bn1", 257, ("F32", "I64"), {"weight": (64,), "bias": (64,), "num_batches_tracked": ()}),
)
INSPECT_CHECKPOINT = InspectResult(
    "pets.st",
    "checkpoint",
    46_800_000,
    9_665,
    checkpoint=RECORD,
    shapes=_SHAPES,
    dtypes={"F32": 9_664, "I64": 1},
    parts={"shared": 9_472, "buffers": 65, "heads": 128, "owned": 0},
    heads={"base": {"weight": (1000, 512), "bias": (1000,)}, "pets": {"weight": (2, 512)}},
)
INSPECT_TENSORS = InspectResult(
    "r18.safetensors",
    "tensors",
    812,
    9_665,
    shapes=_SHAPES,
    dtypes={"F32": 9_664, "I64": 1},
    network="torchvision:resnet18",
)

_TASKS = ("digits-12", "digits-34", "digits-56", "digits-78", "digits-90")
_COUNTS = (120, 121, 120, 118, 119)
DEMO = DemoResult(
    out="mascli-demo",
    tasks=_TASKS,
    methods={
        "finetune": MethodResult(
            tuple(tuple(100.0 - 9 * (after - task) for task in range(after + 1)) for after in range(5)),
            _COUNTS,
            82.0,
            100.0,
            22.5,
        ),
        "mas": MethodResult(tuple(tuple([99.17] * (after + 1)) for after in range(5)), _COUNTS, 99.17, 99.17, 0.0),
    },
    histogram=HISTOGRAM,
    omega="mascli-demo/mas/digits-90.omega",
    seed=0,
    seconds=31.4,
    next_steps=("mascli inspect mascli-demo/mas/digits-90.omega", "mascli demo --seed 1 --overwrite"),
)

_FIGURES = ("average_accuracy", "learning_accuracy", "forgetting", "forgetting_max", "forgetting_max_final")
_FIGURES += ("forgetting_all", "backward_transfer", "forward_transfer", "validation_accuracy")


def _method_run(name: str, strength: float | str | None, chosen: str | None, level: float) -> MethodRun:
    matrix = tuple(tuple(level - after + task for task in range(after + 1)) for after in range(5))
    figures: dict[str, Figure | None] = {
        figure: Figure(level, level - 0.3, level + 0.3, (level - 0.1, level + 0.1)) for figure in _FIGURES
    }
    figures["forward_transfer"] = None
    seeds = tuple(SeedResult(seed, matrix, (None, 0.5, 1.25, math.inf, 12.0), 97.0) for seed in (0, 1))
    return MethodRun(name, "mas", strength, chosen, matrix, figures, seeds)


RUN = RunResult(
    out="[/]/out",
    tasks=_TASKS,
    images=_COUNTS,
    seeds=(0, 1),
    methods=(
        _method_run("finetune", None, "only", 81.5),
        _method_run("mas-local-with-a-name", "auto", "only", 98.5),
        _method_run("mas", 0.1, "hindsight", 99.25),
        _method_run("mas", math.inf, None, 100.0),
        _method_run("ewc", 1.0, "validation", 97.0),
    ),
    forgetting=("max", "max-final", "all"),
    warnings=("seed-0/mas/[bold].train-task: the training loss ended close to guessing",),
    failed=(),
    steps=84,
    skipped=12,
    seconds=512.25,
    method_seconds={
        "finetune": 40.0,
        "mas-local-with-a-name, lambda auto": 300.0,
        "mas, lambda 0.1": 50.0,
        "mas, lambda inf": 50.25,
        "ewc, lambda 1": 72.0,
    },
)
STEPS = PlannedSteps(
    "out",
    (
        StepRow("seed-0/start.init", "mascli init --model mascli:mlp -o out/seed-0/start.safetensors", True),
        StepRow("seed-0/a.train-task", "mascli train-task x --task a --data [/]", False, ("another epochs",)),
    ),
)
