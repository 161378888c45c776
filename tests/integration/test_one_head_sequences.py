"""`mascli run` of tasks that all have one head: the same digits, whose pixels are permuted from task to task."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import Run
from permuted_digits import HEAD, opened, write_permuted_digits
from safetensors.torch import load_file

SEQUENCE: dict[str, Any] = {
    "model": "mascli:mlp",
    "model-arg": {"hidden": "16-16"},
    "image-size": 8,
    "channels": 1,
    "root": "d",
    "heads": "one",
    "tasks": ["a", "b", "c"],
    "methods": ["finetune", "freeze", "joint", "alone"],
    "training": {"epochs": 3, "lr": 0.05, "head-lr": 0.05, "val-split": 0, "workers": 0},
    "estimating": {"workers": 0},
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The images of tasks a, b and c, in the working folder."""
    write_permuted_digits(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_whole_sequence_by_one_head_and_every_method(place: Path, run: Run) -> None:
    weighed = [{"method": name, "lambda": 0.1} for name in ("mas", "mas-local", "ewc", "ewc-online", "si", "l2")]
    methods = [*SEQUENCE["methods"], *weighed, {"method": "lwf", "lambda": 1}]
    Path("s.yaml").write_text(yaml.safe_dump({**SEQUENCE, "methods": methods}))
    code, out, err = run("run", "s.yaml", "-o", "out", "--format", "json")
    assert code == 0, err
    found = {method["name"]: method for method in json.loads(out)["methods"]}
    matrix = found["freeze"]["accuracy_matrix"]
    assert matrix[2][:2] == [matrix[0][0], matrix[1][1]]  # nothing at all has changed
    assert found["mas"]["forgetting"]["mean"] < found["finetune"]["forgetting"]["mean"]
    for name in ("mas", "mas-local", "ewc", "ewc-online", "si", "l2", "lwf", "joint"):
        assert {task.head for task in opened(f"out/seed-0/{name}/c.safetensors").tasks} == {None, "a"}
    assert opened("out/seed-0/alone/c.safetensors").tasks[0].head is None
    for name in ("mas/a", "mas/b", "ewc/b", "ewc-online/b", "si/b"):
        assert load_file(f"out/seed-0/{name}.omega").keys() > HEAD
    assert "nothing protects the head" not in err
    shown = [line for line in err.splitlines() if " --head-of a " in line]
    assert len(shown) == 2 * 10 and not any("--head-lr" in line for line in shown)  # as a user could type them


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"heads": "two"}, "heads"),
        ({"training": {"head-of": "a"}}, "unknown key 'head-of'"),
        ({"training": {"head-epochs": 1}}, "head-epochs is for a new head"),
    ],
)
def test_a_sequence_by_one_head_that_cannot_be_is_refused(
    changes: dict[str, Any], said: str, place: Path, run: Run
) -> None:
    Path("s.yaml").write_text(yaml.safe_dump({**SEQUENCE, **changes}))
    code, _, err = run("run", "s.yaml", "-o", "out")
    assert code == 2 and said in err


def test_a_sequence_of_other_classes_has_not_one_head(place: Path, run: Run) -> None:
    for part in ("train", "test"):
        shutil.rmtree(f"d/c/{part}/2")
    Path("s.yaml").write_text(yaml.safe_dump(SEQUENCE))
    code, _, err = run("run", "s.yaml", "-o", "out", "--dry-run")
    assert code == 3 and "task c: heads: one needs the classes of a (0, 1, 2) in every task, and it has 0, 1" in err
