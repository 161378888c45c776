"""The settings of each command, one frozen dataclass a command. None: not given, or settled later."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Resize = Literal["shorter", "squash", "none"]
OnError = Literal["skip", "fail"]

UNIFORM = Path("uniform")  # in place of an omega: importance 1 everywhere


@dataclass(frozen=True, kw_only=True)
class Common:
    """What every command takes. `out` is where its file or folder goes."""

    out: Path | None = None
    overwrite: bool = False
    device: str = "auto"
    seed: int = 0
    format: Literal["table", "json", "csv"] = "table"
    report: tuple[Path, ...] = ()
    quiet: bool = False
    verbose: bool = False
    ascii_: bool = False


@dataclass(frozen=True, kw_only=True)
class ModelOptions(Common):
    """How to read weights that carry no mascli metadata, and which code may run for it."""

    model: str | None = None
    model_arg: tuple[str, ...] = ()
    classifier: str | None = None
    head_name: str = "base"
    classes: Path | None = None
    image_size: tuple[int, ...] | None = None
    resize: Resize | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    channels: int | None = None
    trust_model_code: bool = False


@dataclass(frozen=True, kw_only=True)
class InitConfig(ModelOptions):
    """`mascli init`: make a checkpoint, fresh or from weights that exist."""

    weights: Path | None = None


@dataclass(frozen=True, kw_only=True)
class ImageOptions(ModelOptions):
    """How commands that read image folders do it."""

    checkpoint: Path
    workers: int | None = None
    on_error: OnError = "skip"


@dataclass(frozen=True, kw_only=True)
class EstimateConfig(ImageOptions):
    """`mascli estimate`: importance of every shared parameter, from any image folder."""

    data: Path
    batch_size: int | None = None  # settled by the model
    memory: float | None = None
    task: str | None = None
    all_tasks: bool = False
    heads: bool = False
    method: Literal["mas", "mas-local", "ewc", "anpyc"] | None = None
    objective: Literal["squared-l2", "l1", "l2", "each-output", "entropy", "log-likelihood"] | None = None
    reduction: Literal["abs", "square", "taylor", "batch"] | None = None
    labels: Literal["drawn", "given"] = "drawn"
    compat: Literal["official", "avalanche", "facil"] | None = None
    limit: int | None = None
    until_reliability: float | None = None
    order: Literal["seeded", "path"] = "seeded"
    resume: bool = False
    verify: int | None = None
    autotune: bool = False
    precision: Literal["float32", "tf32", "bf16"] = "float32"
    previous: Path | None = None
    combine: Literal["sum", "max", "mean", "ema"] = "sum"
    decay: float = 0.5


@dataclass(frozen=True, kw_only=True)
class TrainTaskConfig(ImageOptions):
    """`mascli train-task`: learn one task and leave the important parameters alone.

    None stands for a default that depends on the checkpoint: `lr` is 0.01 for one without tasks and
    0.001 otherwise, `head_epochs` 0 and 1, `batchnorm` "train" and "freeze". With an omega, `lambda_`
    None is "auto". `rehearse` holds TASK=FOLDER, `max_drop` percentage points. `head_of` is the task
    whose head the new one uses; then, and where the head's importance is collected (`heads`),
    `head_epochs` is 0.
    """

    task: str
    data: Path
    head_of: str | None = None
    batch_size: int = 64
    omega: tuple[Path, ...] = ()
    anchor: tuple[Path, ...] = ()
    lambda_: float | Literal["auto"] | None = None
    max_drop: float = 2.0
    max_trials: int = 10
    penalty: Literal["decoupled", "loss"] = "decoupled"
    require_protection: bool = False
    distill: float | None = None
    temperature: float = 2.0
    rehearse: tuple[str, ...] = ()
    collect: Path | None = None
    heads: bool = False
    damping: float = 0.1
    batchnorm: Literal["freeze", "per-task", "train"] | None = None
    val: Path | None = None
    val_split: float = 0.1
    epochs: int = 10
    head_epochs: int | None = None
    lr: float | None = None
    head_lr: float = 0.01
    schedule: Literal["constant", "step", "cosine"] = "constant"
    optimizer: Literal["sgd", "adamw"] = "sgd"
    momentum: float = 0.9
    nesterov: bool = False
    dampening: float = 0.0
    weight_decay: float = 0.0
    clip_norm: float | None = None
    augment: Literal["none", "flip", "standard"] = "none"
    resume: bool = False
    cache: Literal["auto", "memory", "none"] = "auto"


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(ImageOptions):
    """`mascli evaluate`: accuracy of each task, and what was forgotten since a baseline.

    `data` holds one FOLDER, or one TASK=FOLDER a task; `data_root` is a folder with one folder a
    task; `task` are those to evaluate, all if it is empty. `min_accuracy` (percent) and `max_forgetting`
    (percentage points) hold one NUMBER for every task, and TASK=NUMBER for those with a limit of their own,
    which beats it.
    """

    batch_size: int = 32
    data: tuple[str, ...] = ()
    data_root: Path | None = None
    task: tuple[str, ...] = ()
    baseline: tuple[Path, ...] = ()
    min_accuracy: tuple[str, ...] = ()
    max_forgetting: tuple[str, ...] = ()
    per_class: bool = False
    plot: Path | None = None


@dataclass(frozen=True, kw_only=True)
class InspectConfig(Common):
    """`mascli inspect`: what a checkpoint or an omega holds, or how two of them differ.

    `layer` are patterns of layer names as in a shell, `map_` the layer whose filters are drawn; `omega`
    weighs what changed between two checkpoints.
    """

    file: Path
    other: Path | None = None
    omega: Path | None = None
    layer: tuple[str, ...] = ()
    histogram: bool = False
    bins: int = 24
    top: int | None = None
    by: Literal["parameters", "filters", "tensors"] = "parameters"
    map_: str | None = None
    plot: Path | None = None


@dataclass(frozen=True, kw_only=True)
class ReportConfig(Common):
    """`mascli report`: one page of HTML from the folder that a run or the demo has left."""

    folder: Path
    html: Path


@dataclass(frozen=True, kw_only=True)
class MergeConfig(Common):
    """`mascli merge`: combine omegas, parts of one estimate (pool) or successive tasks (the other rules).

    `weights` are one factor a file, `decay` what `ema` keeps of the files before the next one.
    """

    omegas: tuple[Path, ...]
    combine: Literal["pool", "sum", "max", "mean", "ema"]
    weights: tuple[float, ...] = ()
    decay: float = 0.5
    normalize: bool = False


@dataclass(frozen=True, kw_only=True)
class RunConfig(Common):
    """`mascli run`: a whole sequence of tasks, by one or several methods. `out` is a folder.

    `seed` is that of a sequence that names none; `forgetting` are definitions to show beside our own.
    """

    sequence: Path
    dry_run: bool = False
    plot: Path | None = None
    forgetting: tuple[Literal["max", "max-final", "all"], ...] = ()
    trust_model_code: bool = False


@dataclass(frozen=True, kw_only=True)
class ExportConfig(ModelOptions):
    """`mascli export`: one task as plain weights that its library loads."""

    checkpoint: Path
    task: str | None = None


@dataclass(frozen=True, kw_only=True)
class AverageConfig(Common):
    """`mascli average`: one checkpoint from several of a common ancestor (IMM).

    `mode` "mean" is the mean of the parameters, "mode" that weighed by importance, for which `omega` has
    one file a checkpoint; `weights` are one factor a checkpoint.
    """

    checkpoints: tuple[Path, ...]
    mode: Literal["mean", "mode"] = "mean"
    weights: tuple[float, ...] = ()
    omega: tuple[Path, ...] = ()
    trust_model_code: bool = False


@dataclass(frozen=True, kw_only=True)
class DemoConfig(Common):
    """`mascli demo`: five tasks of real handwritten digits, with and without importance."""

    out: Path | None = Path("mascli-demo")
