"""Combines omegas: what the result says about itself, and the factor of each omega in its values.

Parts of one estimate, of n_i images each:

- pool: Omega = sum_i n_i Omega_i / sum_i n_i, which is what one estimate of all the images would be.

Successive tasks, each Omega_i first multiplied by its weight w_i (1) and, to normalize, divided by
its E|F|^2, so that tasks whose outputs are of other lengths count alike:

- sum:  Omega = sum_i w_i Omega_i, as the paper does it from task to task
- max:  Omega = max_i w_i Omega_i
- mean: Omega = sum_i w_i Omega_i / sum_i w_i
- ema:  Omega = decay * (Omega so far) + (1 - decay) * w_i Omega_i, in their order, from w_1 Omega_1 on

All but `max` are sums with one factor an omega, and stay so when their results are combined again:
each contribution's `weight` is the product of its factors. Nobody has measured the reliability of the
whole; each contribution keeps its own. The values: `combine_values`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from mascli.data.fingerprint import fingerprint, packed
from mascli.errors import CheckpointError, NumericsError, UsageError
from mascli.importance.combine_checks import Part, can_be_pooled, check_pool, check_successive, shared_images
from mascli.records import Contribution, OmegaRecord, Reliability, Statistics

__all__ = ["Combination", "Part", "Rule", "combination", "with_statistics"]

Rule = Literal["pool", "sum", "max", "mean", "ema"]

# Contributions whose E|F|^2 differ more than this are not of one scale any more.
SCALE_RATIO = 10


@dataclass(frozen=True)
class Combination:
    """What comes of several omegas: its record, one factor for each omega, and what the user should know.

    The values are sum_i factors[i] * Omega_i, or the largest factors[i] * Omega_i where `largest`.
    """

    record: OmegaRecord
    factors: tuple[float, ...]
    notes: tuple[str, ...] = ()

    @property
    def largest(self) -> bool:
        """Whether the values are the largest of the omegas' and not their sum."""
        return self.record.combine == "max"


def combination(
    parts: Sequence[Part], rule: Rule, *, weights: Sequence[float] = (), decay: float = 0.5, normalize: bool = False
) -> Combination:
    """What `parts` come to under `rule`.

    `weights` (one for each part, >= 0; none: all 1), `decay` (of `ema`) and `normalize` are not for `pool`,
    whose statistics are those of the first part until `with_statistics` puts in those of the values.

    Raises:
        CheckpointError: omegas that do not belong together, or an estimate or image that is there twice.
        NumericsError: a scale of zero, or a factor that is too large.
        UsageError: `normalize` of what E|F|^2 is not the scale of.
    """
    if rule == "pool":
        return _pooled(parts)
    check_successive(parts, rule)
    record = parts[0].record  # what is measured is the same in all
    if normalize and not _has_known_scale(record):
        raise UsageError(
            f"--normalize divides by E|F|^2, which is not the scale of {record.objective} with {record.reduction} "
            "(only of squared-l2 with abs or batch); leave it out, and give --weights where the scales differ"
        )
    given = tuple(weights) or (1.0,) * len(parts)
    norms = [_norm(part) if normalize else 1.0 for part in parts]
    factors = tuple(share / norm for share, norm in zip(_shares(rule, given, decay), norms, strict=True))
    contributions = tuple(
        replace(estimate, weight=estimate.weight * factor, normalized=estimate.normalized or normalize)
        for part, factor in zip(parts, factors, strict=True)
        for estimate in (_told_apart(part.record) if len(parts) > 1 else part.record.contributions)
    )
    if not all(math.isfinite(estimate.weight) for estimate in contributions):
        raise NumericsError("--weights are too large: an estimate would get a factor that is not finite")
    record = replace(parts[0].record, contributions=contributions, combine=rule, reliability=_reliability(parts))
    notes = (*_scale_notes(parts, given, normalize), *_pool_notes(parts))
    return Combination(record, factors, notes)


def with_statistics(record: OmegaRecord, statistics: Statistics) -> OmegaRecord:
    """`record`, of one contribution, with the statistics of its values."""
    (only,) = record.contributions
    return replace(record, contributions=(replace(only, statistics=statistics),))


def _pooled(parts: Sequence[Part]) -> Combination:
    """One contribution with the images of all, as one estimate of them would have it."""
    hashes = check_pool(parts)
    estimates = [part.record.contributions[0] for part in parts]
    weighted = math.fsum(estimate.mean_squared_norm * estimate.images for estimate in estimates)
    never = set[str].intersection(*(set(estimate.unused) for estimate in estimates))  # an image may take its own way
    whole = replace(
        estimates[0],
        images=len(hashes),
        fingerprint=fingerprint(hashes),
        image_hashes=packed(hashes),
        mean_squared_norm=weighted / len(hashes),
        unused=tuple(name for name in estimates[0].unused if name in never),
    )
    record = replace(parts[0].record, contributions=(whole,), combine="sum", reliability=_reliability(parts))
    return Combination(record, tuple(estimate.images / len(hashes) for estimate in estimates))


def _shares(rule: Rule, weights: Sequence[float], decay: float) -> list[float]:
    """The factor that each omega gets from the rule and its weight."""
    if rule == "mean":
        largest = max(weights)  # their sum may be beyond float64
        relative = [weight / largest for weight in weights]
        return [share / math.fsum(relative) for share in relative]
    if rule == "ema":
        last = len(weights) - 1
        return [w * decay ** (last - i) * (1 - decay if i else 1.0) for i, w in enumerate(weights)]
    return list(weights)


def _norm(part: Part) -> float:
    """What a part is to be divided by, so that each estimate in it is divided by its E|F|^2."""
    counting = [estimate for estimate in part.record.contributions if estimate.weight]
    norms = {estimate.mean_squared_norm for estimate in counting if not estimate.normalized}
    if not norms:
        return 1.0
    if len(norms) > 1 or any(estimate.normalized for estimate in counting):
        raise CheckpointError(
            f"{part.where} holds {len(counting)} estimates of different scales that can no longer be told apart; "
            "combine the files it was made from with --normalize"
        )
    (norm,) = norms
    if norm == 0 or math.isinf(1 / norm):
        raise NumericsError(
            f"{part.where} cannot be normalized: its mean squared norm E|F|^2 is {norm:g} (the outputs were zero); "
            "leave it out, or combine without --normalize"
        )
    return norm


def _reliability(parts: Sequence[Part]) -> Reliability | None:
    """That of a single omega, which no factor changes; nobody has measured that of several together."""
    return parts[0].record.reliability if len(parts) == 1 else None


def _told_apart(record: OmegaRecord) -> tuple[Contribution, ...]:
    """The estimates of an omega as they stand beside others: each with its own reliability."""
    known = zip(record.contributions, record.reliabilities, strict=True)
    return tuple(replace(estimate, reliability=reliability) for estimate, reliability in known)


def _has_known_scale(record: OmegaRecord) -> bool:
    """Whether the values are proportional to E|F|^2."""
    return record.objective == "squared-l2" and record.reduction.partition("-")[0] in ("abs", "batch")


def _scale_notes(parts: Sequence[Part], weights: Sequence[float], normalize: bool) -> tuple[str, ...]:
    """A note where an estimate is more than tenfold larger than another, by scale and weight.

    The scale is E|F|^2 where the values are proportional to it, else their mean.
    """
    known = _has_known_scale(parts[0].record)

    def scale(estimate: Contribution, weight: float) -> float:
        if normalize or estimate.normalized:
            return weight
        return weight * (estimate.mean_squared_norm if known else estimate.statistics.mean)

    scales = [
        (scale(estimate, weight), f"{part.where} ({', '.join(estimate.heads)}) {scale(estimate, weight):.3g}")
        for part, weight in zip(parts, weights, strict=True)
        for estimate in part.record.contributions
        if weight
    ]
    (low, small), (high, large) = min(scales), max(scales)
    if high <= SCALE_RATIO * low:
        return ()
    what = "E|F|^2" if known else "mean importance"
    what = what if set(weights) == {1.0} else f"weight * {what}"
    return (
        f"the estimates are of different scales, {what}: {small}, {large}; what the smaller one knows is held less"
        + (_normalizing(parts) if known else " (the --weights of mascli merge can make up for that)"),
    )


def _normalizing(parts: Sequence[Part]) -> str:
    """How to make estimates of different scales count alike, where that can be done."""
    try:
        for part in parts:
            _norm(part)
    except CheckpointError:  # the scales in one file can no longer be told apart
        return " (mascli merge --normalize, of files of one estimate each, makes them count alike)"
    except NumericsError:  # a scale of zero
        return ""
    return " (mascli merge --normalize makes them count alike)"


def _pool_notes(parts: Sequence[Part]) -> tuple[str, ...]:
    """A note where two files hold parts of what could be one estimate, or share images of one."""
    seen: dict[tuple[tuple[str, ...], str], Part] = {}
    for part in parts:
        for estimate in part.record.contributions:
            earlier = seen.setdefault((estimate.heads, estimate.shared_sha256), part)
            if earlier is part or {len(earlier.record.contributions), len(part.record.contributions)} != {1}:
                continue
            heads = ", ".join(estimate.heads)
            same = f"{earlier.where} and {part.where} measure the same answers ({heads}) at the same weights"
            if can_be_pooled([earlier, part]):
                return (
                    f"{same}, on other images: as parts of one estimate, each in a file of its own, they belong "
                    "together by mascli merge --combine pool",
                )
            if both := shared_images(earlier, part):
                return (f"{same}, and share {both} of their images, which count twice",)
    return ()
