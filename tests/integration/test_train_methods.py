"""Every way of keeping what is known, through `train-task` as a user types it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import Run, write_images
from safetensors.torch import load_file, save_file
from torch import Tensor

from mascli.files.records_json import checkpoint_record, omega_record
from mascli.files.tensor_file import read_header
from mascli.training import lambda_search


@pytest.fixture
def learn(run: Run, checkpoints: Path, world: Path, tmp_path: Path) -> Any:
    """Learns birds after flowers with some flags; returns the file and the result."""

    def call(*flags: str | Path, name: str = "new") -> tuple[Path, dict[str, Any]]:
        out = tmp_path / f"{name}.st"
        command = ["train-task", checkpoints / "flowers.st", "--task", "birds", "--data", world / "data/birds/train"]
        command += ["--val-split", "0.3", "--epochs", "2", "--batch-size", "4", "--lr", "0.05", "--head-lr", "0.001"]
        code, text, errors = run(*map(str, [*command, "-o", out, "--format", "json", *flags]))
        assert code == 0, errors
        return out, json.loads(text)

    return call


def is_same(one: Path, other: Path) -> bool:
    tensors, others = load_file(one), load_file(other)
    return tensors.keys() == others.keys() and all(torch.equal(t, others[name]) for name, t in tensors.items())


def shared(path: Path) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in load_file(path).items() if not name.startswith("mascli.")}


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_lambda_found_leads_to_the_same_model_when_it_is_given(
    optimizer: str, learn: Any, checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lambda_search, "HELD_SHARE", 1 - 1e-7)  # so that the task is not learned at the upper end
    flags = ["--omega", checkpoints / "flowers.omega", "--optimizer", optimizer, "--augment", "flip", "--seed", "4"]
    found, result = learn(*flags, "--max-drop", "0", "--max-trials", "5", name="found")
    search = result["lambda_search"]
    trials = {trial["lambda"]: trial for trial in search["trials"]}
    tried = [trial["lambda"] for trial in search["trials"]]
    assert tried[:3] == [0.0, min(tried[1:]), max(tried)] and max(tried) < math.inf and len(trials) <= 5
    (chosen,) = (trial for trial in search["trials"] if trial["chosen"])
    free = [trials[strength]["val_accuracy"] for strength in tried[:2]]
    assert result["lambda"] == chosen["lambda"] and search["baseline"] == sum(free) / 2
    assert chosen["val_accuracy"] >= search["baseline"] - search["max_drop"]
    of_bisection = optimizer == "sgd"  # what has no importance learns the task with AdamW
    assert chosen["lambda"] > 0 and (chosen["lambda"] < tried[2]) is of_bisection
    given, explicit = learn(*flags, "--lambda", repr(chosen["lambda"]), name="given")
    assert is_same(found, given)
    same = ("epochs", "best_epoch", "val_accuracy", "free", "slowed", "held", "drift", "lambda", "penalty")
    assert {key: result[key] for key in same} == {key: explicit[key] for key in same}
    record = checkpoint_record(read_header(found))
    assert record is not None
    step = record.lineage[-1]
    assert step.settings["lambda"] == chosen["lambda"]
    assert [t["lambda"] for t in step.result["lambda_search"]["trials"]] == [t["lambda"] for t in search["trials"]]
    assert step.result["drift"]["linear"] == result["drift"]["linear"]


def test_a_search_that_ends_with_its_trials_says_so(
    world: Path, checkpoints: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lambda_search, "HELD_SHARE", 1 - 1e-7)
    command = ["train-task", checkpoints / "flowers.st", "--task", "birds", "--data", world / "data/birds/train"]
    command += ["--val-split", "0.3", "--epochs", "2", "--batch-size", "4", "--lr", "0.05", "--head-lr", "0.001"]
    command += ["--omega", checkpoints / "flowers.omega", "--augment", "flip", "--seed", "4", "--max-drop", "0"]
    for most, said in (("3", True), ("30", False)):
        code, _, errors = run(*map(str, [*command, "--max-trials", most, "-o", tmp_path / f"{most}.st"]))
        assert code == 0 and (f"the search ended with --max-trials {most}:" in errors) is said, errors


def test_lambda_zero_is_fine_tuning_and_infinity_keeps_every_shared_tensor(learn: Any, checkpoints: Path) -> None:
    omega = ["--omega", checkpoints / "flowers.omega"]
    plain, without = learn(name="plain")
    zero, result = learn(*omega, "--lambda", "0", name="zero")
    assert is_same(plain, zero) and without["drift"] is None and result["drift"]["linear"] > 0
    for flags in ([], ["--batchnorm", "train"], omega):
        held, result = learn(*flags, "--lambda", "inf", name=f"inf{len(flags)}{flags[:1] == omega[:1]}")
        before = shared(checkpoints / "flowers.st")
        assert all(torch.equal(tensor, before[name]) for name, tensor in shared(held).items())
        assert result["drift"] is None or result["drift"]["linear"] == 0


def test_the_predicted_drift_is_that_of_the_files(learn: Any, checkpoints: Path) -> None:
    out, result = learn("--omega", checkpoints / "flowers.omega", "--lambda", "0.1")
    before, after, omega = shared(checkpoints / "flowers.st"), shared(out), load_file(checkpoints / "flowers.omega")
    moved = {name: (after[name] - before[name]).double().abs() for name in omega}
    linear = sum(float((omega[name] * moved[name]).sum()) for name in omega)
    quadratic = sum(float((omega[name] * moved[name] ** 2).sum()) for name in omega)
    assert result["drift"]["linear"] == pytest.approx(linear, rel=1e-5)
    assert result["drift"]["quadratic"] == pytest.approx(quadratic, rel=1e-5)
    scale = omega_record(read_header(checkpoints / "flowers.omega")).contributions[0].mean_squared_norm
    assert result["drift"]["relative"] == pytest.approx(linear / scale, rel=1e-5)
    assert sum(layer["linear"] for layer in result["drift"]["layers"]) == pytest.approx(linear, rel=1e-5)


def test_a_uniform_omega_is_one_everywhere(learn: Any, checkpoints: Path, run: Run, world: Path) -> None:
    out, result = learn("--omega", "uniform", "--lambda", "0.5")
    before, after = shared(checkpoints / "flowers.st"), shared(out)
    names = [name for name in after if "running" not in name and "num_batches" not in name]
    linear = sum(float((after[name] - before[name]).double().abs().sum()) for name in names)
    assert result["drift"]["linear"] == pytest.approx(linear, rel=1e-6) and result["drift"]["relative"] is None
    assert result["uncovered_tasks"] == []


def test_two_omegas_are_one_that_is_their_sum(
    learn: Any, checkpoints: Path, run: Run, tmp_path: Path, world: Path
) -> None:
    one, two, total = checkpoints / "flowers.omega", tmp_path / "two.omega", tmp_path / "total.omega"
    images = world / "data/flowers/train"
    assert run(*map(str, ["estimate", checkpoints / "flowers.st", "--data", images, "-o", two]))[0] == 0
    assert run(*map(str, ["merge", one, two, "--combine", "sum", "-o", total]))[0] == 0
    both, result = learn("--omega", one, "--omega", two, "--lambda", "1", name="both")
    summed, other = learn("--omega", total, "--lambda", "1", name="summed")
    assert is_same(both, summed) and result["drift"] == other["drift"]


def test_anchors_pull_to_where_they_are(learn: Any, checkpoints: Path) -> None:
    omega, start, origin = checkpoints / "flowers.omega", checkpoints / "flowers.st", checkpoints / "start.st"
    flags = ["--omega", omega, "--lambda", "1e30", "--batchnorm", "freeze"]
    far, _ = learn(*flags, "--anchor", origin, name="far")
    near, _ = learn(*flags, "--anchor", start, name="near")
    importance, there = load_file(omega), shared(origin)
    for name, value in shared(far).items():
        if name in importance:
            held = importance[name] > 0
            assert torch.equal(value[held], there[name][held]), name
    assert is_same(near, learn(*flags, name="without")[0])
    assert not is_same(near, far)


def test_several_anchors_need_as_many_omegas_and_the_same_network(
    run: Run, checkpoints: Path, world: Path, tmp_path: Path
) -> None:
    command = ["train-task", checkpoints / "flowers.st", "--task", "birds", "--data", world / "data/birds/train"]
    command += ["--omega", checkpoints / "flowers.omega", "--lambda", "1", "-o", tmp_path / "x.st"]
    anchors = ["--anchor", checkpoints / "flowers.st", "--anchor", checkpoints / "start.st"]
    code, _, errors = run(*map(str, [*command, *anchors]))
    assert code == 2 and "one for each --omega" in errors
    plain = tmp_path / "plain.safetensors"
    save_file({"a": torch.zeros(1)}, plain)
    code, _, errors = run(*map(str, [*command, "--anchor", plain]))
    assert code == 4 and "no checkpoint of mascli" in errors and not (tmp_path / "x.st").exists()


def test_what_is_collected_is_an_omega_of_the_new_checkpoint(
    learn: Any, checkpoints: Path, run: Run, world: Path, tmp_path: Path
) -> None:
    path = tmp_path / "si.omega"
    out, result = learn("--collect", path, "--batchnorm", "freeze")
    plain, _ = learn("--batchnorm", "freeze", name="plain")
    assert result["collected"] == str(path) and is_same(out, plain)  # collecting changes nothing
    record, checkpoint = omega_record(read_header(path)), checkpoint_record(read_header(out))
    assert checkpoint is not None
    assert (record.method, record.objective, record.reduction) == ("si", "loss", "path-integral")
    (part,) = record.contributions
    assert part.shared_sha256 == checkpoint.shared_sha256 and part.heads == ("birds",)
    assert part.images == result["train_images"] and part.mean_squared_norm > 0
    values = load_file(path)
    assert values.keys() == set(checkpoint.shared) and all((v >= 0).all() for v in values.values())
    assert any((v > 0).any() for v in values.values())
    assert not any("collected omega" in line for line in result["warnings"])
    command = ["train-task", out, "--task", "cars", "--data", world / "data/birds/train", "--omega", path]
    code, _, errors = run(*map(str, [*command, "--lambda", "1", "--epochs", "1", "-o", tmp_path / "next.st"]))
    assert code == 0, errors
    code, _, errors = run(*map(str, [*command, "--lambda", "1", "--collect", path, "-o", tmp_path / "more.st"]))
    assert code == 2 and "si.omega" in errors


def test_parameters_that_do_not_move_collect_nothing(checkpoints: Path, run: Run, world: Path, tmp_path: Path) -> None:
    path, out = tmp_path / "si.omega", tmp_path / "new.st"
    command = ["train-task", checkpoints / "flowers.st", "--task", "birds", "--data", world / "data/birds/train"]
    command += ["--epochs", "1", "--batch-size", "4", "--lr", "1e-30", "--collect", path, "--format", "json"]
    code, text, errors = run(*map(str, [*command, "-o", out]))
    assert code == 0, errors
    result = json.loads(text)
    assert all((value == 0).all() for value in load_file(path).values())
    assert "the collected omega is zero everywhere: shared parameters did not learn" in result["warnings"]
    command = ["train-task", out, "--task", "cars", "--data", world / "data/birds/train", "--omega", path]
    command += ["--lambda", "1", "--require-protection"]
    code, _, errors = run(*map(str, [*command, "-o", tmp_path / "next.st"]))
    assert code == 4 and "nothing protects tasks flowers, birds: their importance is zero everywhere" in errors


def test_distillation_protects_every_task(learn: Any) -> None:
    assert learn("--distill", "5", "--require-protection", name="distilled")[1]["uncovered_tasks"] == []
    assert learn(name="plain")[1]["uncovered_tasks"] == ["flowers"]


def test_distillation_changes_what_is_learned_and_no_old_head(learn: Any, checkpoints: Path) -> None:
    plain, _ = learn(name="plain")
    distilled, _ = learn("--distill", "5", "--temperature", "3", name="distilled")
    before, after = load_file(checkpoints / "flowers.st"), load_file(distilled)
    assert torch.equal(after["mascli.head.flowers.weight"], before["mascli.head.flowers.weight"])
    assert not is_same(plain, distilled)


def test_rehearsed_tasks_learn_along(learn: Any, checkpoints: Path, world: Path, run: Run, tmp_path: Path) -> None:
    out, result = learn("--rehearse", f"flowers={world / 'data/flowers/train'}", "--augment", "standard")
    before, after = load_file(checkpoints / "flowers.st"), load_file(out)
    assert not torch.equal(after["mascli.head.flowers.weight"], before["mascli.head.flowers.weight"])
    assert result["uncovered_tasks"] == []
    uncached, _ = learn(
        "--rehearse", f"flowers={world / 'data/flowers/train'}", "--augment", "standard", "--cache", "none", name="read"
    )
    assert out.read_bytes() == uncached.read_bytes()
    command = ["train-task", checkpoints / "flowers.st", "--task", "birds", "--data", world / "data/birds/train"]
    command += ["-o", tmp_path / "x.st", "--rehearse", f"cars={world / 'data/flowers/train'}"]
    code, _, errors = run(*map(str, command))
    assert code == 2 and "has no such task" in errors


def test_auto_without_validation_images_is_refused(run: Run, checkpoints: Path, world: Path, tmp_path: Path) -> None:
    command = ["train-task", checkpoints / "flowers.st", "--task", "birds", "--data", world / "data/birds/train"]
    command += ["--omega", checkpoints / "flowers.omega", "--val-split", "0", "-o", tmp_path / "x.st"]
    code, _, errors = run(*map(str, command))
    assert code == 2 and "--val-split" in errors and not (tmp_path / "x.st").exists()
    one_each = write_images(tmp_path / "one", {"finch": 1, "heron": 2}, 1)
    command = ["train-task", checkpoints / "flowers.st", "--task", "birds", "--data", one_each, "--epochs", "1"]
    command += ["--omega", checkpoints / "flowers.omega", "-o", tmp_path / "x.st"]
    code, _, errors = run(*map(str, command))
    assert code == 2 and "no class has enough images to hold one back" in errors and not (tmp_path / "x.st").exists()
