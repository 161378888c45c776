"""Whatever a user calls a checkpoint: plain weights, other class counts, code of their own."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from commands import Run, write_images
from safetensors.torch import load_file, save_file
from torchvision import models

from mascli.config import ImageOptions
from mascli.files.records_json import checkpoint_record
from mascli.files.tensor_file import read_header
from mascli.observer import Observer
from mascli.workflows.loading import open_checkpoint

NETWORK = """
from torch import nn

def small(outputs=4):
    return nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(20, outputs))
"""


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    """A SqueezeNet with seven classes: a convolution for a classifier, a ReLU and pooling behind it."""
    torch.manual_seed(0)
    return dict(models.squeezenet1_0(weights=None, num_classes=7).state_dict())


@pytest.fixture
def place(tmp_path: Path, weights: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    save_file(weights, tmp_path / "plain.safetensors")
    write_images(tmp_path / "train", {"a": 1, "b": 2}, 4)
    write_images(tmp_path / "val", {"b": 2}, 2)
    return tmp_path


PLAIN = ["--model", "torchvision:squeezenet1_0", "--image-size", "32"]


def outputs(path: Path, task: str, images: torch.Tensor, **options: object) -> torch.Tensor:
    settings = ImageOptions(checkpoint=path, **options)  # type: ignore[arg-type]
    opened = open_checkpoint(path, settings, torch.device("cpu"), Observer())
    with torch.inference_mode():
        return opened.model(images, (task,))[0]


def test_plain_weights_are_a_checkpoint_whose_answers_stay_exactly_as_they_were(
    place: Path, weights: dict[str, torch.Tensor], run: Run
) -> None:
    network = models.squeezenet1_0(weights=None, num_classes=7).eval()
    network.load_state_dict(weights)
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        expected = network(images)
    plain = {"model": "torchvision:squeezenet1_0", "image_size": (32,)}
    assert torch.equal(outputs(place / "plain.safetensors", "base", images, **plain), expected)

    # the same through estimate, train-task, and the checkpoint that it writes
    assert run("estimate", "plain.safetensors", *PLAIN, "--data", "train", "-o", "base.omega")[0] == 0
    learn = ["--task", "t", "--data", "train", "--epochs", "1", "--omega", "base.omega", "--lambda", "1e30"]
    code, _, err = run("train-task", "plain.safetensors", *PLAIN, *learn, "-o", "t.st")
    assert code == 0, err
    record = checkpoint_record(read_header(place / "t.st"))
    assert record is not None and record.task_names == ("base", "t")
    assert record.lineage[0].parent_sha256 == record.lineage[1].parent_sha256 is not None
    tensors = load_file(place / "t.st")
    head = {name: tensors[f"mascli.head.base.{name}"] for name in ("weight", "bias")}
    assert all(torch.equal(head[name], weights[f"classifier.1.{name}"]) for name in head)
    learned = outputs(place / "t.st", "t", images)
    assert learned.shape == (2, 2)
    # lambda 1e30 holds what matters; what has no importance at all does not change these answers by much
    torch.testing.assert_close(outputs(place / "t.st", "base", images), expected, rtol=0.05, atol=0.01)


def test_the_class_count_is_read_from_the_weights_and_classes_can_be_named(place: Path, run: Run) -> None:
    (place / "names.txt").write_text("\n".join("abcdefg") + "\n", encoding="utf-8")
    code, _, err = run("init", *PLAIN, "--weights", "plain.safetensors", "--classes", "names.txt", "-o", "named.st")
    assert code == 0, err
    record = checkpoint_record(read_header(place / "named.st"))
    assert record is not None and record.tasks[0].classes == tuple("abcdefg")
    code, _, err = run("init", *PLAIN, "--weights", "plain.safetensors", "--head-name", "seven", "-o", "numbered.st")
    record = checkpoint_record(read_header(place / "numbered.st"))
    assert record is not None and record.tasks[0].classes == tuple("0123456") and record.task_names == ("seven",)
    for text in ("a\nb\n", "a\n" * 7, b"\xff\xfe"):
        (place / "names.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
        code, _, err = run("init", *PLAIN, "--weights", "plain.safetensors", "--classes", "names.txt", "-o", "x.st")
        assert code == 2 and "names.txt" in err and not (place / "x.st").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("features.0.weight"), "the file lacks features.0.weight"),
        (lambda state: state.update({"more.weight": torch.zeros(1)}), "the model has no more.weight"),
        (
            lambda state: state.update({"features.0.bias": torch.zeros(3)}),
            r"features.0.bias is \[3\] in the file and \[96\]",
        ),
        (lambda state: state.pop("classifier.1.weight"), "the file lacks classifier.1.weight"),
    ],
)
def test_weights_of_something_else_are_refused(
    change: object, message: str, place: Path, weights: dict[str, torch.Tensor], run: Run
) -> None:
    import re

    state = dict(weights)
    change(state)  # type: ignore[operator]
    save_file(state, place / "other.safetensors")
    code, _, err = run("init", *PLAIN, "--weights", "other.safetensors", "-o", "x.st")
    assert code == 4 and re.search(message, err) and not (place / "x.st").exists()


def test_plain_weights_without_a_model_and_pickles_outside_init_are_told(place: Path, run: Run) -> None:
    code, _, err = run("estimate", "plain.safetensors", "--data", "train", "-o", "x")
    assert code == 2 and "--model" in err
    torch.save({"a": torch.zeros(1)}, place / "w.pth")
    code, _, err = run("estimate", "w.pth", *PLAIN, "--data", "train", "-o", "x")
    assert code == 4 and "mascli init" in err


def test_code_named_in_a_file_runs_only_with_consent(place: Path, run: Run) -> None:
    (place / "own_nets.py").write_text(NETWORK)
    code, _, err = run("init", "--model", "python:own_nets:small", "--image-size", "12", "-o", "own.st")
    assert code == 0, err
    train = ["train-task", "own.st", "--task", "t", "--data", "train", "--epochs", "1", "-o", "t.st"]
    code, _, err = run(*train)
    assert code == 2 and "--trust-model-code" in err and not (place / "t.st").exists()
    assert run(*train, "--trust-model-code")[0] == 0
    assert run(*train, "--overwrite", "--model", "python:own_nets:small")[0] == 0  # typed by the user: consent
    for command in (["estimate", "t.st", "--data", "train", "-o", "x"], ["evaluate", "t.st", "--data", "train"]):
        assert run(*command)[0] == 2
        assert run(*command, "--trust-model-code")[0] == 0


def test_flags_that_contradict_the_checkpoint_are_refused_and_those_that_agree_are_not(place: Path, run: Run) -> None:
    assert run("init", *PLAIN, "--weights", "plain.safetensors", "-o", "base.st")[0] == 0
    estimate = ["estimate", "base.st", "--data", "train", "-o", "x.omega"]
    for flags in (["--model", "torchvision:alexnet"], ["--classifier", "features.0"], ["--mean", "0,0,0"]):
        code, _, err = run(*estimate, *flags)
        assert code == 2 and flags[0] in err
    assert run(*estimate, *PLAIN)[0] == 0


def test_a_timm_model_is_a_checkpoint_too(place: Path, run: Run) -> None:
    """With a bare class token and layer norms: measured by rules, like everything else."""
    spec = ["--model", "timm:vit_tiny_patch16_224", "--model-arg", "img_size=32", "--model-arg", "depth=1"]
    code, _, err = run("init", *spec, "--image-size", "32", "-o", "vit.st")
    assert code == 0, err
    train = ["--task", "t", "--data", "train", "--epochs", "1", "-o", "t.st"]
    assert run("train-task", "vit.st", *train)[0] == 0
    code, out, err = run("estimate", "t.st", "--data", "train", "-o", "t.omega", "--format", "json")
    assert code == 0, err
    result = json.loads(out)
    assert set(result["rules"]) == {"addition", "convolution", "layer norm", "linear"} and result["fallback"] == {}
    names = {name for name, _ in open_names(place / "t.st")}
    assert set(load_file(place / "t.omega")) == names


def open_names(path: Path) -> list[tuple[str, object]]:
    record = checkpoint_record(read_header(path))
    assert record is not None
    return [(name, None) for name in record.shared]


def test_timm_models_come_with_their_own_preprocessing(place: Path, run: Run) -> None:
    code, _, err = run("init", "--model", "timm:resnet18", "-o", "r.st")
    assert code == 0, err
    record = checkpoint_record(read_header(place / "r.st"))
    assert record is not None and record.preprocessing.size == (224, 224) and record.preprocessing.resize_to == 235
    assert record.preprocessing.interpolation == "bicubic" and record.model.classifier == "fc"
    code, _, err = run("init", "--model", "timm:resnet81", "-o", "x.st")
    assert code == 5 and "resnet81" in err


def test_validation_in_a_folder_of_its_own_and_images_outside_classes(place: Path, run: Run) -> None:
    (place / "train" / "stray.png").write_bytes((place / "train" / "a" / "000.png").read_bytes())
    (place / "train" / "a" / "torn.png").write_bytes(b"\x89PNG")
    assert run("init", "--model", "mascli:mlp", "--image-size", "12", "-o", "s.st")[0] == 0
    train = ["train-task", "s.st", "--task", "t", "--data", "train", "--epochs", "2"]
    code, out, err = run(*train, "--val", "val", "-o", "v.st", "--format", "json")
    assert code == 0 and "1 image of train lies outside" in err
    result = json.loads(out)
    assert (result["train_images"], result["val_images"]) == (8, 2)
    assert [Path(name).name for name, _ in result["unreadable"]] == ["torn.png"]
    code, out, err = run(*train, "--val-split", "0", "-o", "n.st", "--format", "json")
    assert code == 0 and "the last epoch is kept" in err and json.loads(out)["best_epoch"] == 2


def test_a_class_without_a_readable_image_is_told(place: Path, run: Run) -> None:
    (place / "train" / "c").mkdir()
    (place / "train" / "c" / "torn.png").write_bytes(b"\x89PNG")
    assert run("init", "--model", "mascli:mlp", "--image-size", "12", "-o", "s.st")[0] == 0
    code, _, err = run("train-task", "s.st", "--task", "t", "--data", "train", "-o", "t.st")
    assert code == 3 and "no image of class c can be read" in err
