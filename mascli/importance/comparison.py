"""How two omegas of one network differ: correlation, order, scale, and where the importance sits.

Values are read block by block. Ranks need all of them: 8 bytes a pair, sorted in place. A pair with a
value that is negative or not finite is counted, and left out of everything else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import NDArray

from mascli.files.tensor_file import Header, read_array
from mascli.importance.density import Density, DensityGrid
from mascli.importance.layer_names import layer_of, natural_order
from mascli.importance.pair_sums import PairSums, pair_sums
from mascli.importance.rank_agreement import BLOCK, Pairs, RankAgreement, pack, rank_agreement

Float32 = NDArray[np.float32]
Advance = Callable[[int], None]

SWEEPS = 3  # over the values of each layer


@dataclass(frozen=True)
class Agreement:
    """How two omegas agree in one layer, or overall.

    `parameters` are all values, `compared` those that are finite and not negative in both files. The
    shares are the layer's part of each file's total. `pearson` and `spearman` are None where one side
    has no two values that differ. `top_1`, `top_5` and `top_10` are the overlap (0 to 1) of the largest
    1, 5 and 10 % (see `rank_agreement`), None where nothing is compared. `relative_l1` is Σ|B - A| / ΣA
    and `scale` ΣB / ΣA, None where ΣA is 0. `change` is the layer's part of all change after each file
    was divided by its own total, None where one of the totals is 0.
    """

    name: str
    parameters: int
    compared: int
    first_share: float
    second_share: float
    pearson: float | None
    spearman: float | None
    top_1: float | None
    top_5: float | None
    top_10: float | None
    relative_l1: float | None
    scale: float | None
    change: float | None


@dataclass(frozen=True)
class LeftOut:
    """Values of one file that no comparison has a place for."""

    not_finite: int = 0
    negative: int = 0


@dataclass(frozen=True)
class OmegaComparison:
    """`elsewhere` is the share of the importance that sits on other parameters: ½ Σ|A/ΣA - B/ΣB|.

    It is None where ΣA or ΣB is 0.
    """

    overall: Agreement
    layers: tuple[Agreement, ...]
    elsewhere: float | None
    scatter: Density
    first_left_out: LeftOut
    second_left_out: LeftOut


@dataclass(frozen=True)
class _Layer:
    """The tensors of one layer, the number of its values, and its sums."""

    name: str
    tensors: tuple[str, ...]
    parameters: int
    sums: PairSums


class _Files:
    """Two files with the same tensors."""

    def __init__(self, first: Header, second: Header) -> None:
        self.first, self.second = first, second

    def blocks(self, tensors: Sequence[str]) -> Iterator[tuple[Float32, Float32]]:
        """All pairs of these tensors, block by block."""
        for name in tensors:
            one, other = (np.ravel(read_array(header, name)) for header in (self.first, self.second))
            for start in range(0, one.size, BLOCK):
                yield one[start : start + BLOCK], other[start : start + BLOCK]

    def valid(self, tensors: Sequence[str]) -> Iterator[tuple[Float32, Float32]]:
        """The pairs of finite values that are not negative."""
        for one, other in self.blocks(tensors):
            if _is_valid(one) and _is_valid(other):
                yield one, other
            else:
                kept = _valid(one) & _valid(other)
                yield one[kept], other[kept]

    def pairs(self, tensors: Sequence[str], out: Pairs) -> None:
        """Write the valid pairs to `out`, which has exactly the room."""
        end = 0
        for one, other in self.valid(tensors):
            pack(one, other, out[end : end + one.size])
            end += one.size


def compare_omegas(
    first: Header, second: Header, names: Sequence[str], advance: Advance = lambda layers: None
) -> OmegaComparison:
    """Compare the tensors `names` of two omega files, which have them in the same shapes.

    Memory is 8 bytes a value, and that of a block. `advance` hears of each layer done, `SWEEPS` times.

    Raises:
        CheckpointError: a file has changed while it was read.
    """
    files = _Files(first, second)
    layers, left_out = _summed(files, names, advance)
    total = sum((layer.sums for layer in layers), PairSums())
    ranges = ((side.positive, side.high) for side in (total.first, total.second))
    grid = DensityGrid(*ranges)
    pairs = np.empty(total.count, np.uint64)
    parts = _parts(layers, pairs)
    ranks, changes = [], []
    for layer, part in zip(layers, parts, strict=True):
        files.pairs(layer.tensors, part)
        ranks.append(rank_agreement(part))
        changes.append(_change(files, layer, total, grid))
        advance(1)
    for layer, part in zip(layers, parts, strict=True):
        files.pairs(layer.tensors, part)
        advance(1)
    known = [change for change in changes if change is not None]
    moved = math.fsum(known) if len(known) == len(changes) else None
    shares = [None if moved is None or change is None else _share(change, moved) for change in changes]
    whole = _Layer("overall", tuple(names), sum(layer.parameters for layer in layers), total)
    return OmegaComparison(
        overall=_agreement(whole, total, rank_agreement(pairs), None if moved is None else _share(moved, moved)),
        layers=tuple(map(_agreement, layers, [total] * len(layers), ranks, shares)),
        elsewhere=None if moved is None else moved / 2,
        scatter=grid.density(),
        first_left_out=left_out[0],
        second_left_out=left_out[1],
    )


def layers_of(names: Sequence[str]) -> dict[str, list[str]]:
    """The tensors of each layer, in the order in which a person counts."""
    layers: dict[str, list[str]] = {}
    for name in natural_order(names):
        layers.setdefault(layer_of(name), []).append(name)
    return layers


def _summed(files: _Files, names: Sequence[str], advance: Advance) -> tuple[list[_Layer], tuple[LeftOut, LeftOut]]:
    """The sums of each layer, and what is left out of each file."""
    layers = []
    odd = np.zeros((2, 2), np.int64)  # [file, not finite or negative]
    for layer, tensors in layers_of(names).items():
        for pair in files.blocks(tensors):
            odd += [(0, 0) if _is_valid(side) else _odd(side) for side in pair]
        sums = sum((pair_sums(*pair) for pair in files.valid(tensors)), PairSums())
        layers.append(_Layer(layer, tuple(tensors), sum(files.first.tensors[name].count for name in tensors), sums))
        advance(1)
    first, second = (LeftOut(*map(int, side)) for side in odd)
    return layers, (first, second)


def _parts(layers: Sequence[_Layer], pairs: Pairs) -> list[Pairs]:
    """The part of `pairs` that is for each layer."""
    ends = list(accumulate((layer.sums.count for layer in layers), initial=0))
    return [pairs[begin:end] for begin, end in pairwise(ends)]


def _change(files: _Files, layer: _Layer, total: PairSums, grid: DensityGrid) -> float | None:
    """Σ|A/ΣA - B/ΣB| over one layer, where ΣA and ΣB are of all layers; its pairs go into the grid as well."""
    scales = total.first.total, total.second.total
    change = []
    for one, other in files.valid(layer.tensors):
        grid.add(one, other)
        if all(scales):
            scaled = one.astype(np.float64) / scales[0] - other.astype(np.float64) / scales[1]
            change.append(float(np.abs(scaled).sum()))
    return math.fsum(change) if all(scales) else None


def _agreement(layer: _Layer, total: PairSums, ranks: RankAgreement, change: float | None) -> Agreement:
    sums = layer.sums
    top_1, top_5, top_10 = ranks.overlaps
    return Agreement(
        name=layer.name,
        parameters=layer.parameters,
        compared=sums.count,
        first_share=_share(sums.first.total, total.first.total),
        second_share=_share(sums.second.total, total.second.total),
        pearson=sums.pearson,
        spearman=ranks.spearman,
        top_1=top_1,
        top_5=top_5,
        top_10=top_10,
        relative_l1=sums.relative_l1,
        scale=sums.scale,
        change=change,
    )


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _is_valid(values: Float32) -> bool:
    """Whether all values are finite and not negative (a NaN is neither)."""
    return not values.size or bool(values.min() >= 0 and values.max() < math.inf)


def _valid(values: Float32) -> NDArray[np.bool_]:
    return (values >= 0) & (values < math.inf)


def _odd(values: Float32) -> tuple[int, int]:
    finite = np.isfinite(values)
    return int(np.count_nonzero(~finite)), int(np.count_nonzero(finite & (values < 0)))
