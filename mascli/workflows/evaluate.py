"""`mascli evaluate`: how well each task is answered, and what was forgotten since a baseline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from mascli.config import EvaluateConfig
from mascli.data.folders import LabelledFolder, labelled_folder, labels_for
from mascli.data.loader import ImageSet, normalize
from mascli.errors import CheckpointError, listed, printable
from mascli.evaluation.classes import class_counts, confusion
from mascli.evaluation.features import Features, recorded_features
from mascli.evaluation.metrics import wilson_interval
from mascli.evaluation.paired import mcnemar, paired_interval
from mascli.evaluation.predict import NO_ANSWER, Predictions, predict
from mascli.observer import Observer
from mascli.plots.feature_drift import FeatureMove
from mascli.reports.estimate import unreadable_lines
from mascli.reports.evaluate import EvaluateResult, TaskRow
from mascli.reports.evaluate_classes import ClassRow, ConfusedPair
from mascli.reports.numbers import plural
from mascli.workflows.accuracy_limits import gates, limit_notes
from mascli.workflows.chosen_folders import evaluation_folders
from mascli.workflows.learning.task_data import read_folder
from mascli.workflows.loading import Opened, chosen_device, open_checkpoint
from mascli.workflows.pictures.of_evaluation import draw_evaluation, feature_move

TOP = 5


@dataclass(frozen=True)
class _Measured:
    """What one checkpoint answers on the images of a task: `truth` holds their classes as it numbers them [N]."""

    classes: tuple[str, ...]
    truth: Tensor
    answers: Predictions
    features: Features | None = None

    @property
    def correct(self) -> int:
        return int(self.answers.correct.sum())

    @property
    def without_answer(self) -> int:
        return int((self.answers.predicted == NO_ANSWER).sum())


def evaluate(config: EvaluateConfig, observer: Observer) -> EvaluateResult:
    """Measure the accuracy of each task that has a folder, and of its first baseline on the same images."""
    device = chosen_device(config.device)
    with observer.phase(f"opening {printable(config.checkpoint)}"):
        opened = open_checkpoint(config.checkpoint, config, device, observer)
    baselines = [(path, open_checkpoint(path, config, device, observer)) for path in config.baseline]
    folders = evaluation_folders(config, opened.task_names)
    notes = [*limit_notes(config), *_baseline_notes(config, opened, baselines, folders)]
    for note in notes:
        observer.note(note)
    rows, moves = [], list[FeatureMove]()
    for task, folder in folders.items():
        evaluation = _TaskEvaluation(config, task, labelled_folder(folder, allow_empty=True), device, observer)
        rows.append(evaluation.row(opened, baselines))
        notes += evaluation.notes
        moves += evaluation.moves
    forgetting = [row.forgetting for row in rows if row.forgetting is not None]
    result = EvaluateResult(
        checkpoint=str(config.checkpoint),
        tasks=tuple(rows),
        average_accuracy=sum(row.accuracy for row in rows) / len(rows),
        average_forgetting=sum(forgetting) / len(forgetting) if forgetting else None,
        not_evaluated=tuple(name for name in opened.task_names if name not in folders),
        gates=tuple(gates(config, rows)),
        notes=tuple(notes),
        left_out=tuple(name for name in opened.task_names if config.task and name not in config.task),
    )
    if config.plot is not None:
        draw_evaluation(result, moves, config.plot, overwrite=config.overwrite)
    return result


def _baseline_notes(
    config: EvaluateConfig, opened: Opened, baselines: list[tuple[Path, Opened]], folders: Mapping[str, Path]
) -> Iterator[str]:
    left = list(folders)
    for path, baseline in baselines:
        shown = f"--baseline {printable(path)}"
        compared = [task for task in left if task in baseline.task_names]
        left = [task for task in left if task not in compared]
        if compared and not _is_ancestor(baseline, opened):
            yield (
                f"{shown} is no ancestor of {printable(config.checkpoint)}: the difference is not forgetting in "
                f"{listed(compared, 20)}, and counts as such in the average and in limits"
            )
        elif not set(baseline.task_names) & folders.keys():
            yield f"{shown} has none of the tasks evaluated, and is left out"
        elif not compared:
            yield f"{shown} is left out: an earlier --baseline has its tasks"


def _is_ancestor(baseline: Opened, opened: Opened) -> bool:
    return baseline.lineage[-1].shared_sha256 in opened.ancestry


class _TaskEvaluation:
    """One task on the images of one folder, which are read once for all checkpoints.

    `notes` is filled meanwhile, and with `--plot` so is `moves`: how the features moved since the baseline.
    """

    def __init__(
        self, config: EvaluateConfig, task: str, folder: LabelledFolder, device: torch.device, observer: Observer
    ) -> None:
        self._config, self._task, self._folder = config, task, folder
        self._device, self._observer = device, observer
        self.notes: list[str] = []
        self.moves: list[FeatureMove] = []

    def row(self, opened: Opened, baselines: list[tuple[Path, Opened]]) -> TaskRow:
        """Measure the checkpoint and the first baseline that has the task."""
        folder, task, observer = self._folder, self._task, self._observer
        with observer.phase(f"{task}: reading {plural(len(folder.files), 'image')} of {printable(folder.root)}"):
            images = read_folder(folder, folder.labels, opened.preprocessing, self._config, observer)
        with observer.phase(f"{task}: predicting, batches of {plural(self._config.batch_size, 'image')}"):
            now = self._measured(opened, self._config.checkpoint, images)
        observer.step(f"{task}: {now.correct} of {len(images)} images are put into their class")
        path, baseline = next(((p, b) for p, b in baselines if task in b.task_names), (None, None))
        before = None
        if path is not None and baseline is not None:
            if baseline.preprocessing != opened.preprocessing:
                raise CheckpointError(f"{printable(path)} prepares images differently: the two cannot be compared")
            before = self._measured(baseline, path, images)
        row = self._told(now, images)
        if before is None or baseline is None:
            return row
        row = replace(row, baseline=str(path), baseline_is_ancestor=_is_ancestor(baseline, opened))
        row = _compared(row, now.answers.correct, before.answers.correct)
        if self._config.per_class:
            row = replace(row, per_class=_class_rows(now, before.answers.correct.tolist()))
        return self._moved(row, now, before)

    def _measured(self, opened: Opened, path: Path, images: ImageSet) -> _Measured:
        """What the head of the task answers; nan is no answer, and a note tells of how many images."""
        classes = next(known.classes for known in opened.tasks if known.name == self._task)
        labels_for(self._folder, classes, self._task)  # refuses a class that the head does not know
        numbers = {name: number for number, name in enumerate(classes)}
        positions = torch.tensor([numbers[name] for name in self._folder.classes])

        def inputs() -> Iterator[tuple[Tensor, Tensor]]:
            for pixels, labels in images.batches(range(len(images)), self._config.batch_size):
                yield normalize(pixels, opened.preprocessing, self._device), positions[labels]

        drawn = self._config.plot is not None and self._config.baseline
        recording = recorded_features(opened.model, self._task) if drawn else nullcontext()
        with self._observer.progress(f"evaluate {self._task}", len(images)) as advance, recording as features:
            found = predict(opened.model, self._task, inputs(), advance)
        measured = _Measured(classes, positions[images.labels], found, features)
        if measured.without_answer:
            note = (
                f"{printable(path)}: the outputs for {plural(measured.without_answer, 'image')} of task {self._task} "
                "hold nan, which is no answer: counted as wrong"
            )
            self._observer.note(note)
            self.notes.append(note)
        return measured

    def _moved(self, row: TaskRow, now: _Measured, before: _Measured) -> TaskRow:
        """`row` with the drift of the features, where these were kept and are of one size."""
        if now.features is None or before.features is None:
            return row
        one, other = before.features.values, now.features.values
        if one.shape != other.shape:
            return row
        self.moves.append(feature_move(self._task, one, other, now.truth.tolist(), now.classes))
        return replace(row, feature_drift=self.moves[-1].drift)

    def _told(self, now: _Measured, images: ImageSet) -> TaskRow:
        """What the checkpoint alone comes to."""
        total, correct = len(images), now.correct
        unread = unreadable_lines([(str(item.file), item.reason) for item in images.unreadable], rest="")
        for line in unread:
            self._observer.note(line)
        self.notes += unread
        low, high = wilson_interval(correct, total)
        with_images = set(now.truth.tolist())
        return TaskRow(
            task=self._task,
            folder=str(self._folder.root),
            classes=len(with_images),
            images=total,
            correct=correct,
            accuracy=100 * correct / total,
            low=low,
            high=high,
            unreadable=len(images.unreadable),
            known_classes=len(now.classes),
            without_images=tuple(name for number, name in enumerate(now.classes) if number not in with_images),
            no_answer=now.without_answer,
            top5=100 * int((now.answers.ranks < TOP).sum()) / total if len(now.classes) > TOP else None,
            per_class=_class_rows(now, None) if self._config.per_class else None,
            confusion=_confused(now) if self._config.per_class else None,
        )


def _compared(row: TaskRow, now: Tensor, before: Tensor) -> TaskRow:
    """`row` beside a baseline, from whether each of the two puts each image into its class [N]."""
    lost, gained = int((before & ~now).sum()), int((now & ~before).sum())
    low, high = paired_interval(lost, gained, row.images)
    accuracy = 100 * int(before.sum()) / row.images
    return replace(
        row,
        baseline_accuracy=accuracy,
        forgetting=accuracy - row.accuracy,
        forgetting_low=low,
        forgetting_high=high,
        lost=lost,
        gained=gained,
        p_value=mcnemar(lost, gained),
    )


def _class_rows(now: _Measured, before: list[bool] | None) -> tuple[ClassRow, ...]:
    counts = class_counts(len(now.classes), now.truth.tolist(), now.answers.predicted.tolist(), before)
    rows = []
    for name, found in zip(now.classes, counts, strict=True):
        low, high = wilson_interval(found.correct, found.images)
        some, compared = found.images > 0, before is not None
        rows.append(
            ClassRow(
                class_=name,
                images=found.images,
                correct=found.correct,
                predicted=found.predicted,
                accuracy=100 * found.correct / found.images if some else None,
                low=low if some else None,
                high=high if some else None,
                lost=found.lost if compared else None,
                gained=found.gained if compared else None,
                forgetting=100 * (found.lost - found.gained) / found.images if some and compared else None,
            )
        )
    return tuple(rows)


def _confused(now: _Measured) -> tuple[ConfusedPair, ...]:
    pairs = confusion(now.truth.tolist(), now.answers.predicted.tolist())
    return tuple(ConfusedPair(now.classes[own], now.classes[other], images) for own, other, images in pairs)
