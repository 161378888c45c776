"""Checkpoints in which each task has its own batch norms, through every command that reads one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import Run, overridden, write_images
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from mascli.config import ImageOptions
from mascli.models.heads import MultiHeadModel
from mascli.observer import Observer
from mascli.records import Step, Task
from mascli.workflows.bound_omega import read_bound_omega
from mascli.workflows.loading import (
    Opened,
    current_shared_sha256,
    open_checkpoint,
    save_checkpoint,
    separate_batchnorm,
)

NORMS = {
    f"features.norm{number}.{name}"
    for number in (1, 2, 3)
    for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
}
CLASSES = {"flowers": ("rose", "tulip"), "birds": ("crow", "swan"), "dogs": ("pug", "collie")}
IMAGES = torch.randn(5, 3, 12, 12, generator=torch.Generator().manual_seed(0))


def opened(path: Path) -> Opened:
    return open_checkpoint(path, ImageOptions(checkpoint=path), torch.device("cpu"), Observer())


def answers(path: Path, *tasks: str) -> tuple[Tensor, ...]:
    with torch.inference_mode():
        found: tuple[Tensor, ...] = opened(path).model(IMAGES, tasks)
    return found


def with_another_task(path: Path, out: Path, task: str, *, own: bool = True, shared: float = 0.0) -> None:
    """What learning `task` does: other norms, its own if `own`, and shared parameters moved by `shared`."""
    begun = opened(path)
    if own:
        separate_batchnorm(begun, Observer())
    torch.manual_seed(len(begun.tasks))
    begun.model.add_head(task, 2)
    with torch.no_grad():
        for name, parameter in begun.model.network.named_parameters():
            if name in NORMS:
                parameter.normal_()
        for parameter in begun.model.shared_parameters().values():
            parameter.add_(shared)
    begun.model.train()
    begun.model(IMAGES * 3 + 1, (task,))
    begun.model.eval()
    fit_head(begun.model, task)
    step = Step("train-task", current_shared_sha256(begun.model), task, begun.file_sha256)
    save_checkpoint(out, replace(begun, tasks=(*begun.tasks, Task(task, CLASSES[task]))), step, overwrite=False)


def fit_head(model: MultiHeadModel, task: str) -> None:
    """Let the head of `task` choose the class whose images have the nearest mean feature."""
    features: list[Tensor] = []
    hook = model.task_heads.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0].mean(0)))
    with torch.no_grad():
        for name in CLASSES[task]:
            files = sorted(Path("data", task, "test", name).glob("*.png"))
            pixels = np.stack([np.asarray(Image.open(file)) for file in files]).transpose(0, 3, 1, 2)
            model(torch.from_numpy(pixels) / 127.5 - 1, (task,))
        hook.remove()
        head = model.head(task)
        head.weight.copy_(torch.stack(features))  # type: ignore[operator, union-attr]
        head.bias.copy_(torch.stack([-f.square().sum() / 2 for f in features]))  # type: ignore[operator, union-attr]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run) -> Path:
    """flowers.st and shared.st share their norms, the tasks of own.st and three.st do not."""
    monkeypatch.chdir(tmp_path)
    for number, (task, names) in enumerate(CLASSES.items()):
        write_images(tmp_path / "data" / task / "test", {name: 2 * number + hue for hue, name in enumerate(names)}, 5)
    init = ["init", "--model", "mascli:convnet", "--model-arg", "width=4", "--model-arg", "norm=true"]
    assert run(*init, "--image-size", "12", "-o", "start.st")[0] == 0
    with_another_task(tmp_path / "start.st", tmp_path / "flowers.st", "flowers", own=False)
    with_another_task(tmp_path / "flowers.st", tmp_path / "shared.st", "birds", own=False)
    with_another_task(tmp_path / "flowers.st", tmp_path / "own.st", "birds")
    with_another_task(tmp_path / "own.st", tmp_path / "three.st", "dogs", shared=0.01)
    for name in ("flowers", "shared"):
        assert run("estimate", f"{name}.st", "--data", "data", "-o", f"{name}.omega")[0] == 0
    return tmp_path


def test_the_file_holds_each_tasks_norms_and_no_shared_one(place: Path) -> None:
    before, found = load_file(place / "flowers.st"), load_file(place / "three.st")
    heads = {f"mascli.head.{task}.{name}" for task in ("flowers", "birds", "dogs") for name in ("weight", "bias")}
    own = {f"mascli.task.{task}.{name}" for task in ("flowers", "birds", "dogs") for name in NORMS}
    assert set(found) == heads | own | {n for n in before if n not in NORMS and not n.startswith("mascli")}
    for name in NORMS:
        assert torch.equal(found[f"mascli.task.flowers.{name}"], before[name])
        assert not torch.equal(found[f"mascli.task.birds.{name}"], before[name])
    with safe_open(place / "three.st", framework="pt") as file:
        metadata = file.metadata()
    assert metadata["mascli.format_version"] == "2"
    assert json.loads(metadata["mascli.owned"])["dogs"] == {name: f"mascli.task.dogs.{name}" for name in NORMS}
    with safe_open(place / "flowers.st", framework="pt") as file:
        assert file.metadata()["mascli.format_version"] == "1"


def test_each_task_answers_by_its_own_norms_after_a_round_trip(place: Path) -> None:
    (before,) = answers(place / "flowers.st", "flowers")
    assert torch.equal(answers(place / "own.st", "flowers")[0], before)
    both = answers(place / "own.st", "birds", "flowers")
    assert torch.equal(both[1], before) and torch.equal(both[0], answers(place / "own.st", "birds")[0])
    assert not torch.equal(answers(place / "three.st", "flowers")[0], before)  # the shared weights have moved
    save_checkpoint(
        place / "again.st",
        replace(opened(place / "own.st"), lineage=()),
        opened(place / "own.st").lineage[-1],
        overwrite=False,
    )
    assert load_file(place / "again.st").keys() == load_file(place / "own.st").keys()
    for name, tensor in load_file(place / "own.st").items():
        assert torch.equal(load_file(place / "again.st")[name], tensor)


def test_evaluate_uses_the_norms_of_each_task(place: Path, run: Run) -> None:
    data = ["--data", "flowers=data/flowers/test", "--data", "birds=data/birds/test"]
    code, out, err = run("evaluate", "own.st", *data, "--baseline", "flowers.st", "--format", "json")
    assert code == 0, err
    flowers, birds = json.loads(out)["tasks"]
    assert flowers["forgetting"] == 0.0 and birds["forgetting"] is None
    assert flowers["accuracy"] == birds["accuracy"] == 100.0
    code, out, err = run("evaluate", "shared.st", *data, "--baseline", "flowers.st", "--format", "json")
    assert json.loads(out)["tasks"][0]["forgetting"] >= 20.0


def test_importance_is_of_the_asked_tasks_answers_and_of_shared_parameters_alone(place: Path, run: Run) -> None:
    found = {}
    for name, flags in (("birds", []), ("flowers", ["--task", "flowers"]), ("all", ["--all-tasks"])):
        words = ["estimate", "own.st", "--data", "data/birds/test", "-o", f"of-{name}.omega", "--verify", "3", *flags]
        code, _, err = run(*words)
        assert code == 0, err
        found[name] = load_file(place / f"of-{name}.omega")
        assert set(found[name]) == set(opened(place / "own.st").model.shared_parameters())
        assert not set(found[name]) & NORMS
    words = ["estimate", "flowers.st", "--data", "data/birds/test", "-o", "plain.omega"]
    assert run(*words)[0] == 0
    plain = load_file(place / "plain.omega")  # of flowers as it was before it had norms of its own
    for name, values in found["flowers"].items():
        torch.testing.assert_close(values, plain[name], rtol=1e-4, atol=1e-7)
        assert not torch.allclose(values, found["birds"][name], rtol=0.01)
        assert not torch.allclose(values, found["all"][name], rtol=0.01)


def test_an_omega_of_before_is_that_of_an_ancestor_whose_norms_are_ignored(place: Path, run: Run) -> None:
    importance = load_file(place / "flowers.omega")
    trained = {name for name in NORMS if name.endswith(("weight", "bias"))}
    assert trained <= set(importance)
    bound = read_bound_omega(place / "flowers.omega", opened(place / "three.st"))
    assert bound.ignored == tuple(sorted(trained)) and bound.lacking == ()
    assert set(bound.values) == set(importance) - trained
    assert bound.note() is not None and "6 tensors" in str(bound.note())
    assert read_bound_omega(place / "flowers.omega", opened(place / "flowers.st")).note() is None
    words = ["estimate", "own.st", "--data", "data/birds/test", "--previous", "flowers.omega", "-o", "both.omega"]
    code, _, err = run(*words)
    assert code == 0, err
    assert set(load_file(place / "both.omega")) == set(importance) - trained
    # shared.omega was measured on a checkpoint that shares its norms, and is no ancestor
    code, _, err = run(*"estimate own.st --data data/birds/test --previous shared.omega -o x".split())
    assert code == 4 and "other weights" in err


def test_inspect_tells_which_tasks_have_their_own(place: Path, run: Run) -> None:
    code, out, err = run("inspect", "three.st")
    assert code == 0, err
    assert "each task's own (flowers, birds, dogs): 15 tensors a task" in out
    assert "BatchNorm" not in run("inspect", "flowers.st")[1]
    payload = json.loads(run("inspect", "three.st", "--format", "json")[1])
    assert set(payload["checkpoint"]["owned"]) == {"flowers", "birds", "dogs"}


Change = Callable[[dict[str, Tensor], dict[str, str]], None]


def renamed(tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    for task in ("flowers", "birds"):
        tensors[f"mascli.task.{task}.no.such"] = tensors.pop(f"mascli.task.{task}.features.norm1.bias")
    metadata["mascli.owned"] = metadata["mascli.owned"].replace("features.norm1.bias", "no.such")


def dropped(tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    del tensors["mascli.task.birds.features.norm1.bias"]


def shortened(tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    tensors["mascli.task.birds.features.norm1.bias"] = torch.zeros(3)


def not_finite(tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    tensors["mascli.task.flowers.features.norm1.bias"][0] = torch.nan


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (renamed, 4, "does not fit mascli:convnet"),
        (dropped, 4, "it lacks the tensors mascli.task.birds.features.norm1.bias"),
        (shortened, 4, "task birds features.norm1.bias is F32 [3], not F32 [4]"),
        (not_finite, 6, "features.norm1.bias of flowers holds numbers that are not finite"),
    ],
)
def test_a_damaged_file_is_told_in_a_line(change: Change, code: int, said: str, place: Path, run: Run) -> None:
    tensors = load_file(place / "own.st")
    with safe_open(place / "own.st", framework="pt") as file:
        metadata = file.metadata()
    change(tensors, metadata)
    save_file(tensors, place / "own.st", metadata)
    got, _, err = run(*"evaluate own.st --data data/birds/test".split())
    assert got == code and said in err and len(err.splitlines()) == 1, err


def learn(run: Run, start: str, out: str, task: str, *flags: str) -> None:
    words = ["--task", task, "--data", f"data/{task}/test", "--val-split", "0", "--batch-size", "4", "-o", out]
    code, _, err = run("train-task", start, *words, *flags)
    assert code == 0, err


def test_with_infinite_lambda_old_answers_stay_bit_for_bit_while_the_new_norms_learn(place: Path, run: Run) -> None:
    (before,) = answers(place / "flowers.st", "flowers")
    learn(run, "flowers.st", "held.st", "birds", "--batchnorm", "per-task", "--lambda", "inf", "--epochs", "2")
    assert torch.equal(answers(place / "held.st", "flowers")[0], before)
    old, new = load_file(place / "flowers.st"), load_file(place / "held.st")
    shared = {name for name in old if not name.startswith("mascli") and name not in NORMS}
    assert all(torch.equal(new[name], old[name]) for name in shared) and not NORMS & set(new)
    for name in NORMS:
        assert torch.equal(new[f"mascli.task.flowers.{name}"], old[name])
        assert not torch.equal(new[f"mascli.task.birds.{name}"], old[name])
    (birds,) = answers(place / "held.st", "birds")
    learn(run, "held.st", "more.st", "dogs", "--lambda", "inf", "--epochs", "2")  # once own, always own
    flowers, again = answers(place / "more.st", "flowers", "birds")
    assert torch.equal(flowers, before) and torch.equal(again, birds)
    assert set(load_file(place / "more.st")) == set(new) | {
        name.replace(".birds.", ".dogs.") for name in new if ".birds." in name
    }


def test_a_frozen_task_keeps_the_newest_statistics(place: Path, run: Run) -> None:
    learn(run, "own.st", "frozen.st", "dogs", "--batchnorm", "freeze", "--epochs", "2", "--lr", "0.05")
    found = load_file(place / "frozen.st")
    for name in NORMS:
        same = torch.equal(found[f"mascli.task.dogs.{name}"], found[f"mascli.task.birds.{name}"])
        assert same is not name.endswith(("weight", "bias"))


def test_the_penalty_ignores_what_an_omega_says_of_norms_and_tells_so(place: Path, run: Run) -> None:
    words = ["--task", "birds", "--data", "data/birds/test", "--val-split", "0", "--epochs", "1", "-o", "new.st"]
    flags = ["--batchnorm", "per-task", "--omega", "flowers.omega", "--lambda", "1e30"]
    code, _, err = run("train-task", "flowers.st", *words, *flags)
    assert code == 0 and "per-task BatchNorm: flowers.omega has 6 tensors for it, which are ignored" in err
    code, _, err = run("train-task", "flowers.st", *words, *overridden(flags, "--batchnorm", "freeze"), "--overwrite")
    assert code == 0 and "per-task BatchNorm" not in err


def test_norms_of_its_own_forget_less_than_norms_that_are_trained_on(place: Path, run: Run) -> None:
    """The second task's images are much darker: shared statistics follow them, and the first task is lost."""
    for file in (place / "data/birds").rglob("*.png"):
        Image.fromarray(np.asarray(Image.open(file)) // 16).save(file)
    forgetting = {}
    for mode in ("train", "per-task"):
        learn(run, "flowers.st", f"{mode}.st", "birds", "--batchnorm", mode, "--epochs", "12", "--lr", "1e-5")
        data = ["--data", "flowers=data/flowers/test", "--baseline", "flowers.st", "--format", "json"]
        code, out, err = run("evaluate", f"{mode}.st", *data)
        assert code == 0, err
        forgetting[mode] = json.loads(out)["tasks"][0]["forgetting"]
    assert forgetting["per-task"] <= 0.0 and forgetting["train"] >= 20.0


@pytest.mark.parametrize(
    "flags",
    [
        ["--distill", "1"],
        ["--rehearse", "flowers=data/flowers/test", "--head-epochs", "0"],
        ["--omega", "flowers.omega", "--max-trials", "3", "--val", "data/birds/test"],
    ],
    ids=["distill", "rehearse", "lambda auto"],
)
def test_no_way_of_learning_moves_the_norms_of_another_task(flags: list[str], place: Path, run: Run) -> None:
    words = ["--task", "birds", "--data", "data/birds/test", "--batch-size", "4", "--epochs", "2", "-o", "new.st"]
    code, _, err = run("train-task", "flowers.st", *words, "--batchnorm", "per-task", "--lr", "0.01", *flags)
    assert code == 0, err
    old, new = load_file(place / "flowers.st"), load_file(place / "new.st")
    for name in NORMS:
        assert torch.equal(new[f"mascli.task.flowers.{name}"], old[name])
        assert not torch.equal(new[f"mascli.task.birds.{name}"], old[name])
    assert all(outputs.isfinite().all() for outputs in answers(place / "new.st", "flowers", "birds"))


@pytest.mark.parametrize(
    "method", [["--method", "mas-local"], ["--method", "ewc"], ["--objective", "each-output"], ["--compat", "official"]]
)
def test_every_method_measures_several_tasks_with_norms_of_their_own(method: list[str], place: Path, run: Run) -> None:
    words = ["--data", "data/birds/test", "--all-tasks", "--verify", "3", "-o", "new.omega"]
    code, _, err = run("estimate", "own.st", *words, *method)
    assert code == 0, err
    found = load_file(place / "new.omega")
    assert set(found) == set(opened(place / "own.st").model.shared_parameters())
    assert all(values.any() for values in found.values())
