"""Trainings and runs on what is odd: no batch norm to separate, files that cannot be read, outputs that overflow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import Run, write_images

START = "init --model mascli:mlp --model-arg hidden=12-12 --image-size 8"
ODD_NETWORKS = """
from torch import nn

def nan():
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 4), nn.Linear(4, 2))
    nn.init.constant_(net[1].weight, float("nan"))
    return net

def linear():
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 2))

def lazy():
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(8), nn.ReLU(), nn.Linear(8, 2))
"""
TRAIN = ["--epochs", "2", "--batch-size", "8", "--val-split", "0", "--workers", "0", "--head-epochs", "0"]


@pytest.fixture
def place(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with images of the tasks a and b, and p.st that has learned a."""
    monkeypatch.chdir(tmp_path)
    for number, task in enumerate("ab"):
        for part, count in (("train", 8), ("test", 4)):
            write_images(tmp_path / "d" / task / part, {"red": 1 + number, "blue": 4 + number}, count, size=8)
    assert run(*START.split(), "-o", "s.st")[0] == 0
    assert run("train-task", "s.st", "--task", "a", "--data", "d/a/train", *TRAIN, "-o", "p.st")[0] == 0
    return tmp_path


def test_own_norms_of_a_network_without_any_change_nothing(run: Run, place: Path) -> None:
    for name, flags in (("own", ["--batchnorm", "per-task"]), ("shared", [])):
        code, _, errors = run("train-task", "p.st", "--task", "b", "--data", "d/b/train", *TRAIN, *flags, "-o", name)
        assert code == 0 and ("has no layer that keeps running statistics" in errors) is (name == "own")
    told = [json.loads(run("evaluate", name, "--data-root", "d", "--format", "json")[1]) for name in ("own", "shared")]
    own, shared = ([row["correct"] for row in result["tasks"]] for result in told)
    assert own == shared


def sequence(place: Path, **changes: Any) -> Path:
    content: dict[str, Any] = {"model": "mascli:mlp", "model-arg": {"hidden": "12-12"}, "image-size": 8, "root": "d"}
    content["tasks"], content["methods"] = ["a", "b"], ["finetune", {"method": "mas", "lambda": 1}]
    content["training"] = {"epochs": 1, "batch-size": 8, "val-split": 0}
    content |= changes
    (place / "s.yaml").write_text(yaml.safe_dump(content))
    return place / "s.yaml"


def test_a_run_names_each_file_that_cannot_be_read_once(run: Run, place: Path) -> None:
    broken = [Path("d/b/train/red/000.png"), Path("d/b/test/blue/001.png"), Path("d/a/test/red/002.png")]
    for path in broken:
        path.write_text("bad")
    code, out, errors = run("run", sequence(place), "-o", "out", "--format", "json", "--report", "r.xml")
    assert code == 0, errors
    for path in broken:
        assert [str(path) in line for line in json.loads(out)["warnings"]].count(True) == 1
        assert [str(path) in line for line in errors.splitlines() if line.startswith("note: ")].count(True) == 1
        assert str(path) in Path("r.xml").read_text()


def test_evaluate_names_files_that_cannot_be_read(run: Run, place: Path) -> None:
    Path("d/a/test/red/000.png").write_text("bad")
    code, out, errors = run("evaluate", "p.st", "--data-root", "d", "--format", "json")
    assert code == 0 and "d/a/test/red/000.png" in errors
    assert [note for note in json.loads(out)["notes"] if "d/a/test/red/000.png" in note]


def test_an_omega_of_outputs_that_overflow_is_not_written(run: Run, place: Path) -> None:
    far = ["--epochs", "1", "--batch-size", "16", "--val-split", "0", "--workers", "0", "--lr", "1e12"]
    assert run("train-task", "s.st", "--task", "a", "--data", "d/a/train", *far, "-o", "far.st")[0] == 0
    code, _, errors = run("estimate", "far.st", "--data", "d/a/train", "--workers", "0", "-o", "far.omega")
    assert code == 6 and "not finite" in errors and not Path("far.omega").exists()


def test_what_stops_a_run_is_told_with_the_step(run: Run, place: Path) -> None:
    for path in Path("d/b/train/red").iterdir():
        path.write_text("bad")
    code, _, errors = run("run", sequence(place), "-o", "out", "-q")
    assert code == 3 and "seed-0/finetune/b.train-task: " in errors
    sequence(place, methods=["finetune", "lwf"], training={"epochs": 1, "batch-size": 4, "lr": 1e30, "val-split": 0})
    code, _, errors = run("run", "s.yaml", "-o", "far", "-q")
    assert code == 6 and "seed-0/a.train-task: " in errors


def test_classes_without_validation_images_are_told(run: Run, place: Path) -> None:
    for path in Path("d/b/test/red").iterdir():
        path.unlink()
    command = ["train-task", "p.st", "--task", "b", "--data", "d/b/train", "--val", "d/b/test", *TRAIN, "-o", "b.st"]
    code, _, errors = run(*command)
    assert code == 0 and "--val: no image of 1 of its 2 classes: red" in errors


def test_a_kill_between_two_files_is_gone_on_from(run: Run, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ["train-task", "p.st", "--task", "b", "--data", "d/b/train", *TRAIN]
    assert run(*command, "-o", "whole.st", "--collect", "whole.omega")[0] == 0
    with monkeypatch.context() as patch:

        def killed(*_: object, **__: object) -> None:
            raise SystemExit(9)

        patch.setattr("mascli.workflows.train_task.save_checkpoint", killed)
        run(*command, "-o", "b.st", "--collect", "b.omega")
    assert Path("b.omega").exists() and not Path("b.st").exists()
    code, _, errors = run(*command, "-o", "b.st", "--collect", "b.omega", "--resume")
    assert code == 0, errors
    assert Path("b.st").read_bytes() == Path("whole.st").read_bytes() and not Path("b.st.partial").exists()
    assert Path("b.omega").read_bytes() == Path("whole.omega").read_bytes()


def test_names_for_plain_weights_are_refused_where_a_checkpoint_has_its_own(run: Run, place: Path) -> None:
    Path("names.txt").write_text("x\ny\n")
    for flags in (["--head-name", "other"], ["--classes", "names.txt"]):
        code, _, errors = run("evaluate", "p.st", "--data-root", "d", *flags)
        assert code == 2 and flags[0] in errors and "leave it out" in errors, errors
    assert run("evaluate", "p.st", "--data-root", "d", "--head-name", "a")[0] == 0


def test_tasks_in_another_order_are_not_called_other_images(run: Run, place: Path) -> None:
    write_images(place / "d" / "c" / "train", {"red": 3, "blue": 6}, 8, size=8)
    write_images(place / "d" / "c" / "test", {"red": 3, "blue": 6}, 4, size=8)
    assert run("run", sequence(place, tasks=["a", "b", "c"]), "-o", "out")[0] == 0
    for order in (["a", "c", "b"], ["b", "a", "c"]):
        code, _, errors = run("run", sequence(place, tasks=order), "-o", "out")
        assert code == 2 and "was done with another" in errors and "other images" not in errors, errors
    write_images(place / "d" / "b" / "train", {"red": 5}, 1, size=8)
    code, _, errors = run("run", sequence(place, tasks=["a", "b", "c"]), "-o", "out")
    assert code == 2 and "other images in" in errors, errors


def test_heads_that_several_tasks_use_are_told_as_averaged(run: Run, place: Path) -> None:
    for name, seed in (("one", "1"), ("two", "2")):
        flags = ["--data", "d/b/train", "--head-of", "a", "--seed", seed, *TRAIN, "-o", name]
        assert run("train-task", "p.st", "--task", f"b{name}", *flags)[0] == 0
    code, out, errors = run("average", "one", "two", "-o", "mean")
    assert code == 0 and "averaged heads" in out, errors
    code, out, _ = run("average", "one", "two", "-o", "again", "--format", "json")
    assert [task["averaged"] for task in json.loads(out)["tasks"]] == [True, True, True]


def test_what_is_wrong_in_a_sequence_is_said_in_the_words_of_the_file(run: Run, place: Path) -> None:
    wrong = {"methods": [{"method": "mas", "lambda": "auto"}]}
    code, _, errors = run("run", sequence(place, **wrong), "-o", "out")
    assert code == 2 and "`val-split`" in errors and "--val" not in errors, errors


def test_distillation_that_diverges_is_named_as_a_cause(run: Run, place: Path) -> None:
    flags = ["--data", "d/b/train", *TRAIN, "--distill", "1e30", "-o", "far"]
    code, _, errors = run("train-task", "p.st", "--task", "b", *flags)
    assert code == 6 and "less --distill" in errors, errors


def test_joint_training_after_a_start_that_knows_the_first_task_needs_its_class_folders(run: Run, place: Path) -> None:
    write_images(place / "flat", {".": 1}, 6, size=8)
    tasks = [{"name": "a", "data": "flat", "test": "d/a/test"}, {"name": "b", "data": "d/b/train", "test": "d/b/test"}]
    content = {"checkpoint": "p.st", "tasks": tasks, "training": {"epochs": 1, "batch-size": 8, "val-split": 0}}
    for methods, expected in (([{"method": "mas", "lambda": 1}], 0), (["joint"], 3)):
        Path("k.yaml").write_text(yaml.safe_dump({**content, "methods": methods}))
        code, _, errors = run("run", "k.yaml", "-o", "known", "--dry-run")
        assert code == expected and ("method joint" in errors) is bool(expected), errors


def test_protection_that_holds_nothing_is_a_warning_and_no_protection(run: Run, place: Path) -> None:
    assert run("estimate", "p.st", "--data", "d/a/train", "-o", "p.omega")[0] == 0
    command = ["train-task", "p.st", "--task", "b", "--data", "d/b/train", "--omega", "p.omega", *TRAIN]
    for flags in ([], ["--optimizer", "adamw"]):
        code, out, _ = run(*command, *flags, "--lambda", "1e-30", "--format", "json", "-o", f"free{len(flags)}")
        assert code == 0 and any("too weak to hold anything" in line for line in json.loads(out)["warnings"])
        code, _, errors = run(*command, *flags, "--lambda", "1e-30", "--require-protection", "-o", "none")
        assert code == 4 and "too weak to hold anything" in errors and not Path("none").exists()
        assert run(*command, *flags, "--lambda", "1e6", "--require-protection", "-o", f"held{len(flags)}")[0] == 0


def test_omegas_of_different_kinds_are_not_used_together(run: Run, place: Path) -> None:
    for method in ("mas", "ewc"):
        assert run("estimate", "p.st", "--data", "d/a/train", "--method", method, "-o", f"{method}.omega")[0] == 0
    both = ["--omega", "mas.omega", "--omega", "ewc.omega"]
    train = ["train-task", "p.st", "--task", "b", "--data", "d/b/train", "--lambda", "1", *TRAIN, "-o", "q.st"]
    code, _, errors = run(*train, *both)
    assert code == 4 and "differ in the method" in errors and not Path("q.st").exists()
    assert run(*train, *both[:2])[0] == 0
    code, _, errors = run("average", "p.st", "q.st", "--mode", "mode", *both, "-o", "mean")
    assert code == 4 and "differ in the method" in errors


def test_very_large_weights_of_an_average_do_not_overflow(run: Run, place: Path) -> None:
    assert run("train-task", "p.st", "--task", "b", "--data", "d/b/train", *TRAIN, "-o", "q.st")[0] == 0
    for name, weights in (("one", "1,1"), ("huge", "1e308,1e308")):
        code, _, errors = run("average", "p.st", "q.st", "--weights", weights, "-o", name)
        assert code == 0, errors
    one, huge = (
        json.loads(run("evaluate", name, "--data-root", "d", "--format", "json")[1])["tasks"]
        for name in ("one", "huge")
    )
    assert [task["correct"] for task in one] == [task["correct"] for task in huge]


def test_norms_that_became_a_tasks_own_do_not_count_as_a_changed_head(run: Run, place: Path) -> None:
    start = "init --model mascli:convnet --model-arg width=4 --model-arg norm=true --image-size 8 -o n.st"
    assert run(*start.split())[0] == 0
    assert run("train-task", "n.st", "--task", "a", "--data", "d/a/train", *TRAIN, "-o", "na.st")[0] == 0
    own = ["train-task", "na.st", "--task", "b", "--data", "d/b/train", "--lambda", "inf", "--batchnorm", "per-task"]
    code, _, errors = run(*own, *TRAIN, "-o", "nb.st")
    assert code == 0, errors
    assert json.loads(run("inspect", "na.st", "nb.st", "--format", "json")[1])["heads"]["changed"] == []


def test_commands_of_a_run_have_only_flags_that_do_something(run: Run, place: Path) -> None:
    training = {"epochs": 1, "batch-size": 8, "val-split": 0.2, "max-trials": 3, "max-drop": 1, "temperature": 3}
    methods = ["si", "lwf", {"method": "mas", "lambda": "auto"}, "finetune"]
    code, out, errors = run("run", sequence(place, training=training, methods=methods), "-o", "out", "--dry-run")
    assert code == 0, errors
    lines = [line.split("mascli ")[1].split("  #")[0] for line in out.splitlines() if "mascli train-task" in line]
    assert len(lines) == 5
    for line in lines:
        searched = "mas/b" in line or "si/b" in line
        assert ("--max-trials 3" in line) is searched and ("--temperature 3" in line) is ("lwf/b" in line), line


def test_a_network_that_begins_with_nan_or_without_shapes_is_refused_at_once(run: Run, place: Path) -> None:
    Path("odd.py").write_text(ODD_NETWORKS)
    flags = ["--image-size", "8", "--trust-model-code"]
    code, _, errors = run("init", "--model", "python:odd:nan", *flags, "-o", "nan.st")
    assert code == 6 and "not finite" in errors and not Path("nan.st").exists()
    for name, said in (("lazy", "open until it has seen an image"), ("linear", "nothing that tasks share")):
        code, _, errors = run("init", "--model", f"python:odd:{name}", *flags, "-o", "odd.st")
        assert code == 5 and said in errors and not Path("odd.st").exists(), errors


def test_what_a_start_knows_is_held_against_its_folders_before_anything_begins(run: Run, place: Path) -> None:
    write_images(place / "other" / "test", {"green": 1, "blue": 2}, 4, size=8)
    known = {"name": "a", "data": "d/a/train", "test": "other/test"}
    tasks = [known, {"name": "b", "data": "d/b/train", "test": "d/b/test"}]
    content = {"checkpoint": "p.st", "tasks": tasks, "methods": ["finetune"], "training": {"epochs": 1, "val-split": 0}}
    Path("k.yaml").write_text(yaml.safe_dump(content))
    code, _, errors = run("run", "k.yaml", "-o", "out", "--dry-run")
    assert code == 3 and "never learned green" in errors
    Path("names.txt").write_text("blue\nred\n")
    plain = {**content, "model": "mascli:mlp", "model-arg": {"hidden": "12-12"}, "image-size": 8, "head-name": "a"}
    plain |= {"weights": "plain.st", "class-names": "names.txt"}
    del plain["checkpoint"]
    assert run("export", "p.st", "-o", "plain.st")[0] == 0
    Path("k.yaml").write_text(yaml.safe_dump(plain))
    code, _, errors = run("run", "k.yaml", "-o", "out", "--dry-run")
    assert code == 3 and "never learned green" in errors
    known["test"] = "d/a/test"
    Path("k.yaml").write_text(yaml.safe_dump(plain))
    assert run("run", "k.yaml", "-o", "out", "--dry-run")[0] == 0
    Path("k.yaml").write_text(yaml.safe_dump({**plain, "weights": "p.st"}))
    code, _, errors = run("run", "k.yaml", "-o", "out", "--dry-run")
    assert code == 2 and "is a checkpoint: give it as `checkpoint`" in errors


def test_validation_images_that_are_learned_from_are_told(run: Run, place: Path) -> None:
    command = ["train-task", "p.st", "--task", "b", "--data", "d/b/train", "--epochs", "1", "--head-epochs", "0"]
    for val, told in (("d/b/train", True), ("d/b/test", False)):
        code, _, errors = run(*command, "--val", val, "-o", f"{told}.st")
        assert code == 0 and ("--val: 16 images to learn from too" in errors) is told, errors
