"""The same command twice, in two processes: the same bytes. And what may not matter does not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from commands import Run, in_a_process
from safetensors.torch import load_file


def words(world: Path, checkpoints: Path, what: str) -> list[str | Path]:
    data = world / "data"
    return {
        "init": ["init", "--model", "mascli:convnet", "--image-size", "9"],
        "estimate": ["estimate", checkpoints / "birds.st", "--data", world / "photos"],
        "train-task": ["train-task", checkpoints / "flowers.st", "--task", "birds", "--data", data / "birds/train"]
        + ["--omega", checkpoints / "flowers.omega", "--lambda", "0.5", "--augment", "standard", "--epochs", "2"],
        "merge": ["merge", checkpoints / "flowers.omega", checkpoints / "birds.omega", "--combine", "sum"],
    }[what]


@pytest.mark.parametrize("what", ["init", "estimate", "train-task", "merge"])
def test_two_processes_write_the_same_bytes(what: str, world: Path, checkpoints: Path, tmp_path: Path) -> None:
    files = [tmp_path / "one", tmp_path / "elsewhere" / "two"]
    files[1].parent.mkdir()
    for file in files:
        done = in_a_process(*words(world, checkpoints, what), "-o", file)
        assert done.returncode == 0, done.stderr
    assert files[0].read_bytes() == files[1].read_bytes()


def test_another_seed_writes_other_bytes(run: Run, world: Path, checkpoints: Path, tmp_path: Path) -> None:
    """Negative control: what is compared above depends on what is random."""
    for what in ("init", "train-task"):
        for seed in ("0", "1"):
            assert run(*words(world, checkpoints, what), "--seed", seed, "-o", tmp_path / f"{what}{seed}")[0] == 0
        assert (tmp_path / f"{what}0").read_bytes() != (tmp_path / f"{what}1").read_bytes()


def test_the_batch_size_does_not_change_an_omega(run: Run, checkpoints: Path, world: Path, tmp_path: Path) -> None:
    omegas = []
    for size in (1, 7, 64):
        out = tmp_path / f"{size}.omega"
        assert run(*words(world, checkpoints, "estimate"), "--batch-size", str(size), "-o", out)[0] == 0
        omegas.append(load_file(out))
    for other in omegas[1:]:
        for name, values in omegas[0].items():
            assert (other[name] - values).abs().sum() <= 1e-4 * values.sum(), name


def test_workers_and_cache_do_not_change_a_byte(run: Run, checkpoints: Path, world: Path, tmp_path: Path) -> None:
    for number, flags in enumerate((["--workers", "0"], ["--workers", "3", "--cache", "none"])):
        assert run(*words(world, checkpoints, "train-task"), *flags, "-o", tmp_path / f"{number}")[0] == 0
    assert (tmp_path / "0").read_bytes() == (tmp_path / "1").read_bytes()


def test_lambda_zero_is_plain_fine_tuning_and_lambda_inf_holds_everything(
    run: Run, checkpoints: Path, world: Path, tmp_path: Path
) -> None:
    common = ["train-task", checkpoints / "flowers.st", "--task", "birds", "--data", world / "data/birds/train"]
    omega = ["--omega", checkpoints / "flowers.omega"]
    for name, flags in {
        "plain": [],
        "zero": [*omega, "--lambda", "0"],
        "inf": [*omega, "--lambda", "inf"],
        "huge": [*omega, "--lambda", "1e12"],
    }.items():
        assert run(*common, *flags, "--epochs", "2", "-o", tmp_path / name)[0] == 0
    plain, zero, endless, huge = (load_file(tmp_path / name) for name in ("plain", "zero", "inf", "huge"))
    before = load_file(checkpoints / "flowers.st")
    assert all(torch.equal(plain[name], zero[name]) for name in plain)
    shared = [name for name in before if not name.startswith("mascli.head.")]
    assert all(torch.equal(endless[name], before[name]) for name in shared)
    assert not all(torch.equal(plain[name], before[name]) for name in shared)
    assert all(values.isfinite().all() for values in huge.values())


def test_heads_of_one_seed_begin_differently(run: Run, world: Path, tmp_path: Path) -> None:
    made = ["init", "--model", "mascli:convnet", "--model-arg", "width=4", "--image-size", "9", "-o", tmp_path / "0.st"]
    assert run(*made)[0] == 0
    still = ["--epochs", "1", "--lr", "1e-12", "--head-lr", "1e-12"]
    for number, task in enumerate(["one", "two", "three"]):
        command = ["train-task", tmp_path / f"{number}.st", "--task", task, "--data", world / "data/flowers/train"]
        assert run(*command, *still, "-o", tmp_path / f"{number + 1}.st")[0] == 0
    heads = {name: values for name, values in load_file(tmp_path / "3.st").items() if name.endswith("weight")}
    begun = [next(v for n, v in heads.items() if f"/{t}/" in n or f".{t}." in n) for t in ("one", "two", "three")]
    for first, second in ((0, 1), (0, 2), (1, 2)):
        between = torch.corrcoef(torch.stack([begun[first].flatten(), begun[second].flatten()]))[0, 1]
        assert abs(between) < 0.5
