"""An omega is used with the checkpoint it belongs to, and with no other."""

from __future__ import annotations

import pytest
import stored

from mascli.errors import CheckpointError
from mascli.files.binding import check_binding, uncovered_tasks
from mascli.records import OmegaRecord

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


def test_uncovered_tasks() -> None:
    omega = stored.omega(stored.contribution(heads=("base", "birds")), stored.contribution(heads=("cars",)))
    assert uncovered_tasks(("base", "dogs", "cars"), omega) == ("dogs",)
    assert uncovered_tasks(("base", "dogs"), None) == ("base", "dogs")
