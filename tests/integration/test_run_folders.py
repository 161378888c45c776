"""`mascli run` on folders of images: chosen classes, folders that do not fit, and a start that knows the first task."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from commands import Run, write_images

MODEL = {"model": "mascli:mlp", "model-arg": {"hidden": "16-16"}, "image-size": 8, "channels": 1}


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ROOT/all/train|test with five classes, and photos without labels."""
    root = tmp_path_factory.mktemp("colours")
    classes = {"c1": 1, "c2": 2, "c3": 3, "c4": 4, "c5": 5}
    write_images(root / "all/train", classes, 8)
    write_images(root / "all/test", classes, 4)
    write_images(root / "all/val", classes, 4)
    write_images(root / "photos", {"any": 6}, 5)
    return root


def test_tasks_of_chosen_classes_in_one_folder(colours: Path, tmp_path: Path, run: Run) -> None:
    tasks = [{"name": "low", "classes": ["c1", "c2"]}, {"name": "high", "classes": ["c3", "c4", "c5"]}]
    content = {
        "model": "mascli:convnet",
        "model-arg": ["width=4", "norm=true"],
        "image-size": 12,
        "root": str(colours / "all"),
        "tasks": [
            {**task, "val": str(colours / "all" / val), "estimate-data": str(colours / "photos")}
            for task, val in zip(tasks, ("val", "test"), strict=True)
        ],
        "methods": [{"method": "l2", "lambda": [0.01, 10]}, {"method": "mas", "lambda": 1}],
        "training": {"epochs": 1},
    }
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(content))
    code, out, err = run("run", tmp_path / "s.yaml", "-o", tmp_path / "out", "--format", "json")
    assert code == 0, err
    result = json.loads(out)
    assert result["images"] == [8, 12]
    judged = [line for line in result["warnings"] if "`val` is the folder of `test`" in line]
    assert len(judged) == 1 and judged[0].startswith("task high: ")
    assert sorted(path.name for path in (tmp_path / "out/data/high/train").iterdir()) == ["c3", "c4", "c5"]
    grid = [method for method in result["methods"] if method["name"] == "l2"]
    best = max(grid, key=lambda method: (float(method["validation_accuracy"]["mean"]), method["lambda"]))
    assert [method["chosen"] for method in grid] == ["validation" if method is best else None for method in grid]
    assert f"--data {colours / 'photos'}" in err


def test_folders_that_do_not_fit_are_all_told_before_anything_begins(colours: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "empty").mkdir()
    tasks = [
        {"name": "low", "classes": ["c1", "c9"]},
        {"name": "high", "data": str(colours / "all/train"), "test": str(tmp_path / "empty")},
    ]
    content = {**MODEL, "root": str(colours / "all"), "tasks": tasks, "methods": ["finetune"]}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(content))
    code, _, err = run("run", tmp_path / "s.yaml", "-o", tmp_path / "out")
    assert code == 3 and "task low: " in err and "c9" in err and "task high: " in err
    assert not (tmp_path / "out").exists()


def test_a_start_that_knows_the_first_task(checkpoints: Path, world: Path, tmp_path: Path, run: Run) -> None:
    tasks = [
        {"name": "flowers", "data": str(world / "photos"), "test": str(world / "data/flowers/test")},
        {"name": "birds", "data": str(world / "data/birds/train"), "test": str(world / "data/birds/test")},
    ]
    content = {
        "checkpoint": str(checkpoints / "flowers.st"),
        "tasks": tasks,
        "methods": [{"method": "mas", "lambda": 1}],
        "training": {"epochs": 1},
    }
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(content))
    code, out, err = run("run", tmp_path / "s.yaml", "-o", tmp_path / "out", "--format", "json")
    assert code == 0, err
    assert [line.split()[2] for line in err.splitlines() if line.startswith("$ ")] == [
        "evaluate",
        "estimate",
        "train-task",
        "evaluate",
    ]
    (method,) = json.loads(out)["methods"]
    assert [len(row) for row in method["accuracy_matrix"]] == [1, 2]
    content["methods"] = ["finetune", "si"]
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(content))
    code, _, err = run("run", tmp_path / "s.yaml", "-o", tmp_path / "other")
    assert code == 2 and "method si: si needs the first task to be learned" in err and "'flowers'" in err
    assert not (tmp_path / "other").exists()
    content["tasks"] = [tasks[1], tasks[0]]
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(content))
    code, _, err = run("run", tmp_path / "s.yaml", "-o", tmp_path / "other")
    assert code == 2 and "the start knows it already" in err
