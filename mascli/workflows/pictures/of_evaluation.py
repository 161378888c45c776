"""From what an evaluation has found to its picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mascli.errors import printable
from mascli.evaluation.feature_drift import feature_drift, projected
from mascli.plots.feature_drift import FeatureMove, drift_picture
from mascli.plots.picture import Picture, write_picture
from mascli.plots.task_accuracy import Confusion, TaskAccuracy, accuracy_picture
from mascli.reports.evaluate import EvaluateResult, TaskRow

Features = NDArray[np.float32]


def draw_evaluation(result: EvaluateResult, moves: Sequence[FeatureMove], path: Path, *, overwrite: bool) -> None:
    """Draw how the features have moved since the baselines, or without any the accuracy of each task.

    Raises:
        UsageError: `path` is taken or cannot be written.
    """
    write_picture(lambda: picture_of_evaluation(result, moves), path, overwrite=overwrite)


def picture_of_evaluation(result: EvaluateResult, moves: Sequence[FeatureMove]) -> Picture:
    """The drift of the features where there are `moves`, else accuracies, and which classes are taken for which."""
    name = printable(Path(result.checkpoint).name)
    if moves:
        return drift_picture(
            f"features of the same images: {_before(result, moves)} (before) and {name} (after)", moves
        )
    tasks = [TaskAccuracy(row.task, row.accuracy, row.low, row.high, row.baseline_accuracy) for row in result.tasks]
    return accuracy_picture(f"accuracy of {name}", tasks, [confusion_of(row) for row in result.tasks if row.confusion])


def _before(result: EvaluateResult, moves: Sequence[FeatureMove]) -> str:
    """The file that the features moved from; of several, what they are."""
    moved = {move.task for move in moves}
    files = {printable(Path(row.baseline).name) for row in result.tasks if row.task in moved and row.baseline}
    return files.pop() if len(files) == 1 else "baselines"


def feature_move(
    task: str, before: Features, after: Features, labels: Sequence[int], classes: tuple[str, ...]
) -> FeatureMove:
    """The features [N, D] of the same images before and after on two axes, and how far they moved in all."""
    axes = projected(before, after)
    numbers = np.asarray(labels, np.int64)
    return FeatureMove(task, axes.before, axes.after, numbers, classes, feature_drift(before, after), axes.shown)


def confusion_of(row: TaskRow) -> Confusion:
    """The confusion of a task as a matrix of all classes of its head."""
    classes = tuple(each.class_ for each in row.per_class or ())
    places = {name: number for number, name in enumerate(classes)}
    counts = np.zeros((len(classes), len(classes)), np.int64)
    for pair in row.confusion or ():
        counts[places[pair.class_], places[pair.taken_for]] = pair.images
    return Confusion(row.task, classes, tuple(map(tuple, counts.tolist())))
