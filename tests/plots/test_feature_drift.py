"""The picture of features before and after."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from mascli.plots.feature_drift import MOST_CLASSES, MOST_TASKS, FeatureMove, class_groups, drift_picture
from mascli.plots.picture import rendered
from mascli.plots.style import styled
from mascli.reports.evaluate import EvaluateResult, TaskRow
from mascli.workflows.pictures.of_evaluation import picture_of_evaluation

BEFORE = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
MOVE = FeatureMove("birds", BEFORE, BEFORE + [5.0, 0.0], np.array([0, 1, 1]), ("crow", "swan"), 0.25, (0.6, 0.3))


@pytest.mark.parametrize(
    ("baselines", "named"), [(("out/first.st", "out/first.st"), "first.st"), (("a/one.st", "a/two.st"), "baselines")]
)
def test_the_title_names_the_file_that_features_moved_from(baselines: tuple[str, str], named: str) -> None:
    rows = tuple(
        TaskRow(task, "data", 2, 10, 9, 90.0, 80.0, 95.0, baseline)
        for task, baseline in zip(("birds", "cats"), baselines, strict=True)
    )
    result = EvaluateResult(checkpoint="out/second.st", tasks=rows, average_accuracy=90.0, average_forgetting=None)
    with styled():
        picture = picture_of_evaluation(result, [MOVE, replace(MOVE, task="cats")])
    assert picture.title == f"features of the same images: {named} (before) and second.st (after)"


def test_points_are_where_the_features_are_and_both_panels_share_their_axes() -> None:
    with styled():
        picture = drift_picture("drift", [MOVE])
    before, after = picture.figure.axes
    assert [scatter.get_offsets().tolist() for scatter in before.collections] == [[[0, 0]], [[1, 0], [0, 2]]]
    assert [scatter.get_offsets().tolist() for scatter in after.collections] == [[[5, 0]], [[6, 0], [5, 2]]]
    assert before.get_xlim() == after.get_xlim() and before.get_ylim() == after.get_ylim()
    assert before.get_xlabel() == "1st axis (60 % of variance before)"
    (legend,) = [legend for panel in picture.figure.subfigs for legend in panel.legends]
    assert [text.get_text() for text in legend.get_texts()] == ["crow", "swan"]
    assert "birds: features moved by 0.25 times their length" in picture.description


def test_a_class_has_one_colour_before_and_after_and_another_class_another() -> None:
    with styled():
        left, right = drift_picture("drift", [MOVE]).figure.axes
    first, second = ([tuple(part.get_facecolor()[0]) for part in axes.collections] for axes in (left, right))
    assert first == second and len(set(first)) == 2


def test_of_many_classes_those_with_most_images_have_colours() -> None:
    names = tuple(f"c{number}" for number in range(MOST_CLASSES + 5))
    labels = np.array([*range(len(names)), *[3] * 5, len(names) - 1])
    groups = class_groups(labels, names)
    assert len(groups) == MOST_CLASSES
    assert {"c3", names[-1]} <= {name for name, _ in groups}
    assert groups[-1][0] == "6 others" and len(groups[-1][1]) == 6
    assert sorted(number for _, members in groups for number in members) == list(range(len(names)))
    assert class_groups(np.array([2, 2]), ("a", "b", "c")) == (("c", (2,)),)


@pytest.mark.parametrize("tasks", [1, 5])
def test_several_tasks_can_be_drawn(tasks: int) -> None:
    assert rendered(lambda: drift_picture("drift", [MOVE] * tasks), "svg")


def test_of_very_many_tasks_the_first_are_drawn_and_the_rest_is_told() -> None:
    with styled():
        picture = drift_picture("drift", [MOVE] * (MOST_TASKS + 3))
    assert len(picture.figure.axes) == 2 * MOST_TASKS and "3 more tasks" in picture.description


def test_features_that_are_not_finite_are_said_to_be() -> None:
    odd = FeatureMove("odd", np.zeros((3, 2)), np.zeros((3, 2)), np.array([0, 1, 1]), ("a", "b"), math.nan, (0.0, 0.0))
    with styled():
        assert "odd: features not finite" in drift_picture("drift", [odd]).description
