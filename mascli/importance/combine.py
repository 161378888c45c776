"""Combines omegas: parts of one estimate (pool), or the estimates of successive tasks (sum).

- pool: Omega = sum_i n_i Omega_i / sum_i n_i, n_i the images of part i, which is what one estimate
  of all the images would be.
- sum:  Omega = sum_i Omega_i, as the paper does it from task to task.

Records say what may be combined; the values follow tensor by tensor, in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain, combinations

import numpy as np
from numpy.typing import NDArray

from mascli.data.fingerprint import fingerprint, packed, unpacked
from mascli.errors import CheckpointError, NumericsError, printable
from mascli.files.tensor_file import Header, read_array
from mascli.records import OmegaRecord, Statistics

# Contributions whose E|F|^2 differ more than this are not of one scale any more.
SCALE_RATIO = 10


@dataclass(frozen=True)
class Part:
    """One omega to combine: its name in messages, what it says, and the shape of each tensor."""

    where: str
    record: OmegaRecord
    shapes: Mapping[str, tuple[int, ...]]


def pool(parts: Sequence[Part]) -> OmegaRecord:
    """The record of parts of one estimate, pooled: one contribution with the images of all.

    Its statistics are those of the first part until `with_statistics` puts in those of the values.

    Raises:
        CheckpointError: the parts differ in anything but their images, or share some of these.
    """
    first = parts[0].record.contributions[0]
    for part in parts:
        if len(part.record.contributions) != 1:
            raise CheckpointError(
                f"{part.where} holds {len(part.record.contributions)} estimates; only parts of one can be pooled "
                "(--combine sum adds successive tasks)"
            )
        _check_same(parts[0], part, "pooled", _pool_terms)
    images = [_image_hashes(part) for part in parts]
    for (one, left), (other, right) in combinations(zip(parts, images, strict=True), 2):
        both = len(set(left) & set(right))
        if both:
            raise CheckpointError(
                f"{one.where} and {other.where} cannot be pooled: {both} images are in both, and would count twice"
            )
    hashes = list(chain.from_iterable(images))
    weighted = math.fsum(
        p.record.contributions[0].mean_squared_norm * len(i) for p, i in zip(parts, images, strict=True)
    )
    whole = replace(
        first,
        images=len(hashes),
        fingerprint=fingerprint(hashes),
        image_hashes=packed(hashes),
        mean_squared_norm=weighted / len(hashes),
    )
    return replace(parts[0].record, contributions=(whole,), reliability=None)


def sum_of(parts: Sequence[Part]) -> tuple[OmegaRecord, tuple[str, ...]]:
    """The record of successive estimates, added up, and what the user should know about it.

    Raises:
        CheckpointError: other methods, models or shapes, or one estimate that is there twice.
    """
    seen: dict[tuple[str, tuple[str, ...], str], str] = {}
    for part in parts:
        _check_same(parts[0], part, "summed", _sum_terms)
        for estimate in part.record.contributions:
            key = (estimate.fingerprint, estimate.heads, estimate.shared_sha256)
            if key in seen:
                raise CheckpointError(
                    f"{seen[key]} and {part.where} hold the same estimate ({', '.join(estimate.heads)}, "
                    f"{estimate.images} images): it would count twice"
                )
            seen[key] = part.where
    contributions = tuple(chain.from_iterable(part.record.contributions for part in parts))
    record = replace(parts[0].record, contributions=contributions, combine="sum", reliability=None)
    return record, _scale_notes(parts)


def with_statistics(record: OmegaRecord, statistics: Statistics) -> OmegaRecord:
    """`record`, of one contribution, with the statistics of its values."""
    (only,) = record.contributions
    return replace(record, contributions=(replace(only, statistics=statistics),))


def combined(headers: Sequence[Header], weights: Sequence[float]) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Each tensor's name and sum_i weights[i] * Omega_i: added in float64, given in float32.

    Raises:
        CheckpointError: a value of a file is negative or not finite.
        NumericsError: a sum is too large for float32.
    """
    for name in headers[0].tensors:
        total = np.zeros(headers[0].tensors[name].shape, np.float64)
        for header, weight in zip(headers, weights, strict=True):
            values = read_array(header, name)
            if not (values >= 0).all() or np.isinf(values).any():
                raise CheckpointError(
                    f"{printable(header.path)}: the importance of {printable(name)} is negative or not finite; "
                    "estimate it anew"
                )
            total += weight * values.astype(np.float64)
        if total.max(initial=0.0) > np.finfo(np.float32).max:
            raise NumericsError(f"the combined importance of {printable(name)} is too large for float32")
        yield name, total.astype(np.float32)


def pool_weights(parts: Sequence[Part]) -> list[float]:
    """The share of each part's images in all images."""
    images = [part.record.contributions[0].images for part in parts]
    return [count / sum(images) for count in images]


def _sum_terms(record: OmegaRecord) -> dict[str, object]:
    """What parts of a sum must share, by the words for it."""
    return {
        "the model": str(record.model),
        "the model's arguments": record.model.arguments,
        "the classifier layer": record.model.classifier,
        "the method": record.method,
        "the objective": record.objective,
        "the reduction": record.reduction,
    }


def _pool_terms(record: OmegaRecord) -> dict[str, object]:
    """What parts of one estimate must share, by the words for it."""
    (only,) = record.contributions
    prepared = {f"the preprocessing's {key}": value for key, value in asdict(only.preprocessing).items()}
    own = {"the weights, by shared_sha256": only.shared_sha256, "the heads": only.heads, "the factor": only.weight}
    return {**_sum_terms(record), **own, **prepared, "the unused parameters": only.unused}


def _check_same(first: Part, other: Part, verb: str, terms: Callable[[OmegaRecord], dict[str, object]]) -> None:
    refusal = f"{first.where} and {other.where} cannot be {verb}"
    wanted, found = terms(first.record), terms(other.record)
    advice = "; --combine sum is for successive tasks" if verb == "pooled" else ""
    for what in wanted:
        if wanted[what] != found[what]:
            values = f"{_short(wanted[what])} and {_short(found[what])}"
            raise CheckpointError(f"{refusal}: they differ in {what} ({values}){advice}")
    for name in sorted(first.shapes.keys() | other.shapes.keys()):
        one, two = first.shapes.get(name), other.shapes.get(name)
        if one != two:
            shapes = " and ".join("absent" if shape is None else str(list(shape)) for shape in (one, two))
            raise CheckpointError(f"{refusal}: tensor {printable(name)} is {shapes}")


def _short(value: object) -> str:
    text = ", ".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)
    return printable(text if len(text) <= 60 else f"{text[:57]}...")


def _image_hashes(part: Part) -> list[bytes]:
    estimate = part.record.contributions[0]
    try:
        hashes = unpacked(estimate.image_hashes)
    except ValueError as error:
        raise CheckpointError(f"{part.where} is damaged: its image hashes are {error}") from error
    if len(hashes) != estimate.images or fingerprint(hashes) != estimate.fingerprint:
        raise CheckpointError(
            f"{part.where} is damaged: its image hashes do not fit its number of images or fingerprint"
        )
    return hashes


def _scale_notes(parts: Sequence[Part]) -> tuple[str, ...]:
    scales = [
        (estimate.mean_squared_norm, f"{part.where} ({', '.join(estimate.heads)}) {estimate.mean_squared_norm:.3g}")
        for part in parts
        for estimate in part.record.contributions
    ]
    (low, small), (high, large) = min(scales), max(scales)
    if high <= SCALE_RATIO * low:
        return ()
    return (
        f"the estimates are of different scales, E|F|^2: {small}, {large}; what the smaller one knows is held less, so "
        "use a larger --lambda if it is forgotten",
    )
