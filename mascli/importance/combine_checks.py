"""What may be combined: omegas of one model and one way of measuring, no estimate and no image twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations

from mascli.data.fingerprint import fingerprint, unpacked
from mascli.errors import CheckpointError, printable
from mascli.records import OmegaRecord, head_owner, head_tensor


@dataclass(frozen=True)
class Part:
    """One omega to combine: its name in messages, what it says, and the shape of each tensor."""

    where: str
    record: OmegaRecord
    shapes: Mapping[str, tuple[int, ...]]


def check_pool(parts: Sequence[Part]) -> list[bytes]:
    """Check that `parts` are those of one estimate; returns the short hashes of all their images.

    Raises:
        CheckpointError: the parts differ in anything but their images, or share some of these.
    """
    for part in parts:
        if len(part.record.contributions) != 1:
            raise CheckpointError(
                f"{part.where} holds {len(part.record.contributions)} estimates; only parts of one can be pooled"
                + _sum_instead(parts)
            )
        (only,) = part.record.contributions
        if only.weight != 1 or only.normalized:
            raise CheckpointError(
                f"{part.where} has been weighed already (factor {only.weight:g}); pool the parts as they were measured"
            )
        _check_same(parts[0], part, "pooled", _pool_terms, _sum_instead(parts))
    images = [_image_hashes(part) for part in parts]
    for (one, left), (other, right) in combinations(zip(parts, map(set, images), strict=True), 2):
        both = len(left & right)
        if both:
            raise CheckpointError(
                f"{one.where} and {other.where} cannot be pooled: {both} images are in both, and would count twice; "
                "measure all images in one mascli estimate"
            )
    return [image for part in images for image in part]


def check_successive(parts: Sequence[Part], rule: str) -> None:
    """Check that `parts` can be combined by a rule other than `pool`.

    Raises:
        CheckpointError: other methods, models or shapes, one estimate that is there twice, or a
            maximum mixed with a sum.
    """
    for part in parts:
        _check_same(parts[0], part, "combined", _terms)
        _check_rule(part, rule)
    check_counted_once([(part.where, part.record) for part in parts])


def check_one_kind(omegas: Sequence[tuple[str, OmegaRecord]], verb: str) -> None:
    """Check that omegas, which are given with their names for messages, measure the same quantity.

    Raises:
        CheckpointError: they differ in the model or the method, so that no factor fits both.
    """
    parts = [Part(where, record, {}) for where, record in omegas]
    for part in parts:
        _check_same(parts[0], part, verb, _terms)


def check_counted_once(omegas: Sequence[tuple[str, OmegaRecord]]) -> None:
    """Check that no estimate is in two omegas, which are given with their names for messages.

    Raises:
        CheckpointError: one is, and would count twice.
    """
    seen: dict[tuple[object, ...], str] = {}
    for where, record in omegas:
        for estimate in record.contributions:
            key = (record.objective, record.reduction, estimate.fingerprint, estimate.heads, estimate.shared_sha256)
            if key in seen:
                raise CheckpointError(
                    f"{seen[key]} and {where} hold the same estimate ({', '.join(estimate.heads)}, "
                    f"{estimate.images} images): it would count twice; leave one of them out"
                )
            seen[key] = where


def _check_rule(part: Part, rule: str) -> None:
    """A maximum of several estimates cannot be weighed into a sum, nor a sum into a maximum."""
    many, made = len(part.record.contributions), part.record.combine
    if many == 1 or (made == "max") == (rule == "max"):
        return
    if made == "max":
        raise CheckpointError(
            f"{part.where} is a maximum over {many} estimates, and only --combine max can go on from there; combine "
            "the files it was made from"
        )
    raise CheckpointError(
        f"{part.where} holds {many} estimates added up ({made}), of which --combine max cannot take the largest; "
        "combine the files it was made from"
    )


def _terms(record: OmegaRecord) -> dict[str, object]:
    """What all omegas of a combination must share, by the words for it."""
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
    own = {"the weights, by shared_sha256": only.shared_sha256, "the heads": only.heads}
    own["the heads whose own tensors were measured"] = tuple(map(" ".join, sorted(only.heads_sha256.items())))
    return {**_terms(record), **own, **prepared}


def shared_images(one: Part, other: Part) -> int:
    """How many images both were measured on, of two omegas of one estimate each."""
    return len(set(_image_hashes(one)) & set(_image_hashes(other)))


def can_be_pooled(parts: Sequence[Part]) -> bool:
    """Whether `check_pool` has nothing against `parts`."""
    try:
        check_pool(parts)
    except CheckpointError:
        return False
    return True


def _sum_instead(parts: Sequence[Part]) -> str:
    """The end of a line that refuses to pool: what to do instead, where that can be done."""
    try:
        check_successive(parts, "sum")
    except CheckpointError:
        return ""
    return "; --combine sum adds successive tasks"


def _check_same(
    first: Part, other: Part, verb: str, terms: Callable[[OmegaRecord], dict[str, object]], advice: str = ""
) -> None:
    refusal = f"{first.where} and {other.where} cannot be {verb}"
    wanted, found = terms(first.record), terms(other.record)
    for what in wanted:
        if wanted[what] != found[what]:
            values = f"{_short(wanted[what])} and {_short(found[what])}"
            raise CheckpointError(f"{refusal}: they differ in {what} ({values}){advice}")
    for name in sorted(first.shapes.keys() | other.shapes.keys()):
        one, two = first.shapes.get(name), other.shapes.get(name)
        if verb == "combined" and any(_is_zero(part, name) for part in (first, other)):
            continue
        if one != two:
            shapes = " and ".join("absent" if shape is None else str(list(shape)) for shape in (one, two))
            heads = any(name.startswith(head_tensor(task, "")) for task in _heads(first.record) ^ _heads(other.record))
            why = "measured with and without --heads" if heads else "from before and after --batchnorm per-task"
            both = f"; {why}? Then give both to train-task as --omega"
            raise CheckpointError(
                f"{refusal}: tensor {printable(name)} is {shapes}{both if None in (one, two) else ''}"
            )


def _is_zero(part: Part, name: str) -> bool:
    """Whether an omega lacks a tensor because it is of the head of a task whose answers it does not measure."""
    asked = {task for estimate in part.record.contributions for task in estimate.heads}
    return name not in part.shapes and head_owner(name) not in {None, *asked}


def _heads(record: OmegaRecord) -> frozenset[str]:
    """The heads whose own tensors an omega has."""
    return frozenset(task for part in record.contributions for task in part.heads_sha256)


def _short(value: object) -> str:
    text = ", ".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)
    return printable(text if len(text) <= 60 else f"{text[:57]}...")


def _image_hashes(part: Part) -> list[bytes]:
    (estimate,) = part.record.contributions
    try:
        hashes = unpacked(estimate.image_hashes)
    except ValueError as error:
        raise CheckpointError(f"{part.where} is damaged: its image hashes are {error}") from error
    if len(hashes) != estimate.images or fingerprint(hashes) != estimate.fingerprint:
        raise CheckpointError(
            f"{part.where} is damaged: its image hashes do not fit its number of images or fingerprint"
        )
    return hashes
