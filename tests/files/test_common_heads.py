"""Heads that several tasks use, in the metadata of files: what comes back, and what cannot be."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import stored

from mascli.errors import CheckpointError
from mascli.files.binding import check_binding, check_heads
from mascli.files.header import Header
from mascli.files.records_json import checkpoint_metadata, checkpoint_record, omega_metadata, omega_record
from mascli.files.tensor_file import TensorInfo
from mascli.records import CheckpointRecord, OmegaRecord, Step, Task

TENSORS = ("body.weight", "body.bias", "body.mean", "mascli.head.base.weight")
CLASSES = ("cat", "dog")
ONE, OTHER = "1" * 64, "2" * 64


def header(metadata: dict[str, str], names: tuple[str, ...]) -> Header:
    return Header(Path("some.file"), {name: TensorInfo("F32", (1,), 0, 4) for name in names}, metadata, 8)


def shared(**changes: Any) -> CheckpointRecord:
    """Two tasks with the head of the first."""
    tasks = (Task("base", CLASSES), Task("photos", CLASSES, head="base"))
    lineage = (Step("init", "a" * 64), Step("train-task", "b" * 64, "photos", heads_before=(ONE,)))
    return stored.checkpoint(**{"tasks": tasks, "lineage": lineage, **changes})


def measured(**changes: Any) -> OmegaRecord:
    return stored.omega(stored.contribution(**{"heads_sha256": {"base": ONE}, **changes}))


def test_a_checkpoint_whose_tasks_share_a_head_comes_back_and_older_programs_refuse_it() -> None:
    record = shared()
    found = header(checkpoint_metadata(record, {}), TENSORS)
    assert checkpoint_record(found) == record
    assert found.metadata["mascli.format_version"] == "3"
    assert json.loads(found.metadata["mascli.tasks"])[1]["head"] == "base"
    assert json.loads(found.metadata["mascli.lineage"])[1]["heads_before"] == [ONE]
    assert record.common_heads == {"base": ("base", "photos")}


def test_an_omega_that_knows_heads_comes_back_and_older_programs_refuse_it() -> None:
    record = measured()
    found = header(omega_metadata(record, {}), ("body.weight", "mascli.head.base.weight"))
    assert omega_record(found) == record
    assert found.metadata["mascli.format_version"] == "3"


def test_files_of_tasks_with_their_own_heads_say_nothing_new() -> None:
    metadata = checkpoint_metadata(stored.checkpoint(("base", "birds")), {})
    assert metadata["mascli.format_version"] == "1"
    assert {key for task in json.loads(metadata["mascli.tasks"]) for key in task} == {
        "name",
        "classes",
        "kind",
        "imported",
    }
    assert "heads_before" not in metadata["mascli.lineage"]
    plain = omega_metadata(stored.omega(), {})
    assert plain["mascli.format_version"] == "1" and "heads_sha256" not in plain["mascli.contributions"]


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        ((Task("base", CLASSES), Task("photos", CLASSES, head="gone")), "the head of 'gone', and no earlier task"),
        ((Task("base", CLASSES), Task("photos", CLASSES, head="photos")), "the head of 'photos', and no earlier task"),
        ((Task("photos", CLASSES, head="base"), Task("base", CLASSES)), "the head of 'base', and no earlier task"),
        ((Task("base", CLASSES), Task("photos", ("dog", "cat"), head="base")), "which has other classes"),
        (
            (Task("base", CLASSES), Task("photos", CLASSES, imported=True, head="base")),
            "one that came with the weights",
        ),
        (
            (Task("base", CLASSES), Task("photos", CLASSES, head="base"), Task("x", CLASSES, head="photos")),
            "the head of 'photos', and no earlier task",
        ),
        ((Task("base", CLASSES), Task("photos", CLASSES)), "its tasks and its heads are not the same"),
    ],
)
def test_a_head_that_cannot_be_used_is_one_line(tasks: tuple[Task, ...], said: str) -> None:
    damaged = header(checkpoint_metadata(shared(tasks=tasks), {}), TENSORS)
    with pytest.raises(CheckpointError, match=r"some.file is damaged: ") as caught:
        checkpoint_record(damaged)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_shared_head_is_listed_once() -> None:
    twice = shared(heads={task: {"weight": "mascli.head.base.weight"} for task in ("base", "photos")})
    with pytest.raises(CheckpointError, match="its tasks and its heads are not the same"):
        checkpoint_record(header(checkpoint_metadata(twice, {}), TENSORS))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"heads_sha256": {"birds": ONE}}, "it lacks the tensors of the heads birds"),
        ({"heads_sha256": {"a/b": ONE}}, "a/b cannot name a task"),
    ],
)
def test_heads_that_an_omega_cannot_have_measured_are_one_line(changes: dict[str, Any], said: str) -> None:
    damaged = header(omega_metadata(measured(**changes), {}), ("body.weight", "mascli.head.base.weight"))
    with pytest.raises(CheckpointError, match=r"some.file is damaged: ") as caught:
        omega_record(damaged)
    assert said in str(caught.value)


def test_an_omega_belongs_to_the_head_that_it_was_measured_on() -> None:
    check_heads(measured(), ["base"], frozenset({ONE}), "o")
    check_heads(measured(), [], frozenset({OTHER}), "o")  # a head that nobody asks about
    with pytest.raises(CheckpointError, match=r"o was measured on another head of task base .111111111111.*--heads"):
        check_heads(measured(), ["base"], frozenset({OTHER}), "o")
    both = replace(measured(), contributions=(*measured().contributions, stored.contribution("three")))
    check_heads(both, ["base"], frozenset({ONE}), "o")  # the second estimate says nothing about the head
    with pytest.raises(CheckpointError, match="o is damaged: no estimate in it has measured the head of base"):
        check_heads(stored.omega(), ["base"], frozenset({ONE}), "o")


def test_heads_that_are_not_asked_about_are_let_through() -> None:
    shapes = {"body.weight": (2, 2)}
    found = {**shapes, "mascli.head.base.weight": (3,)}
    heads = {"mascli.head.base.weight": (3,)}
    assert check_binding(measured(), found, frozenset({"a" * 64}), shapes, "o", heads) == ()
    lacking = check_binding(measured(), shapes, frozenset({"a" * 64}), {**shapes, **heads}, "o", heads)
    assert lacking == ("mascli.head.base.weight",)
    with pytest.raises(CheckpointError, match=r"the checkpoint has no mascli.head.birds.weight"):
        check_binding(measured(), {"mascli.head.birds.weight": (3,)}, frozenset({"a" * 64}), shapes, "o", heads)
