"""How far an omega can be trusted: what must not be in it, and how reliable it is or its parts are."""

from __future__ import annotations

from mascli.files.records_json import ROUNDED
from mascli.records import FEWEST_IMAGES, Contribution, OmegaRecord, Reliability
from mascli.reports.estimate import LOW_RELIABILITY, layer_text, reliability_facts, reliability_lines
from mascli.reports.inspect_result import InspectResult
from mascli.reports.numbers import correlation, count, plural

VERY_HIGH = 0.99
COLLECTED = "path-integral"  # the reduction of what train-task --collect writes
_NOISE = "this is about noise alone: whether the images resemble what the model has to remember, no file can tell"
_UNCERTAIN = f"a figure from fewer than {FEWEST_IMAGES} images is itself too uncertain to go by: measure more images"


def is_rounded(result: InspectResult) -> bool:
    """Whether another tool has stored the values in a dtype of fewer digits."""
    return any(dtype in ROUNDED for dtype in result.dtypes)


def doubts(result: InspectResult) -> tuple[str, ...]:
    """What must not be in an omega, and is; with any, nothing can be protected by it."""
    histogram, whole, lines = result.histogram, result.overall, []
    if histogram is not None and histogram.not_finite:
        lines.append(f"warning: {plural(histogram.not_finite, 'value')} not finite: the estimate went wrong")
    if histogram is not None and histogram.negative:
        lines.append(f"warning: {plural(histogram.negative, 'value')} below 0, which importance never is")
    if whole is not None and not whole.parameters:
        lines.append("warning: there are no values")
    if whole is not None and whole.zeros == 1:
        lines.append("warning: all values are exactly 0")
    rounded = [ROUNDED[dtype] for dtype in result.dtypes if dtype in ROUNDED]
    if rounded:
        lines.append(
            f"warning: the file is rounded: another tool has stored its values as {' and '.join(rounded)}, and no "
            "other command takes them"
        )
    return tuple(lines)


def trust(result: InspectResult, omega: OmegaRecord) -> tuple[str, ...]:
    """How far to trust the values, in sentences: doubts alone where there are any."""
    odd = doubts(result)
    if odd:
        return odd
    if omega.reliability is not None:
        return (*_known(omega.reliability), _NOISE)
    if len(omega.contributions) != 1:
        return (*_parts_lines(omega), _NOISE)
    (only,) = omega.contributions
    return (_unknown(only, omega),)


def reliability_fact(omega: OmegaRecord) -> tuple[tuple[str, str], ...]:
    """The reliability as one line of the facts; why it is unknown, if it is."""
    many = len(omega.contributions)
    if many != 1:
        return reliability_facts(omega.reliability, f"unknown ({many} estimates combined: see each)")
    images = plural(omega.contributions[0].images, "image")
    return reliability_facts(omega.reliability, f"unknown (one estimate of {images}: no two halves were compared)")


def contribution_text(known: Reliability | None) -> str:
    """The reliability of an estimate in a table."""
    return "unknown" if known is None else correlation(known.overall)


def wants_more_images(omega: OmegaRecord) -> tuple[Contribution, Reliability | None] | None:
    """The estimate that should first be made again on more images, the least reliable of those; None: no one.

    Of several estimates only those count that tell their reliability; importance that was collected while
    learning has none.
    """
    if omega.reduction == COLLECTED:
        return None
    pairs = [(part, known) for part, known in _pairs(omega) if known is None or _is_noisy(known)]
    known = [pair for pair in pairs if pair[1] is not None]
    return min(known, key=_level) if known else pairs[0] if len(omega.contributions) == len(pairs) == 1 else None


def _pairs(omega: OmegaRecord) -> list[tuple[Contribution, Reliability | None]]:
    return list(zip(omega.contributions, omega.reliabilities, strict=True))


def _level(pair: tuple[Contribution, Reliability | None]) -> float:
    """What to sort estimates by: unknown ones come last."""
    return 2.0 if pair[1] is None else pair[1].overall


def _is_noisy(known: Reliability) -> bool:
    return known.overall < LOW_RELIABILITY or known.images < FEWEST_IMAGES


def _known(known: Reliability) -> tuple[str, ...]:
    """What a reliability means."""
    if known.overall < LOW_RELIABILITY:
        return (*reliability_lines(known), *([_UNCERTAIN] if known.images < FEWEST_IMAGES else []))
    images = plural(known.images, "other image")
    if known.images < FEWEST_IMAGES:
        return (f"uncertain: {correlation(known.overall)} from {plural(known.images, 'image')}; {_UNCERTAIN}",)
    word = "very high" if known.overall >= VERY_HIGH else "good"
    line = f"{word}: {images} of the kind would rank the parameters almost alike ({correlation(known.overall)} of 1)"
    if known.lowest >= LOW_RELIABILITY:
        return (line,)
    return (line, f"least so in {layer_text(known.lowest_layer)} ({correlation(known.lowest)})")


def _unknown(only: Contribution, omega: OmegaRecord) -> str:
    """Why nobody knows the reliability of one estimate."""
    images = plural(only.images, "image")
    if omega.reduction == COLLECTED:
        return f"unknown: collected while learning from {images}, which compares no two halves of them"
    if only.images == 1:
        return "unknown: one estimate of 1 image, which has no two halves to compare; one image says very little"
    why = "they were one batch, or parts that were measured apart and pooled"
    few = "" if only.images >= FEWEST_IMAGES else f", and fewer than {FEWEST_IMAGES} are too few"
    return f"unknown: one estimate of {images}, of which no two halves were compared ({why}){few}"


def _parts_lines(omega: OmegaRecord) -> tuple[str, ...]:
    """What is known of several estimates, where the whole is unknown."""
    parts = omega.reliabilities
    known = [reliability for reliability in parts if reliability is not None]
    part, lowest = min(_pairs(omega), key=_level, default=(None, None))
    if part is None or lowest is None:
        return (
            f"unknown: {count(len(parts))} estimates combined, and the file does not say how reliable each is; the "
            "omegas that it was made of may say",
        )
    told = f"{correlation(lowest.overall)} (answers of {', '.join(part.heads)}, {plural(part.images, 'image')})"
    lines = [f"unknown of the whole; the lowest of its {count(len(parts))} parts is {told}"]
    if len(known) < len(parts):
        lines = [f"unknown of the whole; of its {count(len(parts))} parts {count(len(known))} say theirs"]
        lines.append(f"the lowest that is known is {told}")
    few = [reliability for reliability in known if reliability.images < FEWEST_IMAGES]
    return (*lines, *([_UNCERTAIN] if few else []))
