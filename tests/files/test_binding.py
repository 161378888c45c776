"""An omega is used with the checkpoint it belongs to, and with no other."""

from __future__ import annotations

from pathlib import Path

import pytest
import stored

from mascli.errors import CheckpointError
from mascli.files.binding import check_binding, own_shapes, shared_shapes, uncovered_tasks
from mascli.files.header import Header, TensorInfo
from mascli.records import OmegaRecord, Statistics

SHAPES = {"body.weight": (2, 3), "body.bias": (2,)}


def refusal(omega: OmegaRecord, shapes: dict[str, tuple[int, ...]], ancestry: frozenset[str]) -> str:
    with pytest.raises(CheckpointError) as caught:
        check_binding(omega, shapes, ancestry, SHAPES, "some.omega")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_omega_of_the_checkpoint_or_of_an_ancestor_is_accepted() -> None:
    omega = stored.omega(stored.contribution(), stored.contribution("three", shared_sha256="b"))
    assert check_binding(omega, SHAPES, frozenset({"a" * 64, "b", "c"}), SHAPES, "some.omega") == ()


def test_parameters_without_importance_are_listed() -> None:
    lacking = check_binding(stored.omega(), {"body.bias": (2,)}, frozenset({"a" * 64}), SHAPES, "some.omega")
    assert lacking == ("body.weight",)


def test_each_difference_is_named() -> None:
    ours = frozenset({"a" * 64})
    assert "the checkpoint has no fc.weight" in refusal(stored.omega(), {**SHAPES, "fc.weight": (1,)}, ours)
    line = refusal(stored.omega(), {**SHAPES, "body.weight": (3, 2)}, ours)
    assert "measured on mascli:mlp" in line
    assert "body.weight is [3, 2] in the omega and [2, 3] in the checkpoint" in line
    line = refusal(
        stored.omega(stored.contribution(), stored.contribution(heads=("birds",), shared_sha256="b")), SHAPES, ours
    )
    assert line.startswith("some.omega was measured on other weights")
    assert "contribution for birds" in line


def test_what_each_task_has_had_of_its_own_since_may_be_in_the_omega() -> None:
    ours, omega = frozenset({"a" * 64}), {**SHAPES, "norm.weight": (4,)}
    assert check_binding(stored.omega(), omega, ours, SHAPES, "some.omega", {"norm.weight": (4,)}) == ()
    with pytest.raises(CheckpointError, match=r"norm\.weight is \[4\] in the omega and \[5\] in the checkpoint"):
        check_binding(stored.omega(), omega, ours, SHAPES, "some.omega", {"norm.weight": (5,)})
    with pytest.raises(CheckpointError, match=r"the checkpoint has no norm\.weight"):
        check_binding(stored.omega(), omega, ours, SHAPES, "some.omega", {"norm.bias": (4,)})


def test_the_shapes_of_a_file_are_those_of_its_tensors() -> None:
    record = stored.checkpoint(owned={"base": {"norm.weight": "mascli.task.base.norm.weight"}})
    shapes = {"body.weight": (2, 3), "body.bias": (2,), "body.mean": (), "mascli.task.base.norm.weight": (4,)}
    header = Header(Path("x"), {name: TensorInfo("F32", shape, 0, 0) for name, shape in shapes.items()}, {}, 0)
    assert shared_shapes(header, record) == SHAPES
    assert own_shapes(header, record) == {"norm.weight": (4,)}


def test_uncovered_tasks() -> None:
    omega = stored.omega(stored.contribution(heads=("base", "birds")), stored.contribution(heads=("cars",)))
    assert uncovered_tasks(("base", "dogs", "cars"), omega) == ("dogs",)
    assert uncovered_tasks(("base", "dogs"), None) == ("base", "dogs")


def test_an_importance_that_is_zero_everywhere_covers_no_task() -> None:
    nothing = stored.contribution(heads=("dogs", "cars"), statistics=Statistics(0.0, 0.0, 0.0, 1.0))
    omega = stored.omega(nothing, stored.contribution(heads=("cars",)))
    assert uncovered_tasks(("dogs", "cars"), omega) == ("dogs",)
    assert omega.zero_tasks == {"dogs"}
