"""The demo's story holds: fine-tuning forgets, MAS does not, and it is importance that makes the difference."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import Run
from safetensors.torch import load_file

from mascli.config import DemoConfig, EstimateConfig, TrainTaskConfig
from mascli.files.omega_file import write_omega
from mascli.files.records_json import checkpoint_record, omega_record
from mascli.files.tensor_file import read_header
from mascli.files.tensors import to_source
from mascli.observer import Observer
from mascli.reports.demo import DemoResult
from mascli.workflows import run as run_workflow
from mascli.workflows.demo import demo
from mascli.workflows.estimate import estimate


def test_the_demo_keeps_what_fine_tuning_forgets(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run("demo", "--format", "json")
    assert code == 0, err
    methods = json.loads(out)["methods"]
    assert set(methods) == {"finetune", "mas"}
    finetune, mas = methods["finetune"], methods["mas"]
    assert finetune["forgetting"] >= 5
    assert mas["forgetting"] <= finetune["forgetting"] / 10
    assert mas["learning_accuracy"] >= finetune["learning_accuracy"] - 2
    for method in methods.values():
        rows = method["accuracy_matrix"]
        assert [len(row) for row in rows] == [1, 2, 3, 4, 5]
        assert method["average_accuracy"] == pytest.approx(sum(rows[-1]) / 5)
        assert method["learning_accuracy"] == pytest.approx(sum(row[-1] for row in rows) / 5)
        assert method["forgetting"] == pytest.approx(sum(rows[i][i] - rows[-1][i] for i in range(4)) / 4)
    assert finetune["accuracy_matrix"][0] == mas["accuracy_matrix"][0]  # they share the first task

    stored = json.loads((tmp_path / "mascli-demo/result.json").read_text())  # as mascli run writes it
    assert stored["tasks"] == [f"digits-{pair}" for pair in ("12", "34", "56", "78", "90")]
    for method in stored["methods"]:
        assert method["accuracy_matrix"] == methods[method["name"]]["accuracy_matrix"]
        assert method["forgetting"]["mean"] == methods[method["name"]]["forgetting"]

    record = checkpoint_record(read_header(tmp_path / "mascli-demo/mas/digits-90.safetensors"))
    assert record is not None and record.task_names == tuple(
        f"digits-{pair}" for pair in ("12", "34", "56", "78", "90")
    )
    omega = omega_record(read_header(tmp_path / "mascli-demo/mas/digits-78.omega"))
    assert [part.heads for part in omega.contributions] == [(name,) for name in record.task_names[:-1]]
    settings = [
        checkpoint_record(read_header(tmp_path / f"mascli-demo/{method}/digits-90.safetensors")).lineage[-1].settings  # type: ignore[union-attr]
        for method in ("finetune", "mas")
    ]
    assert {key for key in settings[0] if settings[0][key] != settings[1][key]} == {"lambda"}


def test_every_command_that_the_demo_shows_works_as_shown(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Typed again into another folder, the shown commands give the files of the demo, to the byte."""
    monkeypatch.chdir(tmp_path)
    code, _, err = run("demo", "-o", "shown")
    assert code == 0
    commands = [line.removeprefix("$ ") for line in err.splitlines() if line.startswith("$ ")]
    assert len(commands) >= 20
    for part in ("finetune", "mas"):
        (tmp_path / "again" / part).mkdir(parents=True)
    (tmp_path / "again" / "data").symlink_to(tmp_path / "shown" / "data")
    for command in commands:
        words = command.replace("shown/", "again/").split()
        assert words[0] == "mascli"
        assert run(*words[1:])[0] == 0, command
    made = {
        p.relative_to(tmp_path / "shown")
        for p in (tmp_path / "shown").rglob("*")
        if p.suffix in (".safetensors", ".omega")
    }
    assert len(made) == 14
    for file in made:
        assert (tmp_path / "again" / file).read_bytes() == (tmp_path / "shown" / file).read_bytes(), file


def shuffled(config: EstimateConfig, observer: Observer) -> Any:
    """`estimate`, whose values are then shuffled within each tensor: the same numbers in the wrong places."""
    result = estimate(config, observer)
    assert config.out is not None
    header = read_header(config.out)
    generator = torch.Generator().manual_seed(config.seed)
    values = {
        name: to_source(value.flatten()[torch.randperm(value.numel(), generator=generator)].view(value.shape))
        for name, value in load_file(config.out).items()
    }
    write_omega(config.out, omega_record(header), values, foreign={}, overwrite=True)
    return result


def test_a_shuffled_omega_protects_worse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: it matters which parameters are held, not only how many."""

    def forgetting(how: Callable[..., Any], name: str) -> float:
        check = run_workflow.COMMANDS[EstimateConfig][0]
        monkeypatch.setitem(run_workflow.COMMANDS, EstimateConfig, (check, how))
        results: list[DemoResult] = [demo(DemoConfig(out=tmp_path / f"{name}{s}", seed=s), Observer()) for s in (0, 1)]
        return sum(result.methods["mas"].forgetting for result in results) / 2

    exact, wrong = forgetting(estimate, "exact"), forgetting(shuffled, "shuffled")
    assert wrong >= 2 * max(exact, 0.25), (exact, wrong)


def test_the_demo_empties_no_folder_but_its_own(tmp_path: Path, run: Run) -> None:
    mine = tmp_path / "data" / "precious.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    for flags in ([], ["--overwrite"]):
        code, _, err = run("demo", "-o", tmp_path, *flags)
        assert code == 2 and "not empty" in err
    assert mine.read_text() == "mine"


def test_a_demo_that_was_stopped_goes_on_and_one_that_has_ended_is_kept(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    check, train = run_workflow.COMMANDS[TrainTaskConfig]
    trained: list[str] = []

    def stopped(config: Any, observer: Observer) -> Any:
        if len(trained) == 2:
            observer.note("the work so far is kept in x: --resume goes on")
            raise KeyboardInterrupt
        trained.append(config.task)
        return train(config, observer)

    monkeypatch.setitem(run_workflow.COMMANDS, TrainTaskConfig, (check, stopped))
    code, _, err = run("demo", "-o", "here")
    assert code == 130 and "the same `mascli demo` goes on" in err
    monkeypatch.setitem(run_workflow.COMMANDS, TrainTaskConfig, (check, train))
    code, _, err = run("demo", "-o", "here", "--seed", "1")
    assert code == 2 and "another seed" in err
    code, out, err = run("demo", "-o", "here", "--format", "json")
    assert code == 0, err
    shown = [line for line in err.splitlines() if line.startswith("$ mascli train-task")]
    assert len(shown) == 9 - len(trained)
    assert run("demo", "-o", "whole", "--format", "json")[1] == out
    for file in sorted((tmp_path / "whole").rglob("*.safetensors")):
        assert (tmp_path / "here" / file.relative_to(tmp_path / "whole")).read_bytes() == file.read_bytes()
    code, _, err = run("demo", "-o", "here")
    assert code == 2 and "holds an earlier demo" in err
