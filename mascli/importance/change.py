"""What changed between two checkpoints of one network, plainly and weighed by importance."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mascli.files.tensor_file import Header, read_array
from mascli.importance.comparison import layers_of

Advance = Callable[[int], None]
Float64 = NDArray[np.float64]

BLOCK = 1 << 17  # values at a time, in float64


@dataclass(frozen=True)
class Weighed:
    """The change of some parameters in the eyes of an omega Ω, where θ is the first file's.

    `importance` is the part of ΣΩ that they hold; `on_changed` the part of their ΣΩ that sits on values
    that changed at all. `moved` is Σ Ω|Δθ| / Σ Ω|θ|: how far they moved, measured in their own size,
    where each counts as much as it matters. `moved_share` is their part of Σ Ω|Δθ| over everything.
    None stands for 0 / 0, and for x / 0.
    """

    importance: float | None
    on_changed: float | None
    moved: float | None
    moved_share: float | None


@dataclass(frozen=True)
class Change:
    """The change of one layer, or overall, from θ to θ + Δθ.

    `changed` counts values with Δθ ≠ 0; `relative_l2` is √(ΣΔθ² / Σθ²), `relative_l1` Σ|Δθ| / Σ|θ| (0
    where nothing changed, None where θ is 0), `largest` is max |Δθ|. Values that are not finite in one
    of the files are counted and left out of everything else. `weighed` is None without an omega.
    """

    name: str
    parameters: int
    changed: int
    relative_l2: float | None
    relative_l1: float | None
    largest: float
    not_finite: int
    weighed: Weighed | None = None


@dataclass(frozen=True)
class Changes:
    """The change of all parameters and of each layer; `odd` counts importance that is negative or not finite."""

    overall: Change
    layers: tuple[Change, ...]
    odd: int = 0


@dataclass(frozen=True)
class _Sums:
    """Sums over some values: with Δ for Δθ, `mass` ΣΩ, `mass_changed` its part on changed values."""

    count: int = 0
    changed: int = 0
    not_finite: int = 0
    odd: int = 0
    squares: float = 0.0
    squares_moved: float = 0.0
    size: float = 0.0
    moved: float = 0.0
    largest: float = 0.0
    mass: float = 0.0
    mass_changed: float = 0.0
    weighed_size: float = 0.0
    weighed_moved: float = 0.0


def changes(
    first: Header,
    second: Header,
    names: Mapping[str, str],
    omega: Header | None = None,
    advance: Advance = lambda layers: None,
) -> Changes:
    """The change from the tensors of the first file to those of the second, with float64 sums.

    Args:
        names: a tensor of the first file -> that of the second, of the same shape.
        omega: the importance of the first file's tensors by their names; what it lacks has importance 0.
        advance: hears of each layer done.

    Raises:
        CheckpointError: a dtype that numpy does not have, or a file has changed while it was read.
    """
    layers = {}
    for layer, tensors in layers_of(list(names)).items():
        found = (_block_sums(*block) for name in tensors for block in _blocks(first, second, name, names[name], omega))
        layers[layer] = _total(found)
        advance(1)
    total = _total(layers.values())
    weighed = omega is not None
    described = tuple(_described(layer, sums, total, weighed=weighed) for layer, sums in layers.items())
    return Changes(_described("overall", total, total, weighed=weighed), described, total.odd)


def changed_tensors(first: Header, second: Header, names: Mapping[str, str]) -> tuple[str, ...]:
    """Which of the first file's tensors differ in shape, or in any value, from those of the second; NaN is NaN."""
    return tuple(
        name
        for name, other in names.items()
        if first.tensors[name].shape != second.tensors[other].shape
        or not np.array_equal(_real(read_array(first, name)), _real(read_array(second, other)), equal_nan=True)
    )


def _blocks(
    first: Header, second: Header, name: str, other: str, omega: Header | None
) -> Iterator[tuple[Float64, Float64, Float64 | None]]:
    """θ before and after, and its importance, block by block."""
    sides: list[NDArray[Any]] = [_real(read_array(first, name)), _real(read_array(second, other))]
    if omega is not None and name in omega.tensors:
        sides.append(np.ravel(read_array(omega, name)))
    for start in range(0, sides[0].size, BLOCK):
        one, two, *rest = (side[start : start + BLOCK].astype(np.float64) for side in sides)
        yield one, two, rest[0] if rest else None


def _real(values: NDArray[Any]) -> NDArray[Any]:
    """All numbers of a tensor as one vector; a complex one is two."""
    flat = np.ravel(values)
    return flat.view(np.float32) if np.iscomplexobj(flat) else flat


def _block_sums(before: Float64, after: Float64, omega: Float64 | None) -> _Sums:
    count, odd = before.size, 0
    finite = np.isfinite(before) & np.isfinite(after)
    if not finite.all():
        before, after = before[finite], after[finite]
        omega = None if omega is None else omega[finite]
    with np.errstate(over="ignore"):  # float64 files only
        moved, size = np.abs(after - before), np.abs(before)
        squares = float((before * before).sum()), float((moved * moved).sum())
    weights = (0.0, 0.0, 0.0, 0.0)
    if omega is not None:
        usable = np.isfinite(omega) & (omega >= 0)
        odd = int(np.count_nonzero(~usable))
        omega = np.where(usable, omega, 0.0)
        on_changed = float(omega.sum(where=moved > 0))
        weights = (float(omega.sum()), on_changed, float((omega * size).sum()), float((omega * moved).sum()))
    return _Sums(
        count,
        int(np.count_nonzero(moved)),
        count - before.size,
        odd,
        *squares,
        float(size.sum()),
        float(moved.sum()),
        float(moved.max(initial=0.0)),
        *weights,
    )


def _total(parts: Iterable[_Sums]) -> _Sums:
    found: Sequence[_Sums] = list(parts)
    names = ("squares", "squares_moved", "size", "moved", "mass", "mass_changed", "weighed_size", "weighed_moved")
    return _Sums(
        count=sum(part.count for part in found),
        changed=sum(part.changed for part in found),
        not_finite=sum(part.not_finite for part in found),
        odd=sum(part.odd for part in found),
        largest=max((part.largest for part in found), default=0.0),
        **{name: math.fsum(getattr(part, name) for part in found) for name in names},
    )


def _described(name: str, sums: _Sums, total: _Sums, *, weighed: bool) -> Change:
    return Change(
        name=name,
        parameters=sums.count,
        changed=sums.changed,
        relative_l2=_relative(math.sqrt(sums.squares_moved), math.sqrt(sums.squares)),
        relative_l1=_relative(sums.moved, sums.size),
        largest=sums.largest,
        not_finite=sums.not_finite,
        weighed=_weighed(sums, total) if weighed else None,
    )


def _weighed(sums: _Sums, total: _Sums) -> Weighed:
    return Weighed(
        importance=_ratio(sums.mass, total.mass),
        on_changed=_ratio(sums.mass_changed, sums.mass),
        moved=_relative(sums.weighed_moved, sums.weighed_size) if sums.mass else None,
        moved_share=_ratio(sums.weighed_moved, total.weighed_moved),
    )


def _relative(part: float, whole: float) -> float | None:
    """`part` / `whole`, 0 where nothing changed."""
    return _ratio(part, whole) if part else 0.0


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
