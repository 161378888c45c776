"""What `mascli inspect` has found in one file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from mascli.records import CheckpointRecord, OmegaRecord, Statistics

if TYPE_CHECKING:
    from mascli.importance.filters import LayerMap
    from mascli.importance.statistics import Histogram, LayerSummary
    from mascli.importance.top import Ranked, Unit


@dataclass(frozen=True)
class LayerShapes:
    """The tensors of one layer of a file without importance: their dtypes, and the shape of each by its last name."""

    name: str
    parameters: int
    dtypes: tuple[str, ...]
    shapes: dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class InspectResult:
    """What a tensor file is: `kind` says which of `checkpoint` and `omega` is there ("tensors": neither).

    `parameters` counts all values in the file, `dtypes` those of each dtype. `layers` (those that were asked
    for), `overall`, `statistics` and `histogram` describe an omega's values, `histograms` those of each layer
    in the same bins; `each_histogram` says that they are to be shown. `top` are the most important units
    `by`, `top_left_out` counts the parameters or filters that are not ranked since they are not finite (of
    tensors: the values that their sums leave out), `map_` the filters of a layer. `shapes` are the tensors of
    any other file, `parts` counts the values of a checkpoint by what they belong to, `heads` has the shapes
    of each task's head. `network` is the architecture that plain tensors are of, `exported` what mascli said
    of them when it wrote them.
    """

    file: str
    kind: Literal["checkpoint", "omega", "tensors"]
    bytes: int
    parameters: int
    checkpoint: CheckpointRecord | None = None
    omega: OmegaRecord | None = None
    layers: tuple[LayerSummary, ...] = ()
    shapes: tuple[LayerShapes, ...] = ()
    statistics: Statistics | None = None
    histogram: Histogram | None = None
    overall: LayerSummary | None = None
    histograms: dict[str, Histogram] = field(default_factory=dict)
    each_histogram: bool = False
    top: tuple[Ranked, ...] | None = None
    by: Unit | None = None
    top_left_out: int | None = None
    map_: LayerMap | None = None
    dtypes: dict[str, int] = field(default_factory=dict)
    parts: dict[str, int] = field(default_factory=dict)
    heads: dict[str, dict[str, tuple[int, ...]]] = field(default_factory=dict)
    network: str | None = None
    exported: dict[str, Any] | None = None
