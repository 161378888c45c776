"""The pictures of a run and of an evaluation: matrices, lines, intervals and confusion have the numbers given."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
from matplotlib.axes import Axes

from mascli.plots.accuracy_matrix import MethodMatrix, colour_floor, draw_matrix
from mascli.plots.accuracy_sequence import Course, draw_courses
from mascli.plots.picture import rendered
from mascli.plots.run_picture import MOST_TASKS, run_picture
from mascli.plots.style import new_figure, series_style, styled
from mascli.plots.task_accuracy import Confusion, TaskAccuracy, accuracy_picture, draw_accuracies, draw_confusion

MATRIX = MethodMatrix("mas, lambda 1", ((99.04,), (88.5, 97.0), (12.25, 80.0, 100.0)))
TASKS = ("flowers", "birds", "cars")


@pytest.fixture
def axes() -> Iterator[Axes]:
    with styled():
        yield new_figure(6, 4).subplots()


def cells(axes: Axes) -> dict[tuple[int, int], str]:
    """(row, column) -> what is written there."""
    return {(int(text.get_position()[1]), int(text.get_position()[0])): text.get_text() for text in axes.texts}


def test_every_accuracy_is_written_in_its_cell_and_coloured_by_it(axes: Axes) -> None:
    draw_matrix(axes, MATRIX, TASKS, 10)
    expected = {(0, 0): "99.0", (1, 0): "88.5", (1, 1): "97.0", (2, 0): "12.2", (2, 1): "80.0", (2, 2): "100.0"}
    assert cells(axes) == expected
    shown = axes.images[0].get_array()
    assert shown[2].tolist() == [12.25, 80.0, 100.0]
    assert shown[0].tolist() == [99.04, None, None]  # not learned yet
    assert axes.images[0].get_clim() == (10, 100)
    assert [label.get_text() for label in axes.get_yticklabels()] == list(TASKS)


def test_numbers_are_light_on_dark_and_dark_on_light(axes: Axes) -> None:
    draw_matrix(axes, MATRIX, TASKS, 10)
    colours = {text.get_text(): text.get_color() for text in axes.texts}
    assert colours["12.2"] == "white" != colours["99.0"]


def test_the_scale_of_colours_begins_at_the_ten_below_the_lowest_accuracy() -> None:
    assert colour_floor([MATRIX]) == 10
    assert colour_floor([MethodMatrix("", ((100.0,),))]) == 90
    assert colour_floor([MethodMatrix("", ((0.0,),))]) == 0


@pytest.mark.parametrize(("tasks", "numbers"), [(9, 45), (30, 465), (41, 0)])
def test_many_tasks_have_whole_numbers_and_very_many_none(axes: Axes, tasks: int, numbers: int) -> None:
    rows = tuple(tuple([95.4] * (row + 1)) for row in range(tasks))
    draw_matrix(axes, MethodMatrix("m", rows), [f"t{number}" for number in range(tasks)], 90)
    assert [text.get_text() for text in axes.texts] == ["95"] * numbers


def test_a_line_runs_through_the_means_and_bars_from_low_to_high(axes: Axes) -> None:
    course = Course("mas", 1, (97.0, 80.0), ((96.0, 98.0), (70.0, 90.0)))
    draw_courses(axes, [course], 3, "birds", 60)
    (line,) = axes.lines
    assert list(line.get_xdata()) == [2, 3] and list(line.get_ydata()) == [97, 80]
    spans = [path.vertices.tolist() for path in axes.collections[0].get_paths()]
    assert spans == [[[2, 96], [2, 98]], [[3, 70], [3, 90]]]


def test_lines_of_several_methods_stand_beside_each_other_and_look_different(axes: Axes) -> None:
    courses = [Course(f"m{number}", 0, (90.0, 80.0), (None, None)) for number in range(8)]
    draw_courses(axes, courses, 2, "", 0)
    places = [float(line.get_xdata()[0]) for line in axes.lines]
    assert len(set(places)) == 8 and max(places) - min(places) < 0.5 and not axes.collections
    assert len({(line.get_color(), line.get_marker(), line.get_linestyle()) for line in axes.lines}) == 8
    assert len({series_style(number) for number in range(28)}) == 28


def test_the_picture_of_a_run_has_a_matrix_a_method_and_a_panel_a_task() -> None:
    average = [Course("mas, lambda 1", 0, (99.0, 92.75, 64.08), (None,) * 3)]
    by_task = {task: [Course("mas, lambda 1", number, (90.0,) * (3 - number), (None,) * (3 - number))]
               for number, task in enumerate(TASKS)}  # fmt: skip
    with styled():
        picture = run_picture("a run", TASKS, [MATRIX, MATRIX], average, by_task, 1)
    titles = [axes.get_title(loc="left") for axes in picture.figure.axes if axes.get_visible()]
    assert titles.count("mas, lambda 1") == 2
    assert [title for title in titles if title in TASKS] == list(TASKS)
    assert "mas, lambda 1: 64.08 %" in picture.description


@pytest.mark.parametrize("tasks", [1, 2, MOST_TASKS + 1])
def test_runs_of_any_length_can_be_drawn(tasks: int) -> None:
    names = [f"a-task-with-a-rather-long-name-{number}" for number in range(tasks)]
    rows = tuple(tuple([float(row)] * (row + 1)) for row in range(tasks))
    courses = {name: [Course("m", n, (50.0,) * (tasks - n), (None,) * (tasks - n))] for n, name in enumerate(names)}
    average = [Course("m", 0, (50.0,) * tasks, (None,) * tasks)]
    with styled():
        picture = run_picture("run", names, [MethodMatrix("m", rows)], average, courses, 1)
    assert ("the first" in picture.title) == (tasks > MOST_TASKS)
    assert rendered(lambda: run_picture("run", names, [MethodMatrix("m", rows)], average, courses, 1), "svg")


def test_points_of_accuracy_lie_within_their_intervals(axes: Axes) -> None:
    draw_accuracies(axes, [TaskAccuracy("flowers", 90.0, 80.0, 95.0), TaskAccuracy("birds", 70.0, 60.0, 75.0, 85.0)])
    now, before = axes.lines
    assert list(now.get_xdata()) == [90, 70] and list(now.get_ydata()) == [0, 1]
    assert list(before.get_xdata()) == [85] and list(before.get_ydata()) == [1]
    spans = [path.vertices.tolist() for path in axes.collections[0].get_paths()]
    assert spans == [[[80, 0], [95, 0]], [[60, 1], [75, 1]]]
    assert [text.get_text() for text in axes.texts] == ["90.00 %", "70.00 %"]


def test_confusion_is_coloured_by_the_part_of_a_class_and_written_as_images(axes: Axes) -> None:
    draw_confusion(axes, Confusion("birds", ("crow", "swan", "none"), ((9, 1, 0), (1, 1, 2), (0, 0, 0))))
    assert axes.images[0].get_array().tolist() == [[90, 10, 0], [25, 25, 50], [0, 0, 0]]
    assert cells(axes) == {(0, 0): "9", (0, 1): "1", (1, 0): "1", (1, 1): "1", (1, 2): "2"}


@pytest.mark.parametrize("classes", [1, 21, 200])
def test_any_number_of_classes_can_be_drawn(classes: int) -> None:
    names = tuple(f"class number {number}" for number in range(classes))
    counts = tuple(tuple(int(one == other) for other in names) for one in names)
    tasks = [TaskAccuracy(f"t{number}", 50.0, 0.0, 100.0) for number in range(30)]
    assert rendered(lambda: accuracy_picture("a", tasks, [Confusion("t0", names, counts)] * 2), "png")


def test_an_accuracy_that_is_not_known_is_an_empty_cell(axes: Axes) -> None:
    draw_matrix(axes, MethodMatrix("m", ((math.nan,),)), ("a",), 0)
    assert axes.images[0].get_array().mask.all()
