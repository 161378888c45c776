"""What counts as done: the same settings, the same content read, the same content written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from commands import write_images

from mascli.config import UNIFORM, EvaluateConfig, MergeConfig, TrainTaskConfig
from mascli.errors import UsageError
from mascli.files.partial_file import partial_path
from mascli.workflows.sequences.done_steps import (
    Content,
    Steps,
    check_unchanged,
    forget_all,
    read_by,
    settings_of,
    with_resume,
)
from mascli.workflows.sequences.sequence_steps import Step


@pytest.fixture
def step(tmp_path: Path) -> Step:
    write_images(tmp_path / "photos", {"a": 1, "b": 2}, 3)
    for name in ("old.st", "old.omega"):
        (tmp_path / name).write_bytes(name.encode())
    config = TrainTaskConfig(
        checkpoint=tmp_path / "old.st",
        task="birds",
        data=tmp_path / "photos",
        omega=(tmp_path / "old.omega",),
        lambda_=3.0,
        epochs=7,
        out=tmp_path / "out" / "seed-0" / "birds.st",
    )
    return Step("seed-0/birds.train-task", config)


def steps_of(step: Step) -> Steps:
    """The records as another process would see them."""
    assert step.config.out is not None
    return Steps(step.config.out.parents[1] / "steps", Content())


def carry_out(step: Step) -> None:
    steps = steps_of(step)
    begun = steps.begin(step)
    assert step.config.out is not None
    step.config.out.write_bytes(b"learned")
    steps.finish(step, begun, {"lambda": 3.0, "tasks": [["b", 1, 2], ["a", 1, 2]]}, 1.23456)


def changed(step: Step, **fields: Any) -> Step:
    return Step(step.name, replace(step.config, **fields))


def test_a_step_is_done_once_it_is_finished(step: Step) -> None:
    assert steps_of(step).done(step) is None
    steps_of(step).begin(step)
    assert steps_of(step).done(step) is None
    carry_out(step)
    record = steps_of(step).done(step)
    assert record is not None and record.seconds == 1.235
    assert record.found == {"lambda": 3.0, "tasks": [["b", 1, 2], ["a", 1, 2]]}  # in their order


def test_what_was_written_must_still_be_there(step: Step) -> None:
    carry_out(step)
    out = step.config.out
    assert out is not None
    for content in (b"another", None):
        out.write_bytes(content) if content else out.unlink()
        assert steps_of(step).done(step) is None
        assert steps_of(step).changes(step) == []  # done again, with nothing lost
    out.write_bytes(b"learned")
    assert steps_of(step).done(step) is not None


@pytest.mark.parametrize(
    ("fields", "what"),
    [({"epochs": 8}, "epochs"), ({"lambda_": 2.0}, "lambda"), ({"seed": 1}, "seed"), ({"nesterov": True}, "nesterov")],
)
def test_another_setting_is_told(step: Step, fields: dict[str, Any], what: str) -> None:
    carry_out(step)
    other = changed(step, **fields)
    assert steps_of(step).done(other) is None
    assert steps_of(step).changes(other) == [f"another {what}"]
    with pytest.raises(UsageError, match=f"another {what}.*--overwrite"):
        check_unchanged(steps_of(step), (other,))
    check_unchanged(steps_of(step), (step,))


@pytest.mark.parametrize("fields", [{"device": "cpu"}, {"workers": 0}, {"cache": "none"}, {"verbose": True}])
def test_what_decides_no_result_may_differ(step: Step, fields: dict[str, Any]) -> None:
    carry_out(step)
    assert steps_of(step).done(changed(step, **fields)) is not None


def test_another_input_is_told(step: Step, tmp_path: Path) -> None:
    carry_out(step)
    image = tmp_path / "photos/a/000.png"
    pixels = image.read_bytes()
    (tmp_path / "old.omega").write_bytes(b"newer")
    image.write_bytes(pixels + b"x")
    assert steps_of(step).changes(step) == ["another omega.0", f"other images in {tmp_path / 'photos'}"]
    image.write_bytes(pixels)
    (tmp_path / "old.omega").write_bytes(b"old.omega")
    assert steps_of(step).done(step) is not None
    image.rename(image.with_name("other.png"))
    assert steps_of(step).changes(step) == [f"other images in {tmp_path / 'photos'}"]
    with pytest.raises(UsageError, match=r"was done with other images in .*photos; choose another folder"):
        check_unchanged(steps_of(step), (step,))


def test_a_damaged_file_of_a_step_is_made_again_and_is_no_change_of_the_next(step: Step, tmp_path: Path) -> None:
    out = step.config.out
    assert out is not None
    test = EvaluateConfig(checkpoint=out, data=(f"birds={tmp_path / 'photos'}",))
    following = Step("seed-0/birds.evaluate", test)
    carry_out(step)
    steps = steps_of(step)
    steps.finish(following, steps.begin(following), {"tasks": []}, 1.0)
    out.write_bytes(b"damaged")
    assert steps_of(step).done(step) is None and steps_of(step).done(following) is None
    check_unchanged(steps_of(step), (step, following))
    with pytest.raises(UsageError, match="another checkpoint"):  # where no step is known to have made it
        check_unchanged(steps_of(step), (following,))
    carry_out(step)
    assert steps_of(step).done(following) is not None
    out.unlink()
    steps = steps_of(step)
    begun = steps.begin(step)
    check_unchanged(steps_of(step), (step, following))  # stopped within
    out.write_bytes(b"by another machine")
    steps.finish(step, begun, {}, 1.0)
    check_unchanged(steps_of(step), (step, following))  # and stopped before what follows
    assert steps_of(step).done(following) is None
    other = changed(step, out=tmp_path / "out/seed-0/other.st")
    another = Step("seed-0/other.train-task", other.config)
    steps = steps_of(step)
    begun = steps.begin(another)
    (tmp_path / "out/seed-0/other.st").write_bytes(b"of another task")
    steps.finish(another, begun, {}, 1.0)
    moved = Step(following.name, replace(test, checkpoint=tmp_path / "out/seed-0/other.st"))
    with pytest.raises(UsageError, match="another checkpoint"):  # the order of tasks has changed
        check_unchanged(steps_of(step), (step, another, moved))


def test_an_input_that_is_yet_to_be_made_is_no_change(step: Step, tmp_path: Path) -> None:
    carry_out(step)
    (tmp_path / "old.st").unlink()
    assert steps_of(step).done(step) is None
    assert steps_of(step).changes(step) == []


def test_an_unfinished_step_goes_on_only_with_its_own_settings(step: Step) -> None:
    steps_of(step).begin(step)
    out = step.config.out
    assert out is not None
    partial_path(out).write_bytes(b"half")
    assert with_resume(step.config).resume  # type: ignore[attr-defined]
    steps_of(step).begin(step)
    assert partial_path(out).exists()
    other = changed(step, epochs=8)
    steps_of(step).begin(other)
    assert not partial_path(out).exists()
    assert not with_resume(step.config).resume  # type: ignore[attr-defined]


def test_a_file_that_was_written_before_its_record_is_written_again(step: Step) -> None:
    steps = steps_of(step)
    steps.begin(step)
    assert step.config.out is not None
    step.config.out.write_bytes(b"learned")
    assert steps_of(step).done(step) is None
    steps_of(step).begin(step)
    assert not step.config.out.exists()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"settings": 1}', "null"])
def test_a_record_that_cannot_be_read_is_none(step: Step, content: str, tmp_path: Path) -> None:
    carry_out(step)
    (tmp_path / "out/steps/seed-0/birds.train-task.json").write_text(content)
    assert steps_of(step).done(step) is None and steps_of(step).changes(step) == []


def test_starting_anew_removes_what_steps_made_and_nothing_else(step: Step, tmp_path: Path) -> None:
    carry_out(step)
    other = Step("seed-0/more.train-task", replace(step.config, out=tmp_path / "out/seed-0/more.st"))
    steps_of(other).begin(other)
    partial_path(tmp_path / "out/seed-0/more.st").write_bytes(b"half")
    mine = tmp_path / "out/seed-0/notes.txt"
    mine.write_text("mine")
    forget_all(tmp_path / "out")
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == [mine]


def test_a_record_cannot_make_it_remove_a_file_elsewhere(step: Step, tmp_path: Path) -> None:
    carry_out(step)
    path = tmp_path / "out/steps/seed-0/birds.train-task.json"
    record = json.loads(path.read_text())
    record["outputs"] = {"../../old.st": None, str(tmp_path / "old.omega"): None}
    path.write_text(json.dumps(record))
    forget_all(tmp_path / "out")
    assert (tmp_path / "old.st").exists() and (tmp_path / "old.omega").exists()


def test_records_hold_no_paths(step: Step, tmp_path: Path) -> None:
    carry_out(step)
    assert str(tmp_path) not in (tmp_path / "out/steps/seed-0/birds.train-task.json").read_text()


def test_what_steps_read(tmp_path: Path) -> None:
    joint = TrainTaskConfig(
        checkpoint=Path("c.st"),
        task="b",
        data=Path("b"),
        rehearse=("a=x", "z=y"),
        omega=(UNIFORM,),
        anchor=(Path("p"),),
    )
    assert dict(read_by(Step("s", joint))) == {
        "checkpoint": Path("c.st"),
        "anchor.0": Path("p"),
        "data": Path("b"),
        "rehearse.0": Path("x"),
        "rehearse.1": Path("y"),
    }
    assert settings_of(Step("s", joint)) == {
        "command": "train-task",
        "task": "b",
        "rehearse": ["a", "z"],
        "omega": "uniform",
    }
    merge = MergeConfig(omegas=(Path("p"), Path("q")), combine="sum", weights=(0.5, 1.0))
    assert dict(read_by(Step("s", merge))) == {"omegas.0": Path("p"), "omegas.1": Path("q")}
    assert settings_of(Step("s", merge)) == {"command": "merge", "combine": "sum", "weights": [0.5, 1.0]}
    test = EvaluateConfig(checkpoint=Path("c.st"), data=("a=x", "b=y"))
    assert dict(read_by(Step("s", test))) == {"checkpoint": Path("c.st"), "data.0": Path("x"), "data.1": Path("y")}
    assert settings_of(Step("s", test)) == {"command": "evaluate", "data": ["a", "b"]}
