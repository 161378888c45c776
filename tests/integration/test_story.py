"""The story of the README, typed as it stands there: nothing here may need another flag to work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from commands import Run, write_images
from safetensors import safe_open
from safetensors.torch import load_file
from torchvision import models

from mascli.files.records_json import checkpoint_record, omega_record
from mascli.files.tensor_file import read_header


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: photos, two tasks, a trained ResNet-18 as a .pth, and a configuration file."""
    folder = tmp_path_factory.mktemp("shop")
    write_images(folder / "photos", {"a": 1, "b": 2}, 3, size=40)
    for task, classes in {"flowers": {"rose": 1, "tulip": 2}, "birds": {"crow": 3, "swan": 4}}.items():
        write_images(folder / "data" / task / "train", classes, 6, size=40)
        write_images(folder / "data" / task / "test", classes, 3, size=40)
    (folder / "flowers").symlink_to(folder / "data" / "flowers")
    torch.manual_seed(0)
    torch.save(models.resnet18(weights=None, num_classes=5).state_dict(), folder / "r18.pth")
    (folder / "birds.yaml").write_text(
        "checkpoint: flowers.st\ntask: birds\ndata: data/birds/train\nomega: both.omega\nlambda: 10\nepochs: 1\n"
    )
    return folder


def test_every_command_works_as_typed(shop: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shop)
    monkeypatch.setattr(torch, "get_num_threads", torch.get_num_threads)
    commands = [
        "init --model torchvision:resnet18 --weights r18.pth --image-size 32 -o base.st",
        "estimate base.st --data photos/ -o base.omega",
        "train-task base.st --task flowers --data flowers/train --omega base.omega --lambda 10 -o flowers.st",
        "estimate flowers.st --data flowers/train --previous base.omega -o both.omega",
        "evaluate flowers.st --task flowers --data flowers/test",
        "train-task --config birds.yaml --seed 3 -o birds.st",
        "evaluate birds.st --baseline flowers.st --data-root data/ --max-forgetting 100 --report result.json",
        "inspect both.omega",
        "inspect birds.st",
        "estimate base.st --data photos/a -o part1.omega",
        "estimate base.st --data photos/b -o part2.omega",
        "merge part1.omega part2.omega --combine pool -o all.omega",
        "merge base.omega both.omega --combine sum -o sum.omega",
    ]
    for command in commands:
        code, out, err = run(*command.split())
        if command.startswith("merge base.omega"):  # base.omega is a part of both.omega
            assert code == 4 and "same estimate" in err, err
            continue
        assert code == 0, (command, err)
        assert out.strip(), command
    result = json.loads((shop / "result.json").read_text())
    assert {row["task"] for row in result["tasks"]} == {"flowers", "birds"}
    assert [row["baseline"] for row in result["tasks"]] == ["flowers.st", None]

    base, birds = (checkpoint_record(read_header(shop / name)) for name in ("base.st", "birds.st"))
    assert base is not None and birds is not None
    assert birds.task_names == ("base", "flowers", "birds")
    assert birds.tasks[0].imported and len(birds.tasks[0].classes) == 5
    assert [step.command for step in birds.lineage] == ["init", "train-task", "train-task"]
    assert birds.lineage[-1].settings["seed"] == 3 and birds.lineage[-1].settings["lambda"] == 10
    both = omega_record(read_header(shop / "both.omega"))
    assert [part.heads for part in both.contributions] == [("base",), ("flowers",)]

    # heads of old tasks never change, and other tools see the network under its own names
    with safe_open(shop / "birds.st", framework="pt") as new, safe_open(shop / "flowers.st", framework="pt") as old:
        for name in ("mascli.head.base.weight", "mascli.head.flowers.bias"):
            assert torch.equal(new.get_tensor(name), old.get_tensor(name))
    network = models.resnet18(weights=None, num_classes=2)
    missing = network.load_state_dict(load_file(shop / "birds.st"), strict=False)
    assert missing.missing_keys == ["fc.weight", "fc.bias"]


def test_pooled_halves_equal_the_whole(shop: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shop)
    whole, pooled = load_file("base.omega"), load_file("all.omega")
    assert set(whole) == set(pooled)
    for name, values in whole.items():
        assert (values - pooled[name]).abs().sum() <= 1e-4 * values.sum(), name
    records = [omega_record(read_header(Path(name))).contributions[0] for name in ("base.omega", "all.omega")]
    assert records[0].images == records[1].images == 6
    assert records[0].fingerprint == records[1].fingerprint
    assert records[0].mean_squared_norm == pytest.approx(records[1].mean_squared_norm, rel=1e-5)


def test_the_readme_loads_a_trained_task_into_plain_torchvision(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ten lines of the README, run as they stand, give the answers that mascli gives."""
    monkeypatch.chdir(shop)
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    code = readme.split("<!-- tested: load into torchvision -->")[1].split("```python\n")[1].split("```")[0]
    space: dict[str, object] = {}
    exec(code, space)
    model = space["model"]
    assert isinstance(model, models.ResNet)

    from mascli.config import ImageOptions
    from mascli.observer import Observer
    from mascli.workflows.loading import open_checkpoint

    ours = open_checkpoint(Path("flowers.st"), ImageOptions(checkpoint=Path("x")), torch.device("cpu"), Observer())
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(model(images), ours.model(images, ("flowers",))[0])
