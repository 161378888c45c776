"""`mascli export`: what it writes loads strictly into the plain network, and answers as the checkpoint does."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import Run
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torchvision import models

from mascli.config import ImageOptions, InitConfig
from mascli.files.records_json import file_kind, foreign_metadata
from mascli.files.tensor_file import read_header
from mascli.observer import Observer
from mascli.records import Step, Task
from mascli.workflows.init import init
from mascli.workflows.loading import (
    Opened,
    current_shared_sha256,
    open_checkpoint,
    save_checkpoint,
    separate_batchnorm,
)

CLASSES = ("cat", "dog", "cow", "hen")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def opened(path: str) -> Opened:
    return open_checkpoint(
        Path(path), ImageOptions(checkpoint=Path(path), trust_model_code=True), torch.device("cpu"), Observer()
    )


def with_task(path: str, out: str, task: str = "pets", classes: tuple[str, ...] = CLASSES, own: bool = False) -> None:
    """Give the checkpoint one more task, with batch norms that have learned something."""
    begun = opened(path)
    if own:
        separate_batchnorm(begun, Observer())
    torch.manual_seed(len(begun.tasks))
    begun.model.add_head(task, len(classes))
    begun.model.train()
    size = begun.preprocessing.size
    begun.model(torch.rand(8, begun.preprocessing.channels, *size), (task,))
    begun.model.eval()
    step = Step("train-task", current_shared_sha256(begun.model), task, begun.file_sha256)
    save_checkpoint(Path(out), replace(begun, tasks=(*begun.tasks, Task(task, classes))), step, overwrite=False)


def fresh(model: str, size: int, *arguments: str) -> None:
    """pets.st: a fresh network of `model` that has learned one task."""
    config = InitConfig(model=model, model_arg=arguments, image_size=(size,), out=Path("start.st"))
    init(config, Observer())
    with_task("start.st", "pets.st")


def images(count: int, size: int) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(3))


def loaded(result: dict[str, Any]) -> Any:
    """The network that the printed lines of Python make."""
    names: dict[str, Any] = {}
    exec("\n".join(result["python"]), names)
    return names["model"]


def exported(run: Run, *words: str) -> dict[str, Any]:
    code, out, err = run("export", *words, "--format", "json")
    assert code == 0, err
    result: dict[str, Any] = json.loads(out)
    return result


@pytest.mark.parametrize(
    ("model", "size", "arguments"),
    [
        ("torchvision:resnet18", 32, ()),
        ("torchvision:mobilenet_v3_small", 32, ("dropout=0.3",)),
        ("timm:resnet10t", 32, ()),
        ("timm:vit_tiny_patch16_224", 32, ("img_size=32", "depth=1")),
        ("mascli:mlp", 12, ("hidden=8-6",)),
        ("mascli:convnet", 12, ("width=4", "norm=true")),
    ],
)
@pytest.mark.parametrize("name", ["out.safetensors", "out.pth"])
def test_the_printed_lines_load_it_strictly_and_its_outputs_are_our_logits(
    model: str, size: int, arguments: tuple[str, ...], name: str, run: Run
) -> None:
    fresh(model, size, *arguments)
    result = exported(run, "pets.st", "-o", name)
    assert result["logits"] is None and result["left_out"] == [] and result["classes"] == list(CLASSES)
    batch = images(3, size)
    with torch.inference_mode():
        (expected,) = opened("pets.st").model(batch, ("pets",))
        found = loaded(result)(batch)
    assert found.shape == (3, 4)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_the_network_of_old_weights_comes_back_bit_for_bit(run: Run) -> None:
    torch.manual_seed(0)
    network = models.resnet18(weights=None, num_classes=7)
    network(images(4, 32))  # statistics of its own
    save_file(network.state_dict(), "theirs.safetensors")
    plain = ["--model", "torchvision:resnet18", "--image-size", "32"]
    assert run("init", *plain, "--weights", "theirs.safetensors", "-o", "base.st")[0] == 0
    exported(run, "base.st", "-o", "back.safetensors")
    back = load_file("back.safetensors")
    assert back.keys() == network.state_dict().keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in network.state_dict().items())
    torch.save(network.state_dict(), "theirs.pth")
    exported(run, "base.st", "-o", "back.pth")
    back = torch.load("back.pth", weights_only=True)
    assert all(torch.equal(back[name], tensor) for name, tensor in network.state_dict().items())
    exported(run, "theirs.safetensors", *plain, "-o", "same.safetensors")  # plain weights, as everywhere
    assert load_file("same.safetensors").keys() == back.keys()


def test_a_task_is_chosen_and_the_newest_is_the_default(run: Run) -> None:
    fresh("mascli:mlp", 8)
    with_task("pets.st", "both.st", "birds", ("crow", "swan"))
    assert exported(run, "both.st", "-o", "a.safetensors")["task"] == "birds"
    result = exported(run, "both.st", "--task", "pets", "-o", "b.safetensors")
    assert result["task"] == "pets" and load_file("b.safetensors")["classifier.weight"].shape[0] == 4
    assert torch.equal(load_file("b.safetensors")["classifier.weight"], load_file("both.st")["mascli.head.pets.weight"])
    code, _, err = run("export", "both.st", "--task", "cars", "-o", "c.safetensors")
    assert code == 2 and "no such task; it has pets, birds" in err and not Path("c.safetensors").exists()
    code, _, err = run("export", "start.st", "-o", "c.safetensors")
    assert code == 4 and "no task yet" in err
    code, _, err = run("export", "both.st", "-o", "a.safetensors")
    assert code == 2 and "--overwrite" in err


@pytest.mark.parametrize("task", ["pets", "birds"])
def test_each_task_goes_with_the_norms_it_has_of_its_own(task: str, run: Run) -> None:
    fresh("mascli:convnet", 12, "width=4", "norm=true")
    with_task("pets.st", "both.st", "birds", ("crow", "swan"), own=True)
    result = exported(run, "both.st", "--task", task, "-o", "out.safetensors")
    batch = images(3, 12)
    with torch.inference_mode():
        (expected,) = opened("both.st").model(batch, (task,))
        torch.testing.assert_close(loaded(result)(batch), expected, rtol=1e-5, atol=1e-5)
    for name in ("features.norm1.running_mean", "features.norm3.weight"):
        assert torch.equal(load_file("out.safetensors")[name], load_file("both.st")[f"mascli.task.{task}.{name}"])
    pets, birds = (load_file("both.st")[f"mascli.task.{t}.features.norm1.running_mean"] for t in ("pets", "birds"))
    assert not torch.equal(pets, birds)


def test_what_follows_the_classifier_is_told_and_the_logits_can_be_read(run: Run) -> None:
    """SqueezeNet: a ReLU and pooling follow its last convolution, before which a head of ours is read."""
    fresh("torchvision:squeezenet1_1", 64)
    result = exported(run, "pets.st", "-o", "out.safetensors")
    assert result["logits"] == {"layer": "classifier.1", "mean_over": [2, 3]}
    batch = images(3, 64)
    with torch.inference_mode():
        (expected,) = opened("pets.st").model(batch, ("pets",))
    code, out, _ = run("export", "pets.st", "-o", "again.safetensors")
    assert code == 0 and "are not the logits that mascli evaluates" in out
    reading = [
        line.strip() for line in out.splitlines() if line.strip().startswith(("logits =", "keep =", "model.get"))
    ]
    assert len(reading) == 3
    model = loaded(result)
    names: dict[str, Any] = {"model": model}
    exec("\n".join(reading), names)
    with torch.inference_mode():
        outputs = model(batch)
    torch.testing.assert_close(names["logits"]["value"], expected, rtol=1e-5, atol=1e-5)
    assert (expected < 0).any() and (outputs >= 0).all()  # the note is true
    with safe_open("out.safetensors", framework="pt") as file:
        facts = json.loads(file.metadata()["mascli.export"])
    assert facts["logits"] == result["logits"]


def test_the_networks_own_classifier_needs_no_such_note(run: Run) -> None:
    torch.manual_seed(0)
    network = models.squeezenet1_1(weights=None, num_classes=5).eval()
    save_file(network.state_dict(), "theirs.safetensors")
    plain = ["--model", "torchvision:squeezenet1_1", "--image-size", "64"]
    result = exported(run, "theirs.safetensors", *plain, "-o", "out.safetensors")
    assert result["logits"] is None
    with torch.inference_mode():
        assert torch.equal(loaded(result)(images(2, 64)), network(images(2, 64)))


def test_auxiliary_heads_of_another_number_of_classes_are_left_out(run: Run) -> None:
    fresh("torchvision:googlenet", 64, "transform_input=true")
    result = exported(run, "pets.st", "-o", "out.safetensors")
    assert "aux1.fc2.weight" in result["left_out"] and result["arguments"]["aux_logits"] is False
    batch = images(2, 64)
    with torch.inference_mode():
        (expected,) = opened("pets.st").model(batch, ("pets",))
        torch.testing.assert_close(loaded(result)(batch), expected, rtol=1e-4, atol=1e-5)


def test_a_safetensors_file_says_what_it_needs_and_is_plain_weights_to_us(run: Run) -> None:
    fresh("mascli:convnet", 12, "width=4", "norm=true")
    exported(run, "pets.st", "-o", "out.safetensors")
    header = read_header(Path("out.safetensors"))
    assert header.metadata.keys() == {"format", "mascli.export"} and header.metadata["format"] == "pt"
    facts = json.loads(header.metadata["mascli.export"])
    assert facts["classes"] == list(CLASSES) and facts["task"] == "pets" and facts["logits"] is None
    assert facts["model"]["arguments"] == {"width": 4, "norm": True, "num_classes": 4}
    assert facts["preprocessing"]["size"] == [12, 12]
    assert facts["shared_sha256"] == current_shared_sha256(opened("pets.st").model)
    assert file_kind(header) == "tensors" and foreign_metadata(header) == {}
    model = ["--model", "mascli:convnet", "--model-arg", "width=4", "--model-arg", "norm=true", "--image-size", "12"]
    assert run("init", *model, "--weights", "out.safetensors", "-o", "again.st")[0] == 0
    assert run("inspect", "out.safetensors")[0] == 0
    assert "mascli.export" not in read_header(Path("again.st")).metadata
    with torch.inference_mode():
        again = opened("again.st").model(images(2, 12), ("base",))[0]
        assert torch.equal(again, opened("pets.st").model(images(2, 12), ("pets",))[0])


NETWORK = """
from torch import nn

def small(outputs=2):
    return nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(20, outputs))
"""


def test_a_network_of_the_users_own_goes_with_the_number_of_classes_it_must_have(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [".", *sys.path])
    Path("exported_nets.py").write_text(NETWORK)
    assert run("init", "--model", "python:exported_nets:small", "--image-size", "12", "-o", "start.st")[0] == 0
    with_task("start.st", "pets.st")
    code, _, err = run("export", "pets.st", "-o", "out.safetensors")
    assert code == 2 and "--trust-model-code" in err
    result = exported(run, "pets.st", "-o", "out.safetensors", "--trust-model-code")
    assert result["python"][2] == "model = small().eval()  # has to be built with 4 classes"
    result["python"][2] = "model = small(outputs=4).eval()"
    with torch.inference_mode():
        expected = opened("pets.st").model(images(2, 12), ("pets",))[0]
        torch.testing.assert_close(loaded(result)(images(2, 12)), expected)


@pytest.mark.parametrize("name", ["num_classes", "n_classes"])
def test_the_number_of_classes_is_given_to_a_factory_that_takes_it(
    name: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [".", *sys.path])
    Path(f"nets_{name}.py").write_text(NETWORK.replace("outputs", name))
    model = f"python:nets_{name}:small"
    assert run("init", "--model", model, "--image-size", "12", "-o", "start.st")[0] == 0
    with_task("start.st", "pets.st")
    result = exported(run, "pets.st", "-o", "out.safetensors", "--trust-model-code")
    assert result["python"][2] == f"model = small({name}=4).eval()"
    with torch.inference_mode():
        expected = opened("pets.st").model(images(2, 12), ("pets",))[0]
        torch.testing.assert_close(loaded(result)(images(2, 12)), expected)


@pytest.mark.parametrize("name", ["out.safetensors", "out.pth"])
def test_the_same_checkpoint_gives_the_same_bytes(name: str, run: Run) -> None:
    fresh("mascli:convnet", 12, "width=4", "norm=true")
    exported(run, "pets.st", "-o", name)
    before = Path(name).read_bytes()
    exported(run, "pets.st", "-o", name, "--overwrite", "--seed", "5")
    assert Path(name).read_bytes() == before
    assert sorted(path.name for path in Path().iterdir()) == sorted(["start.st", "pets.st", name])
