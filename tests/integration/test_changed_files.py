"""Checkpoints that were changed by another tool, and networks that cannot do what is asked of them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import Run, write_images
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mascli.config import ImageOptions
from mascli.observer import Observer
from mascli.workflows.loading import open_checkpoint

Change = Callable[[dict[str, Tensor], dict[str, str]], None]


@pytest.fixture
def place(checkpoints: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("start.st", "flowers.st", "birds.st", "flowers.omega", "birds.omega"):
        shutil.copy(checkpoints / name, tmp_path / name)
    shutil.copytree(world / "data", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def rewritten(path: Path, change: Change) -> Path:
    """`path` as the safetensors library writes it after a change."""
    tensors = load_file(path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    change(tensors, metadata)
    save_file(tensors, path, metadata)
    return path


def edit(key: str, value: Callable[[Any], Any]) -> Change:
    def change(_: dict[str, Tensor], metadata: dict[str, str]) -> None:
        metadata[key] = json.dumps(value(json.loads(metadata[key])))

    return change


def tensor(name: str, value: Callable[[Tensor], Tensor]) -> Change:
    return lambda tensors, _: tensors.update({name: value(tensors[name])})


CHANGES: dict[str, Change] = {
    "one weight": tensor("features.conv1.weight", lambda t: t + 0.1),
    "one buffer": tensor("features.norm1.running_mean", lambda t: t + 0.1),
    "broadcast shape": tensor("features.conv1.bias", lambda t: t[:1].clone()),
    "another dtype": tensor("features.conv1.bias", lambda t: t.double()),
    "shape of a head": tensor("mascli.head.flowers.weight", lambda t: t[:, :2].clone()),
    "classes of a head": edit(
        "mascli.tasks", lambda tasks: [tasks[0], {**tasks[1], "classes": [*tasks[1]["classes"], "x"]}]
    ),
    "name in a head": edit(
        "mascli.heads", lambda h: {**h, "birds": {"w": h["birds"]["weight"], "bias": h["birds"]["bias"]}}
    ),
    "architecture": edit("mascli.model", lambda model: {**model, "arguments": {"width": 5, "norm": True}}),
    "channels": edit("mascli.preprocessing", lambda p: {**p, "channels": 2, "mean": [0, 0], "std": [1, 1]}),
    "image size": edit("mascli.preprocessing", lambda p: {**p, "size": [0, 12]}),
    "mean": edit("mascli.preprocessing", lambda p: {**p, "mean": [1e300, 0, 0]}),
    "hash": edit("mascli.lineage", lambda steps: [*steps[:-1], {**steps[-1], "shared_sha256": "0" * 64}]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_checkpoint_is_told_in_a_line(name: str, place: Path, run: Run) -> None:
    assert run(*"evaluate birds.st --data-root data".split())[0] == 0
    rewritten(place / "birds.st", CHANGES[name])
    for command in ("evaluate birds.st --data-root data", "estimate birds.st --data data/birds/train -o x"):
        code, out, err = run(*command.split())
        lines = [line for line in err.splitlines() if line.startswith("mascli: ")]
        assert code == 4 and len(lines) == 1 and "birds.st" in lines[0] and not out, err


def test_a_checkpoint_that_another_tool_only_rewrote_still_opens(place: Path, run: Run) -> None:
    """Negative control: the library's order of metadata and unknown keys are no damage, and the keys are kept."""
    rewritten(place / "flowers.st", lambda _, metadata: metadata.update(author="someone"))
    code, _, err = run(*"train-task flowers.st --task more --data data/birds/train --epochs 1 -o more.st".split())
    assert code == 0, err
    with safe_open(place / "more.st", framework="pt") as file:
        assert file.metadata()["author"] == "someone"


@pytest.mark.parametrize(
    "command",
    ["train-task flowers.st --task t --data data/birds/train --lambda 1 --omega {} -o x"]
    + ["estimate flowers.st --data data/birds/train --previous {} -o x"],
)
@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_importance_that_cannot_be_is_refused(command: str, bad: float, place: Path, run: Run) -> None:
    rewritten(place / "flowers.omega", tensor("features.conv1.bias", lambda t: torch.full_like(t, bad)))
    code, _, err = run(*command.format("flowers.omega").split())
    assert code == 4 and "negative or not finite" in err and not (place / "x").exists()


def test_an_omega_that_lacks_a_parameter_leaves_it_free_and_says_so(place: Path, run: Run) -> None:
    rewritten(place / "flowers.omega", lambda tensors, _: tensors.__delitem__("features.conv1.bias"))
    learn = "train-task flowers.st --task t --data data/birds/train --lambda 1 --epochs 1 -o t.st --format json"
    code, out, err = run(*learn.split(), "--omega", "flowers.omega")
    assert code == 0 and "says nothing about features.conv1.bias" in err
    assert json.loads(out)["unprotected_parameters"] == ["features.conv1.bias"]
    code, _, err = run(*"estimate flowers.st --data data/birds/train --previous flowers.omega -o sum.omega".split())
    assert code == 0, err
    assert set(load_file("sum.omega")) == {*load_file("flowers.omega"), "features.conv1.bias"}


def test_weights_that_are_not_finite_are_told_at_once(place: Path, run: Run) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 6), nn.Linear(6, 3)).state_dict()
    net = "nn.Sequential(nn.Flatten(), nn.Linear(192, 6), nn.Linear(6, 3))"
    (place / "flat.py").write_text(f"from torch import nn\ndef net(): return {net}\n")
    network["1.weight"][0, 0] = float("nan")
    torch.save(network, place / "nan.pth")
    init = "init --model python:flat:net --image-size 8 --weights nan.pth -o x.st"
    code, _, err = run(*init.split())
    assert code == 6 and "1.weight" in err and not (place / "x.st").exists()


def test_batch_norm_cannot_learn_from_one_image_at_a_time(place: Path, run: Run) -> None:
    assert run(*"init --model mascli:convnet --model-arg norm=true --image-size 1 -o tiny.st".split())[0] == 0
    write_images(place / "dots", {"a": 1, "b": 2}, 3, size=1)
    code, _, err = run(*"train-task tiny.st --task t --data dots --batch-size 1 -o t.st".split())
    assert code == 5 and "--batch-size" in err and "Traceback" not in err


@pytest.mark.parametrize("norm", ["nn.InstanceNorm2d(4, track_running_stats=True)", "nn.BatchNorm2d(4)"])
def test_what_is_held_stays_held_whatever_keeps_statistics(norm: str, place: Path, run: Run) -> None:
    """With lambda inf the answers of old tasks stay the same to the bit."""
    (place / "kept.py").write_text(
        "from torch import nn\nfrom torch.nn.utils.parametrizations import spectral_norm\n"
        f"def net(): return nn.Sequential(spectral_norm(nn.Conv2d(3, 4, 3)), {norm}, nn.Flatten(), nn.Linear(400, 3))\n"
    )
    trust = ["--trust-model-code"]
    assert run(*"init --model python:kept:net --image-size 12 -o kept.st".split())[0] == 0
    learn = ["--epochs", "2", "--lr", "0.1", *trust]
    first = run("train-task", "kept.st", "--task", "a", "--data", "data/flowers/train", *learn, "-o", "a.st")
    assert first[0] == 0, first
    second = run(
        "train-task", "a.st", "--task", "b", "--data", "data/birds/train", *learn, "--lambda", "inf", "-o", "b.st"
    )
    assert second[0] == 0, second
    images = torch.randn(3, 3, 12, 12)
    options = ImageOptions(checkpoint=Path("x"), trust_model_code=True)
    with torch.inference_mode():
        before, after = (
            open_checkpoint(Path(name), options, torch.device("cpu"), Observer()).model(images, ("a",))[0]
            for name in ("a.st", "b.st")
        )
    assert torch.equal(before, after)


def test_a_limit_on_a_task_without_a_folder_is_no_pass(place: Path, run: Run) -> None:
    shutil.rmtree(place / "data" / "flowers")
    shutil.copytree(place / "data" / "birds", place / "data" / "wings")
    learn = "train-task birds.st --task wings --data data/wings/train --epochs 1 -o wings.st"
    assert run(*learn.split())[0] == 0
    for limit in (["--max-forgetting", "100", "--baseline", "birds.st"], ["--min-accuracy", "0"]):
        gate = ["evaluate", "wings.st", "--data-root", "data", *limit]
        code, _, err = run(*gate)
        assert code == 3 and "no folder for flowers" in err, err
    assert run("evaluate", "birds.st", "--data-root", "data", "--min-accuracy", "0", "--task", "birds")[0] == 0
    assert run("evaluate", "birds.st", "--data-root", "data")[0] == 0


@pytest.mark.parametrize(
    "command",
    [
        "estimate flowers.st --data data/birds/train -o flowers.st --overwrite",
        "estimate flowers.st --data data/birds/train --previous flowers.omega -o flowers.omega --overwrite",
        "merge flowers.omega birds.omega --combine sum -o birds.omega --overwrite",
        "inspect flowers.st --report ./flowers.st.json --report flowers.st.json",
    ],
)
def test_no_output_replaces_an_input_or_another_output(command: str, place: Path, run: Run) -> None:
    before = {path: path.read_bytes() for path in place.iterdir() if path.is_file()}
    code, _, err = run(*command.split())
    assert code == 2, err
    assert {path: path.read_bytes() for path in place.iterdir() if path.is_file()} == before


def test_protection_that_lambda_switches_off_is_no_protection(place: Path, run: Run) -> None:
    learn = "train-task flowers.st --task t --data data/birds/train --omega flowers.omega --epochs 1 -o t.st".split()
    code, _, err = run(*learn, "--lambda", "0", "--require-protection")
    assert code == 4 and "nothing protects task flowers: --lambda is 0; give a --lambda above 0" in err
    code, _, err = run(*learn, "--lambda", "1e-30")
    assert code == 0 and "too weak to hold anything" in err


def test_a_closed_standard_output_is_no_bug(place: Path) -> None:
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m mascli inspect flowers.omega >&-"], capture_output=True, text=True
    )
    assert done.returncode in (0, 141) and done.stderr == ""


def test_a_second_demo_replaces_its_files_and_no_others(place: Path, run: Run) -> None:
    assert run("demo", "-q", "-o", "d")[0] == 0
    (place / "d" / "mine.txt").write_text("mine")
    assert run("demo", "-q", "-o", "d")[0] == 2
    before = (place / "d/mas/digits-90.safetensors").read_bytes()
    assert run("demo", "-q", "-o", "d", "--overwrite", "--seed", "1")[0] == 0
    assert (place / "d" / "mine.txt").read_text() == "mine"
    assert (place / "d/mas/digits-90.safetensors").read_bytes() != before
