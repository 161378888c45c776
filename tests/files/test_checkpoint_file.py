"""Checkpoints and omegas: written, read back by us and by the safetensors library."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import stored
import torch
from safetensors.torch import load_file
from torch import Tensor

from mascli.errors import CheckpointError, UsageError
from mascli.files.checkpoint_file import read_checkpoint, write_checkpoint
from mascli.files.omega_file import write_omega
from mascli.files.records_json import checkpoint_record, foreign_metadata, omega_record
from mascli.files.tensor_file import read_header
from mascli.files.tensors import to_source
from mascli.records import CheckpointRecord

SHARED = {"body.weight": torch.arange(6.0).reshape(2, 3), "body.bias": torch.zeros(2)}
BUFFERS = {"body.mean": torch.tensor(3)}
HEADS = {"base": {"weight": torch.ones(2, 2)}, "birds": {"weight": torch.zeros(3, 2)}}


def write(path: Path, record: CheckpointRecord, heads: dict[str, dict[str, Tensor]] = HEADS) -> None:
    write_checkpoint(path, record, SHARED, BUFFERS, heads, foreign={"theirs": "kept"}, overwrite=False)


def test_a_checkpoint_comes_back(tmp_path: Path) -> None:
    record = stored.checkpoint(("base", "birds"))
    write(tmp_path / "x", record)
    header = read_header(tmp_path / "x")
    assert checkpoint_record(header) == record
    assert foreign_metadata(header) == {"theirs": "kept"}
    shared, buffers, heads, owned = read_checkpoint(header, record)
    assert owned == {}
    assert list(shared) == list(record.shared)
    assert buffers["body.mean"].tolist() == 3
    assert {task: head["weight"].tolist() for task, head in heads.items()} == {
        task: head["weight"].tolist() for task, head in HEADS.items()
    }
    for name, tensor in SHARED.items():
        assert torch.equal(shared[name], tensor)


def test_other_tools_find_the_networks_own_names(tmp_path: Path) -> None:
    write(tmp_path / "x", stored.checkpoint(("base", "birds")))
    found = load_file(tmp_path / "x")
    assert set(found) == {*SHARED, *BUFFERS, "mascli.head.base.weight", "mascli.head.birds.weight"}
    assert torch.equal(found["mascli.head.birds.weight"], HEADS["birds"]["weight"])


def test_reading_follows_the_name_table_and_no_prefix(tmp_path: Path) -> None:
    record = replace(stored.checkpoint(), heads={"base": {"weight": "body.last"}})
    write(tmp_path / "x", record, {"base": HEADS["base"]})
    header = read_header(tmp_path / "x")
    found = checkpoint_record(header)
    assert found is not None
    assert torch.equal(read_checkpoint(header, found).heads["base"]["weight"], HEADS["base"]["weight"])


def test_what_each_task_has_of_its_own_comes_back_in_the_order_learned(tmp_path: Path) -> None:
    names = ("zebras", "birds")
    owned = {task: {"norm.weight": torch.rand(2), "norm.running_mean": torch.rand(2)} for task in names}
    heads = dict.fromkeys(names, HEADS["birds"])
    table = {task: {name: f"mascli.task.{task}.{name}" for name in tensors} for task, tensors in owned.items()}
    record = stored.checkpoint(names, owned=table)
    write_checkpoint(tmp_path / "x", record, SHARED, BUFFERS, heads, owned, foreign={}, overwrite=False)
    found = load_file(tmp_path / "x")
    heads_of = {f"mascli.head.{task}.weight" for task in names}
    own_of = {f"mascli.task.{task}.{name}" for task in names for name in ("norm.weight", "norm.running_mean")}
    assert set(found) == {*SHARED, *BUFFERS, *heads_of, *own_of}
    back = read_checkpoint(read_header(tmp_path / "x"), record).owned
    assert list(back) == ["zebras", "birds"]
    for task, tensors in owned.items():
        for name, tensor in tensors.items():
            assert torch.equal(back[task][name], tensor)
            assert torch.equal(found[f"mascli.task.{task}.{name}"], tensor)


def test_a_head_cannot_hide_a_tensor_of_the_network(tmp_path: Path) -> None:
    record = replace(stored.checkpoint(), heads={"base": {"weight": "body.mean"}})
    with pytest.raises(CheckpointError, match=r"own tensors body\.mean"):
        write(tmp_path / "x", record, {"base": HEADS["base"]})
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_is_not_overwritten_unasked(tmp_path: Path) -> None:
    write(tmp_path / "x", stored.checkpoint(("base", "birds")))
    with pytest.raises(UsageError, match="--overwrite"):
        write(tmp_path / "x", stored.checkpoint(("base", "birds")))


def test_an_omega_comes_back(tmp_path: Path) -> None:
    values = {"body.weight": torch.rand(2, 3), "body.bias": torch.rand(2)}
    sources = {name: to_source(tensor) for name, tensor in values.items()}
    write_omega(tmp_path / "x", stored.omega(), sources, foreign={"theirs": "kept"}, overwrite=False)
    header = read_header(tmp_path / "x")
    assert omega_record(header) == stored.omega()
    assert foreign_metadata(header) == {"theirs": "kept"}
    found = load_file(tmp_path / "x")
    assert set(found) == set(values)
    for name, tensor in values.items():
        assert torch.equal(found[name], tensor)


def test_an_omega_of_another_precision_is_a_bug(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="float32"):
        write_omega(
            tmp_path / "x", stored.omega(), {"w": to_source(torch.ones(1).double())}, foreign={}, overwrite=False
        )
