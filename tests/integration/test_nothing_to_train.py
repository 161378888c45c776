"""`--head-of` at an infinite lambda: the head is shared and held, and so nothing is left to train."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import Run, overridden
from safetensors.torch import load_file

SAID = "nothing was trained: --head-of uses the head of flowers, and lambda inf holds all that is shared, that head too"


@pytest.fixture
def words(world: Path, checkpoints: Path) -> list[str | Path]:
    data = world / "data/flowers/test"
    command = ["train-task", checkpoints / "flowers.st", "--task", "again", "--data", data, "--epochs", "2"]
    return [*command, "--head-of", "flowers", "--lambda", "inf", "--format", "json"]


@pytest.mark.parametrize("split", ["0.2", "0"])
def test_there_are_no_epochs_and_one_warning_says_so(
    split: str, words: list[str | Path], run: Run, checkpoints: Path, tmp_path: Path
) -> None:
    new = tmp_path / "new.st"
    code, out, err = run(*words, "--omega", checkpoints / "flowers.omega", "--val-split", split, "-o", new)
    assert code == 0 and "free to change" not in err, err
    found = json.loads(out)
    assert (found["epochs"], found["best_epoch"], found["unprotected_parameters"]) == ([], 0, [])
    assert found["warnings"] == [SAID] and (found["val_accuracy"] is None) is (split == "0")
    before, after = load_file(checkpoints / "flowers.st"), load_file(new)
    assert before.keys() == after.keys() and all((before[name] == after[name]).all() for name in before)
    shown = run(*overridden(words, "--format", "table"), "--val-split", split, "-o", new, "--overwrite")[1]
    assert "nothing was trained" in shown and "epoch 0" not in shown and "is kept" not in shown


@pytest.mark.parametrize("flags", [["--batchnorm", "per-task"], ["--head-of", ""]], ids=["norms", "head"])
def test_norms_or_a_head_of_its_own_are_trained(
    flags: list[str], words: list[str | Path], run: Run, tmp_path: Path
) -> None:
    command = overridden(words, *flags)
    code, out, err = run(*(command if flags[-1] else command[:-2]), "-o", tmp_path / "new.st")
    assert code == 0, err
    found = json.loads(out)
    assert [epoch["epoch"] for epoch in found["epochs"] if epoch["phase"] == "main"] == [1, 2]
    assert SAID not in found["warnings"]
