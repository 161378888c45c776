"""`mascli estimate`: importance of every shared parameter, from any folder of images."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mascli.config import EstimateConfig
from mascli.data.fingerprint import fingerprint, packed
from mascli.data.folders import list_images
from mascli.data.loader import ImageReader
from mascli.data.order import seeded_order
from mascli.errors import CheckpointError, printable
from mascli.files.binding import uncovered_tasks
from mascli.files.omega_file import write_omega
from mascli.files.partial_file import partial_path
from mascli.files.records_json import canonical_json
from mascli.files.tensor_file import read_array, read_header
from mascli.files.tensors import to_source
from mascli.importance.batch_size import bytes_an_image, usual_batch_size
from mascli.importance.combine import Part, combination
from mascli.importance.combine_values import CombinedValues, Operand
from mascli.importance.engine import Estimate, Estimator
from mascli.importance.precision import working_precision
from mascli.importance.rules.cost import autotuned
from mascli.importance.statistics import layer_summaries, statistics
from mascli.importance.verify import Verified, verify
from mascli.observer import Observer
from mascli.records import FEWEST_IMAGES, Contribution, OmegaRecord
from mascli.reports.estimate import EstimateResult, LayerRow, VerifiedFacts
from mascli.reports.numbers import correlation, plural
from mascli.workflows.bound_omega import BoundOmega, read_bound_omega
from mascli.workflows.estimating.estimate_run import ImageSource, measure_images
from mascli.workflows.estimating.measured_heads import heads_to_measure
from mascli.workflows.estimating.measuring import Measured, settled_measure
from mascli.workflows.estimating.settled import check_task
from mascli.workflows.estimating.unfinished_estimate import Position, UnfinishedEstimate
from mascli.workflows.loading import Opened, chosen_device, current_shared_sha256, open_checkpoint
from mascli.workflows.stopping import telling_what_is_kept


def estimate(config: EstimateConfig, observer: Observer) -> EstimateResult:
    """Measure how much the model's answers depend on each parameter, and write the omega."""
    assert config.out is not None  # preflight
    with telling_what_is_kept(partial_path(config.out), observer):
        return _estimate(config, config.out, observer)


def _estimate(config: EstimateConfig, out: Path, observer: Observer) -> EstimateResult:
    started = time.monotonic()
    device = chosen_device(config.device)
    with observer.phase(f"opening {printable(config.checkpoint)}"):
        opened = open_checkpoint(config.checkpoint, config, device, observer)
        asked = answering_tasks(config, opened)
        opened.model.count_heads(heads_to_measure(config, opened, asked))
        tasks = opened.model.answering(asked)
        previous = read_bound_omega(config.previous, opened) if config.previous else None
        if previous is not None and (ignored := previous.note()) is not None:
            observer.note(ignored)
    files = list_images(config.data).files
    observer.step(f"{printable(config.data)}: {plural(len(files), 'image')}")
    measured = settled_measure(config, opened, tasks, files)
    if (note := measured.note()) is not None:
        observer.note(note)
    source = _source(config, opened, tasks, measured, files, device, observer)
    unfinished = UnfinishedEstimate(out, _settings(config, opened, asked, measured, source))
    verified = _verified(config, opened, tasks, measured, source, observer)

    with ExitStack() as context:
        context.enter_context(working_precision(config.precision, device))
        if config.autotune:
            context.enter_context(autotuned())
        estimator = context.enter_context(Estimator(opened.model, tasks, measured.measure, config.seed))
        found, position = measure_images(
            source, estimator, unfinished, config.resume, config.until_reliability, observer
        )
    seconds = time.monotonic() - started
    notes = _notes(config, found, source, position)
    for name, reason in found.plan.fallback.items():
        observer.step(f"{name}: one image at a time, since {reason}")
    for note in notes:
        observer.note(note)
    record = OmegaRecord(
        opened.spec,
        measured.method,
        measured.objective,
        measured.reduction,
        (_contribution(opened, asked, found, position),),
        reliability=found.reliability,
    )
    with observer.phase(f"writing {printable(out)}"):
        written = _write(config, record, found, previous, observer)
    unfinished.remove()
    result = _result(config, written, found, measured, source, position, opened, seconds, verified)
    return replace(result, notes=notes, unused=_unused(found, previous))


def _unused(found: Estimate, previous: BoundOmega | None) -> tuple[str, ...]:
    """The parameters that have no importance now, nor from before."""
    known = {name for name, values in previous.values.items() if values.any()} if previous is not None else set()
    return tuple(name for name in found.plan.unused if name not in known)


def answering_tasks(config: EstimateConfig, opened: Opened) -> tuple[str, ...]:
    """The tasks whose heads answer: the one asked for, all, or the newest.

    Raises:
        CheckpointError: the checkpoint has no task yet.
        UsageError: it has no such task.
    """
    names = opened.task_names
    if not names:
        raise CheckpointError(f"{printable(config.checkpoint)} has no task yet, so it has no answers to measure")
    if config.task is not None:
        check_task(config.task, names, config.checkpoint)
        return (config.task,)
    return names if config.all_tasks else names[-1:]


def _source(
    config: EstimateConfig,
    opened: Opened,
    tasks: tuple[str, ...],
    measured: Measured,
    files: tuple[Path, ...],
    device: torch.device,
    observer: Observer,
) -> ImageSource:
    """The images to measure, in their order and in batches of a settled size."""
    order = seeded_order(len(files), config.seed) if config.order == "seeded" else list(range(len(files)))
    reader = ImageReader(files, opened.preprocessing, workers=config.workers, on_error=config.on_error)
    source = ImageSource(files, order[: config.limit], reader, opened.preprocessing, device, measured.given)
    most = config.batch_size
    if most is None:
        each = bytes_an_image(opened.model, source.first(1), tasks, measured.measure)
        most = usual_batch_size(each, None if config.memory is None else config.memory * 1e9)
        if config.memory is not None:
            observer.note(f"--memory chose batches of {most}; with another size the last bits of the omega may differ")
    source.split(most, exactly=measured.by_batch)
    return source


def _settings(
    config: EstimateConfig, opened: Opened, tasks: tuple[str, ...], measured: Measured, source: ImageSource
) -> dict[str, Any]:
    """Everything that the sums of an unfinished estimate depend on, by the words for it."""
    above = len(str(config.data / "x")) - 1
    names = canonical_json([str(file)[above:] for file in source.files])
    return {
        "heads": opened.measured_heads(opened.model.shared_parameters()) or None,
        "checkpoint": current_shared_sha256(opened.model),
        "tasks": list(tasks),
        "method": [measured.method, measured.objective, measured.reduction],
        "set of images": hashlib.sha256(names.encode("utf-8", "surrogateescape")).hexdigest(),
        "limit": len(source.order),
        "order": config.order,
        "seed": config.seed,
        "batch size": source.batch_size,
        "precision": config.precision,
        "preprocessing": canonical_json(asdict(opened.preprocessing)),
    }


def _verified(
    config: EstimateConfig,
    opened: Opened,
    tasks: tuple[str, ...],
    measured: Measured,
    source: ImageSource,
    observer: Observer,
) -> Verified | None:
    """The comparison with the reference that --verify asks for."""
    if config.verify is None:
        return None
    with observer.phase(f"verifying on {plural(config.verify, 'image')}"):
        return verify(opened.model, source.first(config.verify), tasks, measured.measure)


def _notes(config: EstimateConfig, found: Estimate, source: ImageSource, position: Position) -> tuple[str, ...]:
    """What the user should know of how it went."""
    notes = []
    if not any(values.any() for values in found.omega.values()):
        notes.append("every importance is zero, so this omega protects nothing; are all layers frozen?")
    copies = len(position.digests) - len(set(position.digests))
    if copies:
        notes.append(
            f"{plural(copies, 'image')} of {found.images} hold the same bytes as another one; each of them counts"
        )
    if config.until_reliability is not None:
        more = "add images" if len(source.order) == len(source.files) else "raise --limit, or add images"
        notes += _stopping_notes(config.until_reliability, found, len(source.order), len(position.unreadable), more)
    if config.autotune:
        notes.append("--autotune: another run may choose other ways, and the last bits of the omega may differ")
    return tuple(notes)


def _stopping_notes(target: float, found: Estimate, images: int, unreadable: int, more: str) -> Iterator[str]:
    """Why an estimate that stops at a reliability of `target` did or did not stop before its last image.

    Args:
        images: how many were to be measured at most, with the `unreadable` ones.
        more: how to measure more of them.
    """
    reached = found.reliability.overall if found.reliability else 0.0
    if found.images < images - unreadable:
        yield f"stopped at {found.images} of {plural(images, 'image')}, which are enough"
    elif found.images < FEWEST_IMAGES:
        yield (
            f"--until-reliability: with {plural(found.images, 'image')} nothing could stop early, since "
            f"{FEWEST_IMAGES} at least are needed to know the reliability well enough; all are measured"
        )
    if reached < target:
        shown = f"{correlation(reached)}, below {target:g}" if found.reliability else "unknown"
        yield f"all images are measured and the reliability is {shown}: {more}"


def _contribution(opened: Opened, tasks: tuple[str, ...], found: Estimate, position: Position) -> Contribution:
    return Contribution(
        heads=tasks,
        images=found.images,
        shared_sha256=current_shared_sha256(opened.model),
        fingerprint=fingerprint(position.digests),
        image_hashes=packed(position.digests),
        mean_squared_norm=found.mean_value,
        statistics=statistics(values.cpu().numpy() for values in found.omega.values()),
        preprocessing=opened.preprocessing,
        unused=found.plan.unused,
        heads_sha256=opened.measured_heads(found.omega),
    )


def _write(
    config: EstimateConfig, record: OmegaRecord, found: Estimate, previous: BoundOmega | None, observer: Observer
) -> OmegaRecord:
    """Write the omega, combined with the previous one if there is one, and return what it says."""
    assert config.out is not None
    if previous is None:
        sources = {name: to_source(values) for name, values in found.omega.items()}
        write_omega(config.out, record, sources, foreign={}, overwrite=config.overwrite)
        return record
    shapes = {name: tuple(values.shape) for name, values in found.omega.items()}
    parts = [Part(previous.where, previous.record, shapes), Part("this estimate", record, shapes)]
    combined = combination(parts, config.combine, decay=config.decay)
    for note in combined.notes:
        observer.note(note)

    def before(name: str) -> np.ndarray[Any, Any]:
        known = previous.values.get(name)  # what it lacks is zero there
        return np.zeros(shapes[name], np.float32) if known is None else known.numpy()

    operands = [
        Operand(previous.where, before),
        Operand("this estimate", lambda name: found.omega[name].cpu().numpy()),
    ]
    values = CombinedValues(combined, operands, shapes)
    write_omega(config.out, combined.record, values.sources(), foreign=previous.foreign, overwrite=config.overwrite)
    return combined.record


def _result(
    config: EstimateConfig,
    record: OmegaRecord,
    found: Estimate,
    measured: Measured,
    source: ImageSource,
    position: Position,
    opened: Opened,
    seconds: float,
    verified: Verified | None,
) -> EstimateResult:
    assert config.out is not None
    header = read_header(config.out)
    layers = layer_summaries(header)
    return EstimateResult(
        out=str(config.out),
        method=record.method,
        objective=measured.objective,
        reduction=measured.reduction,
        compat=measured.compat,
        lambda_factor=measured.lambda_factor,
        activations=measured.activations(found.plan),
        heads=record.contributions[-1].heads,
        images=found.images,
        unreadable=tuple((str(source.files[place]), why) for place, why in sorted(position.unreadable.items())),
        mean_squared_norm=found.mean_value,
        statistics=statistics(read_array(header, name) for name in header.tensors),
        layers=tuple(LayerRow(s.name, s.parameters, s.share, s.mean, s.median, s.maximum, s.zeros) for s in layers),
        rules=found.plan.counts(),
        fallback=dict(found.plan.fallback),
        unused=found.plan.unused,
        uncovered_tasks=uncovered_tasks(opened.task_names, record),
        contributions=len(record.contributions),
        batch_size=source.batch_size,
        seconds=seconds,
        images_per_second=found.images / max(seconds, 1e-9),
        reliability=found.reliability,
        verified=None if verified is None else VerifiedFacts(verified.images, verified.error, verified.parameter),
        images_found=len(source.files),
        batch_size_limit=config.batch_size,
    )
