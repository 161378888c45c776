"""The YAML file of `mascli run`: what it may say, and that all that is wrong is told at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mascli.config import RunConfig
from mascli.config.sequence import SHARED_ESTIMATING, SHARED_TRAINING, TaskSequence, read_sequence
from mascli.config.sequence_checks import estimating_fields, sequence_of, training_fields
from mascli.config.yaml_file import load_table
from mascli.errors import UsageError

TASKS = [{"name": name, "data": f"{name}/train", "test": f"{name}/test"} for name in ("a", "b", "c")]
BASE: dict[str, Any] = {"model": "mascli:mlp", "tasks": TASKS, "methods": ["finetune", "mas"]}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name in ("a", "b", "c", "shared"):
        for part in ("train", "test", "val"):
            (tmp_path / name / part).mkdir(parents=True)
    return tmp_path


def settled(place: Path, **changes: Any) -> TaskSequence:
    content = {key.replace("_", "-"): value for key, value in {**BASE, **changes}.items() if value is not None}
    (place / "s.yaml").write_text(yaml.safe_dump(content))
    return sequence_of(RunConfig(sequence=place / "s.yaml"))


def problems(place: Path, **changes: Any) -> list[str]:
    with pytest.raises(UsageError) as caught:
        settled(place, **changes)
    return [line.removeprefix(f"{place / 's.yaml'}: ") for line in str(caught.value).splitlines()]


def test_a_plain_sequence(place: Path) -> None:
    sequence = settled(place, model_arg={"hidden": "8-8", "norm": True}, seeds=3, image_size=8)
    assert [(task.name, task.data, task.test) for task in sequence.tasks] == [
        (name, place / name / "train", place / name / "test") for name in "abc"
    ]
    assert [(method.name, method.strengths) for method in sequence.methods] == [
        ("finetune", (None,)),
        ("mas", ("auto",)),
    ]
    assert sequence.model == {"model": "mascli:mlp", "model_arg": ("hidden=8-8", "norm=true"), "image_size": (8,)}
    assert sequence.seeds == (3,)


def test_a_root_gives_every_task_its_folders(place: Path) -> None:
    sequence = settled(place, root=".", tasks=["a", {"name": "b", "test": "c/test"}])
    assert [(task.data, task.test) for task in sequence.tasks] == [
        (place / "a/train", place / "a/test"),
        (place / "b/train", place / "c/test"),
    ]


def test_shared_folders_are_divided_by_classes(place: Path) -> None:
    tasks = [{"name": "low", "classes": [1, 2]}, {"name": "high", "classes": ["8", "9"]}]
    for shared in ({"data": "shared/train", "test": "shared/test"}, {"root": "shared"}):
        sequence = settled(place, tasks=tasks, **shared)
        assert [(task.data, task.test, task.classes) for task in sequence.tasks] == [
            (place / "shared/train", place / "shared/test", ("1", "2")),
            (place / "shared/train", place / "shared/test", ("8", "9")),
        ]


def test_settings_of_a_method_beat_those_of_a_task_and_those_the_shared_ones(place: Path) -> None:
    tasks = [TASKS[0], {**TASKS[1], "training": {"epochs": 5, "lr": 0.5}, "estimating": {"limit": 7}}]
    methods = [{"method": "ewc", "lambda": 3, "training": {"lr": 0.1}, "estimating": {"labels": "given"}}]
    shared = {"epochs": 9, "batch-size": 4, "lr": 1}
    sequence = settled(place, tasks=tasks, methods=methods, training=shared)
    (method,) = sequence.methods
    assert training_fields(sequence, sequence.tasks[0], None) == {"epochs": 9, "batch_size": 4, "lr": 1.0}
    assert training_fields(sequence, sequence.tasks[1], None) == {"epochs": 5, "batch_size": 4, "lr": 0.5}
    assert training_fields(sequence, sequence.tasks[1], method) == {"epochs": 5, "batch_size": 4, "lr": 0.1}
    assert estimating_fields(sequence, sequence.tasks[1], method) == {"limit": 7, "labels": "given", "method": "ewc"}


def test_a_validation_folder_replaces_the_split(place: Path) -> None:
    tasks = [{**task, "val": f"{task['name']}/val"} for task in TASKS]
    sequence = settled(place, tasks=tasks, training={"val-split": 0.3})
    assert training_fields(sequence, sequence.tasks[0], None)["val_split"] == 0


@pytest.mark.parametrize(
    ("given", "strengths"),
    [(1, (1.0,)), ([0.1, 1e3], (0.1, 1000.0)), ("auto", ("auto",)), ("inf", (float("inf"),)), (0, (0.0,))],
)
def test_strengths(place: Path, given: Any, strengths: tuple[Any, ...]) -> None:
    sequence = settled(place, methods=[{"method": "l2", "lambda": given}, "lwf"])
    assert [method.strengths for method in sequence.methods] == [strengths, (1.0,)]


@pytest.mark.parametrize("given", [-1, [], [1, 1], "much", [1, "auto"], float("nan"), True, {"a": 1}])
def test_strengths_that_cannot_be(place: Path, given: Any) -> None:
    (line,) = problems(place, methods=[{"method": "mas", "lambda": given}])
    assert line.startswith("methods[0] (mas): lambda")


def test_everything_wrong_with_the_keys_is_told_at_once(place: Path) -> None:
    found = problems(
        place,
        modell="x",
        tasks=[{"name": "a", "dta": "x"}, {"data": "x"}, 3.5],
        methods=[
            "mass",
            {"method": "mas", "lamda": 1},
            {"method": "finetune", "lambda": 1},
            {"method": "si", "decay": 1},
        ],
        training={"epoch": 3, "lr": "fast", "checkpoint": "x", "omega": "x"},
        estimating={"limits": 3, "method": "ewc"},
        seeds=["a"],
        forgetting=["mean"],
        samples="faces",
    )
    for part in (
        "unknown key 'modell'; did you mean 'model'?",
        "tasks[0]: unknown key 'dta'; did you mean 'data'?",
        "tasks[1]: name is missing",
        "tasks[2]: name: expected text, not '3.5' (write it in quotes)",
        "methods[0]: method 'mass' is not one of",
        "methods[1] (mas): unknown key 'lamda'; did you mean 'lambda'?",
        "methods[2] (finetune): lambda is not for finetune",
        "methods[3] (si): decay is for ewc-online",
        "training: unknown key 'epoch'; did you mean 'epochs'?",
        "training: lr: expected a number, not 'fast'",
        "training: unknown key 'checkpoint'",
        "training: unknown key 'omega'",
        "estimating: unknown key 'limits'; did you mean 'limit'?",
        "estimating: unknown key 'method'",
        "seeds: expected a whole number, not 'a'",
        "forgetting: 'mean' is not one of max, max-final, all",
        "samples: 'faces' is not one of digits",
    ):
        assert [line for line in found if part in line], part


def test_everything_that_does_not_go_together_is_told_at_once(place: Path) -> None:
    found = problems(
        place,
        checkpoint="none.st",
        tasks=[TASKS[0], {**TASKS[0], "name": "A"}, {**TASKS[1], "name": "../b", "classes": ["x"]}],
        methods=["mas", "mas", {"method": "ewc", "name": "e", "estimating": {"objective": "entropy"}}]
        + [{"method": "si", "training": {"damping": 1}}, {"method": "ewc-online", "decay": 2}],
        training={"epochs": 0, "optimizer": "adamw", "nesterov": True},
        seeds=[1, 1],
    )
    for part in (
        "checkpoint and model exclude each other",
        "checkpoint: there is no file",
        "task 'a' is there twice",
        "task '../b': a name is",
        "task ../b: classes must be two or more",
        "method 'mas' is there twice",
        "training: epochs must be 1 or more, not 0",
        "training: nesterov is for `optimizer` sgd",
        "method e: estimating: objective entropy contradicts",
        "method si: damping belongs into the shared training",
        "method ewc-online: decay must be 0 to 1",
        "seeds must be different numbers",
    ):
        assert [line for line in found if part in line], (part, found)


@pytest.mark.parametrize("missing", ["model", "tasks", "methods"])
def test_what_a_sequence_cannot_do_without(place: Path, missing: str) -> None:
    (line,) = problems(place, **{missing: None})
    assert line.startswith(f"{missing} is missing")


def test_folders_that_are_not_there_are_named_once(place: Path) -> None:
    tasks = [{"name": "low", "classes": [1, 2]}, {"name": "high", "classes": ["8", "9"]}]
    found = problems(place, tasks=tasks, data="gone/train", test="shared/test")
    assert found == [f"task low: data: there is no folder {place / 'gone/train'}"]


def test_shared_folders_without_classes_are_refused(place: Path) -> None:
    found = problems(place, tasks=["a", "b"], data="shared/train", test="shared/test")
    assert len(found) == 2 and all("need `classes`" in line for line in found)


def test_lambda_auto_needs_validation_images(place: Path) -> None:
    (line,) = problems(place, training={"val-split": 0})
    assert line.startswith("method mas: training: ") and "validation images" in line
    assert settled(place, training={"val-split": 0}, methods=[{"method": "mas", "lambda": 1}])


def test_code_inside_the_file_needs_consent_on_the_command_line(place: Path) -> None:
    (line,) = problems(place, model="python:os:system")
    assert "--trust-model-code" in line
    assert sequence_of(RunConfig(sequence=place / "s.yaml", trust_model_code=True)).model["model"] == "python:os:system"
    (line,) = problems(place, trust_model_code=True)
    assert "unknown key 'trust-model-code'" in line or "trust_model_code" in line


@pytest.mark.parametrize("text", ["", "- a\n", "a: [", "tasks: &x []\nmethods: *x\n", "seeds: 1\nseeds: 2\n"])
def test_files_that_are_no_sequence(place: Path, text: str) -> None:
    (place / "s.yaml").write_text(text)
    with pytest.raises(UsageError) as caught:
        sequence_of(RunConfig(sequence=place / "s.yaml"))
    assert all(line.startswith(str(place / "s.yaml")) for line in str(caught.value).splitlines())


def test_what_decides_a_step_itself_is_no_shared_setting() -> None:
    assert {"epochs", "lr", "batch_size", "max_drop", "temperature", "damping"} <= SHARED_TRAINING
    assert {"limit", "objective", "labels"} <= SHARED_ESTIMATING
    decided = {
        "checkpoint",
        "data",
        "out",
        "task",
        "omega",
        "anchor",
        "lambda_",
        "rehearse",
        "collect",
        "seed",
        "resume",
    }
    assert not decided & SHARED_TRAINING and not decided & SHARED_ESTIMATING


def test_relative_paths_are_relative_to_the_file(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settled(place)
    monkeypatch.chdir(place / "a")
    told: list[str] = []
    sequence = read_sequence(Path("../s.yaml"), told)
    assert not told and sequence.tasks[1].data == Path("../b/train") and sequence.tasks[1].data.is_dir()


def test_only_plain_decimals_are_numbers(tmp_path: Path) -> None:
    text = "classes: [010, 1e3, 1_000, 0x1f, 12:30, 10, -3, 0, 01]\n"
    (tmp_path / "s.yaml").write_text(text)
    problems: list[str] = []
    assert load_table(tmp_path / "s.yaml", "s.yaml", problems)["classes"] == [
        *("010", "1e3", "1_000", "0x1f", "12:30"),
        *(10, -3, 0),
        "01",
    ]
    assert not problems
