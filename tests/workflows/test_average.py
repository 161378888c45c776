"""`mascli average` on files: which values, whose heads, and what does not belong together."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import Run, write_images
from safetensors.torch import load_file
from torch import Tensor

from mascli.config import ImageOptions
from mascli.files.records_json import checkpoint_record
from mascli.files.tensor_file import file_sha256, read_header
from mascli.observer import Observer
from mascli.records import CheckpointRecord, Step, Task
from mascli.workflows.loading import (
    Opened,
    current_shared_sha256,
    open_checkpoint,
    save_checkpoint,
    separate_batchnorm,
)

IMAGES = torch.randn(3, 3, 12, 12, generator=torch.Generator().manual_seed(0))


def opened(path: str) -> Opened:
    return open_checkpoint(Path(path), ImageOptions(checkpoint=Path(path)), torch.device("cpu"), Observer())


def learned(path: str, out: str, task: str, seed: int, *, own: bool = False) -> None:
    """What learning `task` does: every shared parameter moves, the norms see images, a head is added."""
    begun = opened(path)
    if own:
        separate_batchnorm(begun, Observer())
    torch.manual_seed(seed)
    begun.model.add_head(task, 2)
    with torch.no_grad():
        for parameter in begun.model.shared_parameters().values():
            parameter.add_(0.1 * torch.randn_like(parameter))
    begun.model.train()
    begun.model(torch.randn(8, 3, 12, 12) + seed, (task,))
    begun.model.eval()
    step = Step("train-task", current_shared_sha256(begun.model), task, begun.file_sha256)
    save_checkpoint(Path(out), replace(begun, tasks=(*begun.tasks, Task(task, ("x", "y")))), step, overwrite=False)


def record(path: str) -> CheckpointRecord:
    found = checkpoint_record(read_header(Path(path)))
    assert found is not None
    return found


def shared(path: str) -> dict[str, Tensor]:
    return {name: load_file(path)[name] for name in record(path).shared}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run) -> Path:
    """base.st has learned a; b.st and c.st come from it, d.st from c.st; each with an omega. other.st is a stranger."""
    monkeypatch.chdir(tmp_path)
    model = ["--model", "mascli:convnet", "--model-arg", "width=4", "--model-arg", "norm=true", "--image-size", "12"]
    for name, seed in (("start", "0"), ("strange", "1")):
        assert run("init", *model, "-o", f"{name}.st", "--seed", seed)[0] == 0
    learned("start.st", "base.st", "a", 1)
    learned("strange.st", "other.st", "a", 1)
    learned("base.st", "b.st", "b", 2)
    learned("base.st", "c.st", "c", 3)
    learned("c.st", "d.st", "d", 4)
    write_images(tmp_path / "photos", {".": 3}, 4)
    for name in ("b", "c", "d"):
        assert run("estimate", f"{name}.st", "--data", "photos", "-o", f"{name}.omega")[0] == 0
    return tmp_path


def averaged(run: Run, *words: str) -> dict[str, Any]:
    code, out, err = run("average", *words, "--format", "json")
    assert code == 0, err
    result: dict[str, Any] = json.loads(out)
    return result


def test_the_mean_is_that_of_the_parameters_and_every_head_is_there(run: Run) -> None:
    result = averaged(run, "b.st", "c.st", "-o", "out.st")
    assert result["weights"] == [0.5, 0.5] and result["unweighed"] is None
    sources = (("a", "c.st"), ("b", "b.st"), ("c", "c.st"))
    assert result["tasks"] == [{"task": task, "file": file, "averaged": False} for task, file in sources]
    b, c, found = load_file("b.st"), load_file("c.st"), load_file("out.st")
    heads = {f"mascli.head.{task}.{name}" for task in "abc" for name in ("weight", "bias")}
    assert set(found) == heads | {name for name in b if not name.startswith("mascli")}
    for name, value in shared("out.st").items():
        torch.testing.assert_close(value, (b[name].double() + c[name].double()).div(2).float(), rtol=0, atol=0)
        assert not torch.equal(value, b[name])
    assert result["parameters"] == sum(value.numel() for value in shared("b.st").values())
    for name in ("features.norm1.running_mean", "features.norm3.running_var"):
        torch.testing.assert_close(found[name], (b[name] + c[name]) / 2)
    assert found["features.norm1.num_batches_tracked"] == c["features.norm1.num_batches_tracked"]
    assert torch.equal(found["mascli.head.b.weight"], b["mascli.head.b.weight"])
    assert torch.equal(found["mascli.head.c.weight"], c["mascli.head.c.weight"])
    assert all(outputs.shape == (3, 2) for outputs in opened("out.st").model(IMAGES, ("a", "b", "c")))


def test_weights_are_factors_that_are_divided_by_their_sum(run: Run) -> None:
    result = averaged(run, "b.st", "c.st", "--weights", "3,1", "-o", "out.st")
    assert result["weights"] == [0.75, 0.25]
    b, c = load_file("b.st"), load_file("c.st")
    for name, value in shared("out.st").items():
        torch.testing.assert_close(value, 0.75 * b[name] + 0.25 * c[name])
    averaged(run, "b.st", "c.st", "--weights", "1,0", "-o", "b-alone.st")
    assert all(torch.equal(value, b[name]) for name, value in shared("b-alone.st").items())


def test_the_mode_takes_each_parameter_from_the_networks_that_need_it(run: Run) -> None:
    omegas = ["--omega", "b.omega", "--omega", "c.omega"]
    result = averaged(run, "b.st", "c.st", "--mode", "mode", *omegas, "--weights", "1,3", "-o", "out.st")
    b, c, needs_b, needs_c = (load_file(name) for name in ("b.st", "c.st", "b.omega", "c.omega"))
    empty = 0
    for name, value in shared("out.st").items():
        over, under = 0.25 * needs_b[name].double(), 0.75 * needs_c[name].double()
        mean = 0.25 * b[name].double() + 0.75 * c[name].double()
        mode = (over * b[name] + under * c[name]) / (over + under)
        expected = torch.where(over + under > 0, mode, mean)
        torch.testing.assert_close(value, expected.float())
        empty += int((over + under == 0).sum())
        assert name.startswith("features.norm") or not torch.allclose(value, mean.float())
    assert result["unweighed"] == empty / result["parameters"]
    assert result["omegas"] == ["b.omega", "c.omega"] and result["mode"] == "mode"


def test_lineage_names_every_parent_and_their_omegas_stay_usable(run: Run) -> None:
    averaged(run, "b.st", "d.st", "-o", "out.st")
    steps = record("out.st").lineage
    assert [(step.command, step.task) for step in steps] == [
        ("init", None),
        ("train-task", "a"),
        ("train-task", "b"),
        ("train-task", "c"),
        ("train-task", "d"),
        ("average", None),
    ]
    parents = [file_sha256(Path(name)) for name in ("b.st", "d.st")]
    assert steps[-1].settings == {"mode": "mean", "weights": [0.5, 0.5], "parents": parents, "omegas": []}
    assert steps[-1].parent_sha256 == parents[-1]
    assert steps[-1].shared_sha256 == current_shared_sha256(opened("out.st").model)
    for name in ("b", "c", "d"):
        words = ["estimate", "out.st", "--data", "photos", "--previous", f"{name}.omega", "-o", f"{name}2.omega"]
        code, _, err = run(*words)
        assert code == 0, err


def test_an_ancestor_may_be_averaged_with_what_came_of_it(run: Run) -> None:
    """As in the paper: networks one after the other, each started from the one before."""
    result = averaged(run, "base.st", "c.st", "d.st", "-o", "out.st")
    assert [task["task"] for task in result["tasks"]] == ["a", "c", "d"]
    assert len({id(step) for step in record("out.st").lineage}) == 5
    files = [load_file(name) for name in ("base.st", "c.st", "d.st")]
    for name, value in shared("out.st").items():
        torch.testing.assert_close(value, sum(file[name] for file in files) / 3)


def test_norms_of_each_tasks_own_go_with_their_heads(run: Run) -> None:
    learned("base.st", "own-b.st", "b", 2, own=True)
    learned("base.st", "own-c.st", "c", 3, own=True)
    averaged(run, "own-b.st", "own-c.st", "-o", "out.st")
    b, c, found = load_file("own-b.st"), load_file("own-c.st"), load_file("out.st")
    for task, source in (("a", c), ("b", b), ("c", c)):
        own = [name for name in found if name.startswith(f"mascli.task.{task}.")]
        assert len(own) == 15 and all(torch.equal(found[name], source[name]) for name in own)
    code, _, err = run("average", "own-b.st", "c.st", "-o", "x.st")
    assert code == 4 and "in own-b.st each task has its own BatchNorm, in c.st it is shared" in err
    code, _, err = run("average", "c.st", "own-b.st", "-o", "x.st")
    assert code == 4 and "in own-b.st each task has its own BatchNorm, in c.st it is shared" in err


def test_averaged_running_statistics_are_told(run: Run) -> None:
    code, _, err = run("average", "b.st", "c.st", "-o", "out.st")
    assert code == 0 and "running statistics of BatchNorm were averaged" in err
    learned("base.st", "own-b.st", "b", 2, own=True)
    learned("base.st", "own-c.st", "c", 3, own=True)
    code, _, err = run("average", "own-b.st", "own-c.st", "-o", "own.st")
    assert code == 0 and err == ""


def test_the_same_files_give_the_same_bytes(run: Run) -> None:
    averaged(run, "b.st", "c.st", "-o", "one.st")
    averaged(run, "b.st", "c.st", "-o", "two.st")
    assert Path("one.st").read_bytes() == Path("two.st").read_bytes()


def renamed(source: str, out: str, task: str) -> None:
    """The checkpoint with its newest task called otherwise."""
    begun = opened(source)
    head = begun.model.task_heads.heads.pop(f"task-{begun.tasks[-1].name}")
    begun.model.task_heads.heads[f"task-{task}"] = head
    tasks = (*begun.tasks[:-1], replace(begun.tasks[-1], name=task))
    save_checkpoint(
        Path(out), replace(begun, tasks=tasks, lineage=begun.lineage[:-1]), begun.lineage[-1], overwrite=False
    )


MODEL = ["--model", "mascli:convnet", "--model-arg", "width=4", "--image-size", "12"]
WRONG: dict[str, tuple[int, str, str, Callable[[Run], object]]] = {
    "no common ancestor": (4, "no common ancestor", "b.st other.st", lambda run: None),
    "another model": (
        4,
        "are of different models",
        "b.st mlp.st",
        lambda run: run("init", "--model", "mascli:mlp", "--image-size", "12", "-o", "mlp.st"),
    ),
    "other arguments": (4, "are of different models", "b.st bare.st", lambda run: run("init", *MODEL, "-o", "bare.st")),
    "another preprocessing": (
        4,
        "prepare images differently",
        "b.st mean.st",
        lambda run: run("init", *MODEL, "--model-arg", "norm=true", "--mean", "0,0,0", "-o", "mean.st"),
    ),
    "plain weights": (
        4,
        "nobody knows the ancestor",
        "b.st plain.safetensors",
        lambda run: run("export", "c.st", "-o", "plain.safetensors"),
    ),
    "an omega of another checkpoint": (
        4,
        "other weights",
        "b.st c.st --mode mode --omega b.omega --omega d.omega",
        lambda run: None,
    ),
    "omegas in another order": (
        4,
        "other weights",
        "b.st c.st --mode mode --omega c.omega --omega b.omega",
        lambda run: None,
    ),
    "names that differ in case": (
        4,
        "the tasks b and B differ in case only",
        "b.st B.st",
        lambda run: renamed("c.st", "B.st", "B"),
    ),
    "one alone": (2, "one alone has no average", "b.st", lambda run: None),
    "too few weights": (2, "one number a file: 2, not 1", "b.st c.st --weights 1", lambda run: None),
    "weights of nothing": (2, "--weights are all 0", "b.st c.st --weights 0,0", lambda run: None),
    "too few omegas": (2, "one --omega for each checkpoint", "b.st c.st --mode mode --omega b.omega", lambda run: None),
    "an omega for the mean": (2, "--omega is for --mode mode", "b.st c.st --omega b.omega", lambda run: None),
    "a missing file": (2, "there is no file nowhere.st", "b.st nowhere.st", lambda run: None),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_belong_together_is_one_line_and_writes_nothing(name: str, run: Run) -> None:
    code, message, words, prepare = WRONG[name]
    prepare(run)
    before = sorted(Path().iterdir())
    got, out, err = run("average", *words.split(), "-o", "out.st")
    lines = [line for line in err.splitlines() if line.startswith("mascli: ")]
    assert got == code and len(lines) == 1 and message in lines[0] and not out, err
    assert sorted(Path().iterdir()) == before


def test_the_same_file_twice_is_refused(run: Run) -> None:
    Path("link.st").symlink_to("b.st")
    for words in (("b.st", "c.st", "b.st"), ("b.st", "./b.st"), ("b.st", "link.st")):
        code, _, err = run("average", *words, "-o", "out.st")
        assert code == 2 and "is given twice" in err and "--weights" in err and not Path("out.st").exists()
        assert len(err.splitlines()) <= 2, err


def test_a_baseline_that_is_no_ancestor_is_told(run: Run) -> None:
    write_images(Path("set"), {"x": 1, "y": 2}, 2)
    for baseline, told in (("other.st", True), ("base.st", False), ("b.st", False)):
        code, out, err = run("evaluate", "b.st", "--baseline", baseline, "--data", "a=set", "--format", "json")
        assert code == 0, err
        note = f"{baseline} is no ancestor of b.st: the difference is not forgetting in a, "
        note += "and counts as such in the average and in limits"
        assert (note in " ".join(err.split())) == told
        assert json.loads(out)["notes"] == ([f"--baseline {note}"] if told else [])
