"""`mascli estimate`: importance of every shared parameter, from any folder of images."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing

import torch
from torch import Tensor

from mascli.config import EstimateConfig
from mascli.data.fingerprint import fingerprint, packed
from mascli.data.folders import list_images
from mascli.data.loader import ImageReader, normalize
from mascli.data.order import seeded_order
from mascli.errors import CheckpointError, printable
from mascli.files.binding import uncovered_tasks
from mascli.files.omega_file import write_omega
from mascli.files.tensor_file import read_array, read_header
from mascli.files.tensors import to_source
from mascli.importance.combine import Part, sum_of
from mascli.importance.engine import Estimate, estimate_importance
from mascli.importance.objective import OBJECTIVES
from mascli.importance.statistics import layer_summaries, statistics
from mascli.observer import Observer
from mascli.records import Contribution, OmegaRecord
from mascli.reports.estimate import EstimateResult, LayerRow
from mascli.workflows.bound_omega import BoundOmega, read_bound_omega
from mascli.workflows.loading import Opened, chosen_device, current_shared_sha256, open_checkpoint
from mascli.workflows.settled import check_task

OBJECTIVE, REDUCTION = "squared-l2", "abs"


def estimate(config: EstimateConfig, observer: Observer) -> EstimateResult:
    """Measure how much the model's answers depend on each parameter, and write the omega."""
    assert config.out is not None  # preflight
    started = time.monotonic()
    device = chosen_device(config.device)
    opened = open_checkpoint(config.checkpoint, config, device, observer)
    tasks = answering_tasks(config, opened)
    previous = read_bound_omega(config.previous, opened) if config.previous else None
    files = list_images(config.data).files
    order = seeded_order(len(files), config.seed) if config.order == "seeded" else list(range(len(files)))
    reader = ImageReader(files, opened.preprocessing, workers=config.workers, on_error=config.on_error)
    digests: list[bytes] = []

    with observer.progress("estimate", min(len(order), config.limit or len(order))) as advance:

        def batches() -> Iterator[Tensor]:
            with closing(reader.batches(order[: config.limit], config.batch_size)) as read:
                for batch in read:
                    digests.extend(batch.digests)
                    yield normalize(batch.pixels, opened.preprocessing, device)
                    advance(len(batch.digests))

        measured = estimate_importance(opened.model, batches(), tasks, OBJECTIVES[OBJECTIVE])
    seconds = time.monotonic() - started
    for name, reason in measured.plan.fallback.items():
        observer.step(f"{name}: one image at a time, since {reason}")

    contribution = Contribution(
        heads=tasks,
        images=measured.images,
        shared_sha256=current_shared_sha256(opened.model),
        fingerprint=fingerprint(digests),
        image_hashes=packed(digests),
        mean_squared_norm=measured.mean_squared_norm,
        statistics=statistics(values.cpu().numpy() for values in measured.omega.values()),
        preprocessing=opened.preprocessing,
        unused=measured.plan.unused,
    )
    record = OmegaRecord(opened.spec, config.method, OBJECTIVE, REDUCTION, (contribution,))
    values = measured.omega
    if previous is not None:
        record, values = _sum(previous, record, values, observer)
    foreign = previous.foreign if previous else {}
    sources = {name: to_source(tensor) for name, tensor in values.items()}
    write_omega(config.out, record, sources, foreign=foreign, overwrite=config.overwrite)
    return _result(config, record, measured, reader, opened, seconds)


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


def _sum(
    previous: BoundOmega, record: OmegaRecord, values: dict[str, Tensor], observer: Observer
) -> tuple[OmegaRecord, dict[str, Tensor]]:
    """The sum of what was measured before and now, added in float64; what one lacks is zero there."""
    shapes = {name: tuple(value.shape) for name, value in values.items()}
    combined, notes = sum_of([Part(previous.where, previous.record, shapes), Part("this estimate", record, shapes)])
    for note in notes:
        observer.note(note)
    before = {name: previous.values.get(name, torch.zeros_like(value)) for name, value in values.items()}
    return combined, {name: (value.double() + before[name].double()).float() for name, value in values.items()}


def _result(
    config: EstimateConfig,
    record: OmegaRecord,
    measured: Estimate,
    reader: ImageReader,
    opened: Opened,
    seconds: float,
) -> EstimateResult:
    assert config.out is not None
    header = read_header(config.out)
    layers = layer_summaries(header)
    return EstimateResult(
        out=str(config.out),
        method=config.method,
        heads=record.contributions[-1].heads,
        images=measured.images,
        unreadable=tuple((str(item.file), item.reason) for item in reader.unreadable),
        mean_squared_norm=measured.mean_squared_norm,
        statistics=statistics(read_array(header, name) for name in header.tensors),
        layers=tuple(LayerRow(s.name, s.parameters, s.share, s.mean, s.median, s.maximum, s.zeros) for s in layers),
        rules=measured.plan.counts(),
        fallback=dict(measured.plan.fallback),
        unused=measured.plan.unused,
        uncovered_tasks=uncovered_tasks(opened.task_names, record),
        contributions=len(record.contributions),
        batch_size=config.batch_size,
        seconds=seconds,
        images_per_second=measured.images / max(seconds, 1e-9),
    )
