"""Several tasks by one head, through every command: real digits, whose pixels are permuted from task to task."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import Run, in_a_process, overridden
from permuted_digits import HEAD, opened, write_permuted_digits
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from mascli.workflows.learning.progress import TrainingProgress

IMAGES = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
LEARN = "--epochs 8 --lr 0.05 --val-split 0 --workers 0 --batch-size 32".split()
FEW = "--epochs 2 --lr 0.05 --val-split 0 --workers 0 --batch-size 32".split()
TESTED = ("--data", "a=d/a/test", "--data", "b=d/b/test")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images of tasks a, b and c."""
    place = tmp_path_factory.mktemp("one-head")
    write_permuted_digits(place)
    return place


@pytest.fixture(scope="module")
def learned(made: Path) -> Path:
    """a.st, and its importance: heads.omega with that of the head, plain.omega without."""
    model = "init --model mascli:mlp --model-arg hidden=24-24 --image-size 8 --channels 1 -o start.st".split()
    for words in (
        model,
        ["train-task", "start.st", "--task", "a", "--data", "d/a/train", "--head-lr", "0.05", *LEARN, "-o", "a.st"],
        "estimate a.st --data d/a/train --workers 0 --heads -o heads.omega".split(),
        "estimate a.st --data d/a/train --workers 0 -o plain.omega".split(),
    ):
        done = in_a_process(*words, folder=made)
        assert done.returncode == 0, done.stderr
    return made


@pytest.fixture
def place(learned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it all, to work in."""
    shutil.copytree(learned, tmp_path / "work", symlinks=True)
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def train(run: Run, *words: str, task: str = "b", start: str = "a.st", out: str = "b.st", few: bool = True) -> str:
    """Learn a task by the head of `a`; returns standard error."""
    common = ["train-task", start, "--task", task, "--data", f"d/{task}/train", "--head-of", "a"]
    code, _, err = run(*overridden([*common, *(FEW if few else LEARN)], *words), "-o", out)
    assert code == 0, err
    return err


def forgetting(run: Run, path: str) -> tuple[float, float]:
    """What `a` has forgotten since a.st, and the accuracy on `b`."""
    code, out, err = run("evaluate", path, *TESTED, "--baseline", "a.st", "--workers", "0", "--format", "json")
    assert code == 0, err
    a, b = json.loads(out)["tasks"]
    return a["forgetting"], b["accuracy"]


def test_importance_with_that_of_the_head_forgets_least(place: Path, run: Run) -> None:
    train(run, out="finetune.st", few=False)
    err = train(run, "--omega", "plain.omega", "--lambda", "0.1", out="bare.st", few=False)
    assert "nothing protects the head of a: the omega was measured without --heads" in err
    err = train(run, "--omega", "heads.omega", "--lambda", "0.1", out="held.st", few=False)
    assert "nothing protects" not in err
    (plain, _), (bare, _), (held, new) = (forgetting(run, f"{name}.st") for name in ("finetune", "bare", "held"))
    assert plain > 30 and held < plain / 4 and held < bare and new > 85


def test_the_head_is_stored_once_and_both_tasks_answer_by_it(place: Path, run: Run) -> None:
    train(run, "--omega", "heads.omega", "--lambda", "0.1")
    tensors = load_file("b.st")
    assert {name for name in tensors if name.startswith("mascli.")} == HEAD
    with safe_open("b.st", framework="pt") as file:
        metadata = file.metadata()
    assert metadata["mascli.format_version"] == "3" and set(json.loads(metadata["mascli.heads"])) == {"a"}
    assert json.loads(metadata["mascli.tasks"])[1]["head"] == "a"
    with torch.inference_mode():
        one, other = opened("b.st").model(IMAGES, ("a", "b"))
    assert torch.equal(one, other)
    step, before = opened("b.st").lineage[-1], opened("a.st")
    assert step.heads_before == (before.heads_sha256["a"],) and step.settings["head_of"] == "a"
    assert step.settings["head_epochs"] == 0
    assert before.heads_sha256["a"] != opened("b.st").heads_sha256["a"]


def test_without_the_options_files_are_as_they_always_were(place: Path, run: Run) -> None:
    for name, version in (("a.st", "1"), ("plain.omega", "1"), ("heads.omega", "3")):
        with safe_open(name, framework="pt") as file:
            assert file.metadata()["mascli.format_version"] == version
    plain, heads = load_file("plain.omega"), load_file("heads.omega")
    assert heads.keys() == plain.keys() | HEAD and HEAD.isdisjoint(plain)
    assert all(torch.equal(plain[name], heads[name]) for name in plain)
    # a head of its own: what the omega says of another head is of no use, and of no harm
    words = ["train-task", "a.st", "--task", "b", "--data", "d/b/train", *FEW, "--lambda", "0.1"]
    assert run(*words, "--omega", "plain.omega", "-o", "one.st")[0] == 0
    assert run(*words, "--omega", "heads.omega", "-o", "other.st")[0] == 0
    one, other = load_file("one.st"), load_file("other.st")
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_infinite_lambda_holds_the_head_bit_for_bit(place: Path, run: Run) -> None:
    train(run, "--lambda", "inf")
    before, after = load_file("a.st"), load_file("b.st")
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    assert forgetting(run, "b.st")[0] == 0


def test_a_third_task_is_protected_by_the_sum_over_both(place: Path, run: Run) -> None:
    train(run, "--omega", "heads.omega", "--lambda", "0.1")
    words = "estimate b.st --data d/b/train --workers 0 --previous heads.omega -o both.omega".split()
    code, _, err = run(*words, "--verify", "2")
    assert code == 0, err
    assert load_file("both.omega").keys() > HEAD
    err = train(run, "--omega", "both.omega", "--lambda", "0.1", task="c", start="b.st", out="c.st")
    assert "nothing protects" not in err
    found = opened("c.st")
    assert [task.head for task in found.tasks] == [None, "a", "a"]
    assert len({step.heads_before for step in found.lineage}) == 3  # none, that of a.st, that of b.st
    # the head of b is the head of a
    train(run, "--head-of", "b", "--omega", "both.omega", "--lambda", "0.1", task="c", start="b.st", out="same.st")
    assert load_file("same.st").keys() == load_file("c.st").keys()
    assert opened("same.st").tasks == found.tasks
    # each with its own anchor, the head included
    assert run(*"estimate b.st --data d/b/train --workers 0 -o b.omega".split())[0] == 0
    code, _, err = run(
        "train-task",
        "b.st",
        *"--omega heads.omega --omega both.omega --task c".split(),
        "--data",
        "d/b/train",
        "-o",
        "x",
    )
    assert code == 4 and "hold the same estimate" in err and "count twice" in err
    pairs = ["--omega", "heads.omega", "--anchor", "a.st", "--omega", "b.omega", "--anchor", "b.st"]
    train(run, *pairs, "--lambda", "0.1", task="c", start="b.st", out="pairs.st")
    assert not torch.equal(load_file("pairs.st")["mascli.head.a.bias"], load_file("c.st")["mascli.head.a.bias"])


def test_heads_of_several_tasks_are_merged_as_an_estimate_adds_them(place: Path, run: Run) -> None:
    words = ["--task", "b", "--data", "d/b/train", *LEARN, "-o", "own.st"]
    assert run("train-task", "a.st", *words)[0] == 0
    estimate = "estimate own.st --data d/b/train --workers 0".split()
    assert run(*estimate, "--heads", "-o", "b.omega")[0] == 0
    code, out, _ = run(*estimate, "--heads", "--previous", "heads.omega", "-o", "added.omega")
    assert code == 0 and "without importance" not in out
    assert run(*"merge heads.omega b.omega --combine sum -o merged.omega".split())[0] == 0
    added, merged = load_file("added.omega"), load_file("merged.omega")
    assert merged.keys() == added.keys() > HEAD
    assert all(torch.equal(merged[name], added[name]) for name in added)
    assert not load_file("b.omega").keys() & HEAD


def test_an_estimate_of_all_tasks_counts_one_answer_once(place: Path, run: Run) -> None:
    train(run)
    for flags, out in ((["--task", "b"], "b.omega"), (["--all-tasks"], "all.omega"), (["--heads"], "asked.omega")):
        assert run("estimate", "b.st", "--data", "d/b/train", "--workers", "0", *flags, "-o", out)[0] == 0
    one, both = load_file("b.omega"), load_file("all.omega")
    assert one.keys() > HEAD and all(torch.equal(one[name], both[name]) for name in one)
    assert Path("b.omega").read_bytes() == Path("asked.omega").read_bytes()
    with safe_open("all.omega", framework="pt") as file:
        assert json.loads(file.metadata()["mascli.contributions"])[0]["heads"] == ["a", "b"]


@pytest.mark.parametrize(
    "words",
    [["--distill", "1"], ["--rehearse", "a=d/a/train"], ["--omega", "uniform", "--lambda", "1"]],
    ids=["distilled", "rehearsed", "uniform"],
)
def test_other_ways_of_keeping_what_is_known_work_on_one_head(words: list[str], place: Path, run: Run) -> None:
    train(run, out="plain.st", few=False)
    train(run, *words, few=False)
    assert forgetting(run, "b.st")[0] < forgetting(run, "plain.st")[0] - 5


def test_synaptic_intelligence_collects_the_head_if_asked_to(place: Path, run: Run) -> None:
    first = ["train-task", "start.st", "--task", "a", "--data", "d/a/train", *FEW]
    assert run(*first, "--collect", "si.omega", "--heads", "-o", "with.st")[0] == 0
    assert run(*first, "--collect", "bare.omega", "-o", "without.st")[0] == 0
    assert Path("with.st").read_bytes() == Path("without.st").read_bytes()
    found, bare = load_file("si.omega"), load_file("bare.omega")
    assert found.keys() == bare.keys() | HEAD and all(found[name].any() for name in HEAD)
    assert all(torch.equal(found[name], bare[name]) for name in bare)
    words = ["--omega", "si.omega", "--lambda", "0.1", "--collect", "next.omega"]
    assert "nothing protects" not in train(run, *words, start="with.st")
    assert load_file("next.omega").keys() == found.keys()
    assert run(*"merge si.omega next.omega --combine sum -o sum.omega".split())[0] == 0
    train(run, "--omega", "sum.omega", "--lambda", "0.1", task="c", start="b.st", out="c.st")
    code, _, err = run(*"merge bare.omega next.omega --combine sum -o x".split())
    assert code == 4 and "measured with and without --heads? Then give both to train-task" in err
    train(run, *"--omega bare.omega --omega next.omega --lambda 0.1".split(), task="c", start="b.st", out="both.st")


def test_each_task_may_have_norms_of_its_own(place: Path, run: Run) -> None:
    model = "init --model mascli:convnet --model-arg width=4 --model-arg norm=true --image-size 8 --channels 1"
    assert run(*model.split(), "-o", "s.st")[0] == 0
    assert run("train-task", "s.st", "--task", "a", "--data", "d/a/train", *FEW, "-o", "a.st", "--overwrite")[0] == 0
    train(run, "--lambda", "inf", "--batchnorm", "per-task")
    with torch.inference_mode():
        (before,) = opened("a.st").model(IMAGES, ("a",))
        a, b = opened("b.st").model(IMAGES, ("a", "b"))
    assert torch.equal(a, before) and not torch.equal(a, b)  # the same head, and norms that have learned
    assert {name for name in load_file("b.st") if name.startswith("mascli.head")} == HEAD
    assert run("estimate", "b.st", "--data", "d/b/train", "--all-tasks", "--workers", "0", "-o", "o.omega")[0] == 0
    train(run, "--distill", "1", task="c", start="b.st", out="c.st")
    assert len(opened("c.st").model.own.tasks) == 3


def test_averaging_takes_the_head_along(place: Path, run: Run) -> None:
    train(run)
    code, _, err = run("average", "a.st", "b.st", "-o", "mean.st")
    assert code == 0, err
    a, b, mean = load_file("a.st"), load_file("b.st"), load_file("mean.st")
    torch.testing.assert_close(mean, {name: (a[name] + b[name]) / 2 for name in b})
    assert opened("mean.st").tasks == opened("b.st").tasks
    assert run("average", "b.st", "a.st", "-o", "turned.st")[0] == 0  # b comes from another file than the last
    assert torch.equal(load_file("turned.st")["mascli.head.a.bias"], mean["mascli.head.a.bias"])
    # omegas of the parents fit, as measured on ancestors, and so does the mode that they decide
    assert run("estimate", "b.st", "--data", "d/b/train", "--workers", "0", "-o", "b.omega")[0] == 0
    mode = "average a.st b.st --mode mode --omega heads.omega --omega b.omega -o mode.st"
    assert run(*mode.split())[0] == 0
    for omega in ("heads.omega", "b.omega"):
        train(run, "--omega", omega, "--lambda", "0.1", task="c", start="mean.st", out=f"{omega}.st")
    assert run("train-task", "a.st", "--task", "b", "--data", "d/b/train", *FEW, "-o", "own.st")[0] == 0
    code, _, err = run("average", "own.st", "b.st", "-o", "x.st")
    assert code == 4 and "both have a task b, which uses the head of a in one only" in err
    code, _, err = run("average", "start.st", "b.st", "-o", "x.st")
    assert code == 4 and "a, b share one head in b.st, and start.st has none of a" in err


def test_export_and_inspect_and_plain_weights(place: Path, run: Run) -> None:
    train(run)
    for task in ("a", "b"):
        assert run("export", "b.st", "--task", task, "-o", f"{task}.safetensors")[0] == 0
    a, b = load_file("a.safetensors"), load_file("b.safetensors")
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
    code, out, _ = run("inspect", "b.st")
    assert code == 0 and "a, b" in out and "one head" in out
    assert "one head" not in run("inspect", "a.st")[1]
    tasks = json.loads(run("inspect", "b.st", "--format", "json")[1])["checkpoint"]["tasks"]
    assert [task.get("head") for task in tasks] == [None, "a"]
    # the head that came with plain weights can be used as well
    model = "--model mascli:mlp --model-arg hidden=24-24 --model-arg num_classes=3 --image-size 8 --channels 1".split()
    Path("names").write_text("0\n1\n2\n")
    plain = ["a.safetensors", *model, "--classes", "names"]
    words = ["--task", "c", "--data", "d/c/train", "--head-of", "base", *FEW, "-o", "c.st"]
    assert run("train-task", *plain, *words)[0] == 0
    assert [task.head for task in opened("c.st").tasks] == [None, "base"]
    Path("names").write_text("2\n0\n1\n")  # the order of the head's outputs, not of the folders
    assert run("train-task", *plain, *words, "--overwrite")[0] == 0
    assert opened("c.st").tasks[1].classes == ("2", "0", "1")


def test_lambda_is_found_and_a_stopped_training_goes_on(place: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["--omega", "heads.omega", "--lambda", "auto", "--max-trials", "3", "--val", "d/b/test"]
    words = ["train-task", "a.st", "--task", "b", "--data", "d/b/train", "--head-of", "a", *FEW, *words]
    assert run(*words, "-o", "whole.st")[0] == 0
    steps, plain = 0, TrainingProgress.after_step

    def stop(self: TrainingProgress, learner: Any) -> None:
        nonlocal steps
        steps += 1
        if steps == 7:
            self._stop.set()
        plain(self, learner)

    monkeypatch.setattr(TrainingProgress, "after_step", stop)
    assert run(*words, "-o", "part.st")[0] == 130
    monkeypatch.setattr(TrainingProgress, "after_step", plain)
    own = [word for word in words if word not in ("--head-of", "a")]
    code, _, err = run(*own, "-o", "part.st", "--resume")
    assert code == 2 and "begun with another head of" in err
    assert run(*words, "-o", "part.st", "--resume")[0] == 0
    assert Path("part.st").read_bytes() == Path("whole.st").read_bytes()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--head-of", "z"], 2, "--head-of z: the checkpoint has no such task (tasks: a)"),
        (["--head-of", "a/b"], 2, "--head-of 'a/b'"),
        (["--head-of", "a", "--head-epochs", "1"], 2, "--head-epochs is for a new head"),
        (["--head-of", "a", "--head-lr", "0.5"], 2, "--head-lr is for a head of its own"),
        (["--heads"], 2, "--heads needs --collect"),
        (["--heads", "--collect", "x.omega", "--head-epochs", "1"], 2, "--heads collects from the first step on"),
        (
            ["--head-of", "a", "--omega", "plain.omega", "--lambda", "1", "--require-protection"],
            4,
            "nothing protects the head of a: the omega was measured without --heads; measure it with",
        ),
    ],
)
def test_what_cannot_be_meant_is_one_line(words: list[str], code: int, said: str, place: Path, run: Run) -> None:
    found, _, err = run("train-task", "a.st", "--task", "b", "--data", "d/b/train", *FEW, *words, "-o", "x.st")
    assert found == code and said in err
    assert not Path("x.st").exists() and "Traceback" not in err


def test_other_classes_are_told_with_the_difference(place: Path, run: Run) -> None:
    shutil.move("d/b/train/2", "d/b/train/two")
    words = ["train-task", "a.st", "--task", "b", "--data", "d/b/train", "--head-of", "a", *FEW, "-o", "x.st"]
    code, _, err = run(*words)
    assert code == 3 and "it lacks 2; it has two, which the head does not know" in err
    assert "the classes of a, whose head is to be used (0, 1, 2)" in err


def test_an_omega_of_another_head_is_refused(place: Path, run: Run) -> None:
    """Two tasks of one name from the same frozen trunk: their shared weights are the same, their heads are not."""
    for seed in ("1", "2"):
        words = ["train-task", "a.st", "--task", "b", "--data", "d/b/train", "--lambda", "inf", *FEW, "--seed", seed]
        assert run(*words, "-o", f"{seed}.st")[0] == 0
        assert run(*f"estimate {seed}.st --data d/b/train --workers 0 --heads -o {seed}.omega".split())[0] == 0
    assert opened("1.st").lineage[-1].shared_sha256 == opened("2.st").lineage[-1].shared_sha256
    words = ["train-task", "1.st", "--task", "c", "--data", "d/c/train", "--head-of", "b", *FEW, "--lambda", "0.1"]
    code, _, err = run(*words, "--omega", "2.omega", "-o", "x.st")
    assert code == 4 and "2.omega was measured on another head of task b" in err
    assert run(*words, "--omega", "1.omega", "-o", "c.st")[0] == 0
    code, _, err = run(*"estimate c.st --data d/c/train --workers 0 --previous 2.omega -o x.omega".split())
    assert code == 4 and "another head of task b" in err
    assert run(*"estimate c.st --data d/c/train --workers 0 --previous 1.omega -o both.omega".split())[0] == 0


def test_a_shared_head_that_was_changed_is_noticed(place: Path, run: Run) -> None:
    train(run)
    tensors = load_file("b.st")
    with safe_open("b.st", framework="pt") as file:
        metadata = file.metadata()
    tensors["mascli.head.a.bias"][0] += 1e-3
    save_file(tensors, "changed.st", metadata)
    code, _, err = run("evaluate", "changed.st", *TESTED, "--workers", "0")
    assert code == 4 and "does not hold the weights that it was written with" in err
    metadata["mascli.tasks"] = metadata["mascli.tasks"].replace('"head":"a"', '"head":"b"')
    save_file(load_file("b.st"), "told.st", metadata)
    code, _, err = run("inspect", "told.st")
    assert code == 4 and "uses the head of 'b'" in err
