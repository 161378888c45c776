"""Every method of `mascli estimate` as a command: what it writes, and what may not matter to it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from commands import Run
from safetensors.torch import load_file

from mascli.files.records_json import omega_record
from mascli.files.tensor_file import read_header

METHODS: dict[str, tuple[list[str], tuple[str, str, str]]] = {
    "mas": ([], ("mas", "squared-l2", "abs")),
    "mas-local": (["--method", "mas-local"], ("mas-local", "local", "abs")),
    "ewc": (["--method", "ewc"], ("ewc", "log-likelihood", "square")),
    "ewc, given": (["--method", "ewc", "--labels", "given"], ("ewc", "log-likelihood-of-labels", "square")),
    "anpyc": (["--method", "anpyc"], ("anpyc", "entropy", "taylor")),
    "each output": (["--objective", "each-output"], ("mas", "each-output", "abs")),
    "custom": (["--objective", "l1", "--reduction", "square"], ("custom", "l1", "square")),
    "batch": (["--reduction", "batch", "--batch-size", "10"], ("mas", "squared-l2", "batch-10")),
    "official": (["--compat", "official"], ("mas", "squared-l2", "batch-200")),
}


def words(world: Path, checkpoints: Path) -> list[str | Path]:
    return ["estimate", checkpoints / "birds.st", "--data", world / "data/birds/train"]


def test_each_method_writes_its_names_and_its_own_values(
    run: Run, world: Path, checkpoints: Path, tmp_path: Path
) -> None:
    omegas = {}
    for number, (name, (flags, expected)) in enumerate(METHODS.items()):
        out = tmp_path / f"{number}.omega"
        code, _, err = run(*words(world, checkpoints), *flags, "-o", out)
        assert code == 0, err
        record = omega_record(read_header(out))
        assert (record.method, record.objective, record.reduction) == expected
        omegas[name] = torch.cat([values.flatten() for values in load_file(out).values()])
        assert omegas[name].any() and (omegas[name] >= 0).all()
    same = {frozenset(("batch", "official"))}  # they differ in the size of a batch alone
    for one, first in omegas.items():
        for other, second in omegas.items():
            if one != other and frozenset((one, other)) not in same:
                assert not torch.allclose(first / first.sum(), second / second.sum(), rtol=0.01), (one, other)


@pytest.mark.parametrize("name", ["mas-local", "ewc", "ewc, given", "anpyc", "each output"])
def test_batch_size_and_order_do_not_change_an_omega(
    name: str, run: Run, world: Path, checkpoints: Path, tmp_path: Path
) -> None:
    omegas = []
    for number, flags in enumerate((["--batch-size", "1"], ["--batch-size", "7"], ["--order", "path"])):
        out = tmp_path / f"{number}.omega"
        code, _, err = run(*words(world, checkpoints), *METHODS[name][0], *flags, "-o", out)
        assert code == 0, err
        omegas.append(load_file(out))
    for other in omegas[1:]:
        for parameter, values in omegas[0].items():
            assert (other[parameter] - values).abs().sum() <= 1e-4 * values.sum(), parameter


def test_labels_depend_on_the_seed(run: Run, world: Path, checkpoints: Path, tmp_path: Path) -> None:
    """Negative control: labels are drawn."""
    for seed in "01":
        assert run(*words(world, checkpoints), "--method", "ewc", "--seed", seed, "-o", tmp_path / seed)[0] == 0
    one, other = (load_file(tmp_path / seed) for seed in "01")
    assert any(not torch.allclose(one[name], other[name], rtol=0.01) for name in one)


def test_parts_with_drawn_labels_pool_to_the_whole(run: Run, world: Path, checkpoints: Path, tmp_path: Path) -> None:
    for part in ("crow", "swan"):
        shutil.copytree(world / "data/birds/train" / part, tmp_path / "some" / part / "inside")
    start = ["estimate", checkpoints / "birds.st", "--method", "ewc", "--data"]
    for part in ("crow", "swan"):
        assert run(*start, tmp_path / "some" / part, "-o", tmp_path / f"{part}.omega")[0] == 0
    assert run(*start, tmp_path / "some", "-o", tmp_path / "whole.omega")[0] == 0
    parts = [tmp_path / f"{part}.omega" for part in ("crow", "swan")]
    assert run("merge", *parts, "--combine", "pool", "-o", tmp_path / "pooled.omega")[0] == 0
    whole, pooled = (load_file(tmp_path / f"{name}.omega") for name in ("whole", "pooled"))
    for name, values in whole.items():
        assert (pooled[name] - values).abs().sum() <= 1e-4 * values.sum(), name


def test_omegas_of_different_ways_are_not_combined(run: Run, world: Path, checkpoints: Path, tmp_path: Path) -> None:
    for number, flags in enumerate((["--method", "ewc"], ["--method", "ewc", "--labels", "given"])):
        assert run(*words(world, checkpoints), *flags, "-o", tmp_path / f"{number}.omega")[0] == 0
    merge = ["--combine", "sum", "-o", tmp_path / "all.omega"]
    code, _, err = run("merge", checkpoints / "flowers.omega", tmp_path / "0.omega", *merge)
    assert (code, err.count("\n")) == (4, 1) and "they differ in the method (mas and ewc)" in err
    code, _, err = run("merge", tmp_path / "0.omega", tmp_path / "1.omega", *merge)
    assert code == 4 and "they differ in the objective" in err


def test_wrong_settings_are_one_line_and_write_nothing(
    run: Run, world: Path, checkpoints: Path, tmp_path: Path
) -> None:
    out, start = tmp_path / "o.omega", ["estimate", checkpoints / "birds.st", "--data"]
    photos, flowers = world / "photos", world / "data/flowers/train"
    given = ["--method", "ewc", "--labels", "given", "-o", out]
    code, _, err = run(*start, flowers, *given)
    assert code == 3 and "the folders [bold], rose, tulip are no classes of task 'birds' (crow, swan)" in err
    code, _, err = run(*start, photos, *given)
    assert code == 3 and "images lie in no folder" in err
    code, _, err = run(*start, photos, "--method", "ewc", "--objective", "l1", "-o", out)
    assert (code, err.count("\n")) == (2, 1) and "--objective l1 contradicts --method ewc" in err
    assert not list(tmp_path.iterdir())
