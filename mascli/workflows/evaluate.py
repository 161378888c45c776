"""`mascli evaluate`: how well each task is answered, and what was forgotten since a baseline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from mascli.config import EvaluateConfig
from mascli.data.folders import LabelledFolder, labelled_folder, labels_for
from mascli.data.loader import ImageSet, normalize
from mascli.errors import CheckpointError, printable
from mascli.evaluation.metrics import wilson_interval
from mascli.evaluation.predict import predict
from mascli.observer import Observer
from mascli.reports.evaluate import EvaluateResult, Gate, TaskRow
from mascli.reports.numbers import plural
from mascli.workflows.chosen_folders import evaluation_folders
from mascli.workflows.learning.task_data import read_folder
from mascli.workflows.loading import Opened, chosen_device, open_checkpoint

# A gate is decided by the number that is shown.
DECIMALS = 2


def evaluate(config: EvaluateConfig, observer: Observer) -> EvaluateResult:
    """Measure the accuracy of each task that has a folder, and of its first baseline on the same images."""
    device = chosen_device(config.device)
    with observer.phase(f"opening {printable(config.checkpoint)}"):
        opened = open_checkpoint(config.checkpoint, config, device, observer)
    baselines = [(path, open_checkpoint(path, config, device, observer)) for path in config.baseline]
    folders = evaluation_folders(config, opened.task_names)
    notes = tuple(_baseline_notes(config, opened, baselines, folders))
    for note in notes:
        observer.note(note)
    rows = tuple(
        _task_row(config, task, labelled_folder(folder), opened, baselines, device, observer)
        for task, folder in folders.items()
    )
    forgetting = [row.forgetting for row in rows if row.forgetting is not None]
    return EvaluateResult(
        checkpoint=str(config.checkpoint),
        tasks=rows,
        average_accuracy=sum(row.accuracy for row in rows) / len(rows),
        average_forgetting=sum(forgetting) / len(forgetting) if forgetting else None,
        not_evaluated=tuple(name for name in opened.task_names if name not in folders),
        gates=(*_accuracy_gates(config.min_accuracy, rows), *_forgetting_gates(config.max_forgetting, rows)),
        notes=notes,
    )


def _baseline_notes(
    config: EvaluateConfig, opened: Opened, baselines: list[tuple[Path, Opened]], folders: Mapping[str, Path]
) -> Iterator[str]:
    for path, baseline in baselines:
        if not set(baseline.task_names) & folders.keys():
            yield f"--baseline {printable(path)} has none of the tasks evaluated, and is left out"
        elif baseline.lineage[-1].shared_sha256 not in opened.ancestry:
            yield (
                f"--baseline {printable(path)} is no ancestor of {printable(config.checkpoint)}: the difference is not "
                "forgetting"
            )


def _task_row(
    config: EvaluateConfig,
    task: str,
    folder: LabelledFolder,
    opened: Opened,
    baselines: list[tuple[Path, Opened]],
    device: torch.device,
    observer: Observer,
) -> TaskRow:
    with observer.phase(f"{task}: reading {plural(len(folder.files), 'image')} of {printable(folder.root)}"):
        images = read_folder(folder, folder.labels, opened.preprocessing, config, observer)
    with observer.phase(f"{task}: predicting, batches of {plural(config.batch_size, 'image')}"):
        correct = _correct(config, opened, task, folder, images, device, observer)
    accuracy = 100 * correct / len(images)
    low, high = wilson_interval(correct, len(images))
    observer.step(f"{task}: {correct} of {len(images)} images are put into their class")
    path, baseline = next(((p, b) for p, b in baselines if task in b.task_names), (None, None))
    before = None
    if baseline is not None:
        if baseline.preprocessing != opened.preprocessing:
            raise CheckpointError(f"{printable(str(path))} prepares images differently: the two cannot be compared")
        before = 100 * _correct(config, baseline, task, folder, images, device, observer) / len(images)
    return TaskRow(
        task=task,
        folder=str(folder.root),
        classes=len(folder.classes),
        images=len(images),
        correct=correct,
        accuracy=accuracy,
        low=low,
        high=high,
        baseline=str(path) if path else None,
        baseline_accuracy=before,
        forgetting=None if before is None else before - accuracy,
        unreadable=len(images.unreadable),
    )


def _correct(
    config: EvaluateConfig,
    opened: Opened,
    task: str,
    folder: LabelledFolder,
    images: ImageSet,
    device: torch.device,
    observer: Observer,
) -> int:
    """How many images of `folder` the head of `task` puts into their own class."""
    classes = next(known.classes for known in opened.tasks if known.name == task)
    labels_for(folder, classes, task)  # refuses a class that the head does not know

    def inputs() -> Iterator[Tensor]:
        for pixels, _ in images.batches(range(len(images)), config.batch_size):
            yield normalize(pixels, opened.preprocessing, device)

    with observer.progress(f"evaluate {task}", len(images)) as advance:
        predicted = predict(opened.model, task, inputs(), advance)
    truth = [folder.classes[label] for label in images.labels.tolist()]
    return sum(classes[guess] == own for guess, own in zip(predicted.tolist(), truth, strict=True))


def _accuracy_gates(limit: float | None, rows: tuple[TaskRow, ...]) -> Iterator[Gate]:
    for row in rows if limit is not None else ():
        value = round(row.accuracy, DECIMALS)
        yield Gate("min-accuracy", row.task, limit, value, value >= limit)  # type: ignore[arg-type, operator]


def _forgetting_gates(limit: float | None, rows: tuple[TaskRow, ...]) -> Iterator[Gate]:
    for row in rows if limit is not None else ():
        if row.forgetting is not None:
            value = round(row.forgetting, DECIMALS)
            yield Gate("max-forgetting", row.task, limit, value, value <= limit)  # type: ignore[arg-type, operator]
