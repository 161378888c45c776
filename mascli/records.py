"""What checkpoints and omegas say about themselves, as frozen dataclasses (file formats: `docs/files.md`).

These are facts without tensors: `files/` stores them as JSON, everything above reads them here.
"""

from __future__ import annotations

import re
from dataclasses import Field, dataclass, field
from typing import Any, Literal

FORMAT_VERSION = 4  # what this program knows; a file says the lowest that can read it

FEWEST_IMAGES = 64  # below, the reliability of an estimate is itself too uncertain to go by

# Fields that stand in no file where they have their default: files without them keep the bytes they always had.
LEFT_OUT = {"left out": True}

TASK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def task_name_problem(name: str, existing: tuple[str, ...] = ()) -> str | None:
    """Why `name` cannot name a new task beside `existing` ones, or None if it can.

    Names are letters, digits, `_` and `-`, at most 64, and unique ignoring case: they become part
    of tensor names and of file names on systems that ignore case.
    """
    if not TASK_NAME.fullmatch(name):
        return "a task name is 1 to 64 letters, digits, '_' or '-', and starts with a letter or digit"
    if name.lower() in (other.lower() for other in existing):
        return f"the checkpoint already has a task of that name (tasks: {', '.join(existing)})"
    return None


def head_tensor(task: str, name: str) -> str:
    """What the tensor `name` of the head of `task` is called in files and among shared parameters."""
    return f"mascli.head.{task}.{name}"


def head_owner(tensor: str) -> str | None:
    """The task whose head a tensor of this name belongs to; None for any other tensor."""
    mascli, _, rest = tensor.partition(".head.")
    task, dot, _ = rest.partition(".")
    return task if mascli == "mascli" and dot else None


def is_left_out(field: Field[Any], value: object) -> bool:
    """Whether a field of a record stands in no file, since it says nothing."""
    return "left out" in field.metadata and not value


@dataclass(frozen=True)
class ModelSpec:
    """How to build the network: `source:name` and its arguments (JSON scalars).

    `classifier` is the path of the layer that task heads replace, such as `fc` or `classifier.6`.
    """

    source: str
    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    classifier: str = ""

    def __str__(self) -> str:
        return f"{self.source}:{self.name}"


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes a network's input: one for each checkpoint.

    `size` is (height, width) of the input. `resize` says how an image gets there: `shorter` scales
    the shorter side to `resize_to` pixels and cuts `size` out of the middle, `squash` scales to
    `size` whatever the proportions, `none` wants images of exactly that size. Pixels in [0, 1] then
    become (pixel - mean) / std, channel by channel.
    """

    size: tuple[int, ...]
    resize: Literal["shorter", "squash", "none"] = "shorter"
    resize_to: int = 0
    interpolation: Literal["bilinear", "bicubic", "nearest", "lanczos"] = "bilinear"
    channels: int = 3
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Task:
    """One task of a checkpoint: its name, and its classes in the order of its head's outputs.

    `imported` marks the head that came with the weights: its outputs are the network's own, with
    whatever follows the classifier layer. Other heads are read where the classifier layer is. `head`
    names the earlier task whose head this one uses, of the same classes; None: it has its own.
    """

    name: str
    classes: tuple[str, ...]
    kind: Literal["classification"] = "classification"
    imported: bool = False
    head: str | None = field(default=None, metadata=LEFT_OUT)


@dataclass(frozen=True)
class Step:
    """One command that changed the parameters: what it started from, used, and came to.

    `parent_sha256` and `omega_sha256` are hashes of whole files, `shared_sha256` of the shared
    parameters and buffers after the step, `data_fingerprint` of the images it learned from.
    `heads_before` are those of the heads that several tasks use, as the step found them.
    """

    command: str
    shared_sha256: str
    task: str | None = None
    parent_sha256: str | None = None
    omega_sha256: str | None = None
    data_fingerprint: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    result: dict[str, Any] = field(default_factory=dict)
    heads_before: tuple[str, ...] = field(default=(), metadata=LEFT_OUT)


@dataclass(frozen=True)
class CheckpointRecord:
    """Everything a checkpoint says about itself.

    `shared` (parameters), `buffers`, `heads` and `owned` are the name table: which tensors of the file
    belong to what; `heads` maps task -> parameter of the head -> tensor in the file, `owned` task ->
    tensor of the network that each task has of its own -> tensor in the file, `aliases` a tied name ->
    the stored one.
    `lineage` lists the steps from the first to the newest; the last one describes this file.
    """

    model: ModelSpec
    preprocessing: Preprocessing
    tasks: tuple[Task, ...]
    lineage: tuple[Step, ...]
    shared: tuple[str, ...]
    buffers: tuple[str, ...]
    heads: dict[str, dict[str, str]]
    aliases: dict[str, str] = field(default_factory=dict)
    owned: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def own_names(self) -> frozenset[str]:
        """The tensors of the network that each task has of its own."""
        return frozenset(name for table in self.owned.values() for name in table)

    @property
    def task_names(self) -> tuple[str, ...]:
        """The names of the tasks in the order learned."""
        return tuple(task.name for task in self.tasks)

    @property
    def common_heads(self) -> dict[str, tuple[str, ...]]:
        """The tasks that use each head that several use, by the task that it was learned for."""
        owners = dict.fromkeys(task.head for task in self.tasks if task.head is not None)
        return {one: tuple(task.name for task in self.tasks if one in (task.name, task.head)) for one in owners}

    @property
    def shared_sha256(self) -> str:
        """The hash of this checkpoint's shared parameters and buffers."""
        return self.lineage[-1].shared_sha256

    @property
    def ancestry(self) -> frozenset[str]:
        """The hashes of the shared parameters of this checkpoint and of all it came from."""
        return frozenset(step.shared_sha256 for step in self.lineage)


@dataclass(frozen=True)
class LogitsAt:
    """Where a plain network has the logits of a task, if not at its end: the output of `layer`, averaged over dims."""

    layer: str
    mean_over: tuple[int, ...]


@dataclass(frozen=True)
class Statistics:
    """Mean, median, maximum and share of exact zeros of an omega's values."""

    mean: float
    median: float
    maximum: float
    zeros: float


@dataclass(frozen=True)
class Contribution:
    """One estimate inside an omega: the answers of which heads, on which images, of which weights.

    `mean_squared_norm` is E|F|^2 over the images, the scale of the estimate. `fingerprint` hashes
    the sorted content hashes of the images; `image_hashes` holds the first 8 bytes of each, sorted,
    in base64, so that two sets can be told to overlap. `unused` lists parameters outside the
    evaluation pass, whose importance is zero. `weight` is the factor of this estimate in the values
    of the file; `normalized` says that it includes 1/E|F|^2. All else describes the estimate itself.
    `heads_sha256` are the heads whose own tensors were measured too, with the hash of each. `reliability`
    is there where several estimates were combined, of those that had one: an estimate alone tells it for
    the whole file.
    """

    heads: tuple[str, ...]
    images: int
    shared_sha256: str
    fingerprint: str
    image_hashes: str
    mean_squared_norm: float
    statistics: Statistics
    preprocessing: Preprocessing
    weight: float = 1.0
    unused: tuple[str, ...] = ()
    normalized: bool = False
    heads_sha256: dict[str, str] = field(default_factory=dict, metadata=LEFT_OUT)
    reliability: Reliability | None = field(default=None, metadata=LEFT_OUT)


@dataclass(frozen=True)
class Reliability:
    """How well the two halves of an estimate's images agree: its noise, not whether the images are the right ones.

    `overall` (0 to 1) is the correlation to expect with the omega of as many other images of the
    kind, averaged over layers by their number of parameters; `lowest` that of `lowest_layer`.
    `half_difference` (0 to 1) is, on average, a lower bound of the relative error
    sum |error| / sum omega. `images` is how many there were in both halves together.
    """

    overall: float
    lowest: float
    lowest_layer: str
    half_difference: float
    images: int


@dataclass(frozen=True)
class OmegaRecord:
    """Everything an omega says about itself.

    The values are the sum over the contributions of weight * Omega, and where `combine` is "max"
    their largest; other rules differ in the weights alone. `reliability` is that of the values: None
    where nobody measured it, and of what was combined.
    """

    model: ModelSpec
    method: str
    objective: str
    reduction: str
    contributions: tuple[Contribution, ...]
    combine: Literal["pool", "sum", "max", "mean", "ema"] = "sum"
    reliability: Reliability | None = None

    @property
    def covered_tasks(self) -> frozenset[str]:
        """The tasks whose answers this omega knows about; an estimate of weight 0, or all zero, says nothing."""
        return frozenset(
            h for part in self.contributions if part.weight and part.statistics.maximum for h in part.heads
        )

    @property
    def reliabilities(self) -> tuple[Reliability | None, ...]:
        """The reliability of each contribution, in their order; None where nobody measured it."""
        if len(self.contributions) == 1:
            return (self.reliability,)
        return tuple(part.reliability for part in self.contributions)

    @property
    def zero_tasks(self) -> frozenset[str]:
        """The tasks that were measured, and whose importance is zero everywhere."""
        measured = frozenset(head for part in self.contributions if part.weight for head in part.heads)
        return measured - self.covered_tasks
