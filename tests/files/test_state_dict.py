"""Weights that other tools leave behind."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import stored
import torch
from safetensors.torch import save_file
from torch import nn

from mascli.errors import CheckpointError
from mascli.files.state_dict import read_state_dict

WEIGHTS = {"fc.weight": torch.arange(6.0).reshape(2, 3), "bn.num_batches_tracked": torch.tensor(3)}


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        read_state_dict(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def check(path: Path, *said: str) -> None:
    found, notes = read_state_dict(path)
    assert found.keys() == WEIGHTS.keys()
    for name, tensor in WEIGHTS.items():
        assert torch.equal(found[name], tensor)
        assert found[name].dtype == tensor.dtype
    assert len(notes) == len(said)
    for note, words in zip(notes, said, strict=True):
        assert words in note


@pytest.mark.parametrize("name", ["x.pth", "x.safetensors", "x"])
def test_the_content_tells_the_format(tmp_path: Path, name: str) -> None:
    torch.save(WEIGHTS, tmp_path / f"zip-{name}")
    torch.save(WEIGHTS, tmp_path / f"old-{name}", _use_new_zipfile_serialization=False)
    save_file(WEIGHTS, tmp_path / f"safe-{name}")
    for kind in ("zip", "old", "safe"):
        check(tmp_path / f"{kind}-{name}")


@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict"])
def test_wrappers_are_taken_off_and_said(tmp_path: Path, key: str) -> None:
    torch.save({key: WEIGHTS, "epoch": 3, "optimizer": {"lr": [0.1]}}, tmp_path / "x")
    check(tmp_path / "x", f"under '{key}'")
    torch.save({"state_dict": {key: {f"module.{n}": t for n, t in WEIGHTS.items()}}}, tmp_path / "x")
    check(tmp_path / "x", "under 'state_dict'", f"under '{key}'", "took 'module.' off")


def test_a_module_prefix_is_taken_off_only_where_all_have_it(tmp_path: Path) -> None:
    save_file({f"module.{name}": tensor for name, tensor in WEIGHTS.items()}, tmp_path / "x")
    check(tmp_path / "x", "took 'module.' off")
    save_file({"module.a": torch.ones(1), "b": torch.ones(1)}, tmp_path / "x")
    assert set(read_state_dict(tmp_path / "x")[0]) == {"module.a", "b"}


def test_a_real_module_is_read(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    torch.save(module.state_dict(), tmp_path / "x")
    found, notes = read_state_dict(tmp_path / "x")
    assert found.keys() == module.state_dict().keys()
    assert notes == ()
    assert not any(tensor.requires_grad for tensor in found.values())


@pytest.mark.parametrize("save", [torch.save, save_file])
def test_other_precisions_become_float32_and_said(tmp_path: Path, save: Any) -> None:
    save({"h": torch.ones(2).half(), "b": torch.ones(2).bfloat16(), "n": torch.tensor([1])}, tmp_path / "x")
    found, notes = read_state_dict(tmp_path / "x")
    assert {name: t.dtype for name, t in found.items()} == {"h": torch.float32, "b": torch.float32, "n": torch.int64}
    assert found["h"].tolist() == [1.0, 1.0]
    (note,) = notes
    assert "converted bfloat16, float16 to float32" in note


class Evil:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Path.touch, (Path("evil-ran"),)  # type: ignore[return-value]


def test_code_in_a_pickle_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"w": Evil()}, tmp_path / "zip")
    (tmp_path / "bare").write_bytes(pickle.dumps(Evil()))
    for name in ("zip", "bare"):
        refusal(tmp_path / name)
    assert not (tmp_path / "evil-ran").exists()


def test_a_pickled_module_is_one_line(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "x")
    assert "save model.state_dict()" in refusal(tmp_path / "x")


@pytest.mark.parametrize(
    "content", [{}, {"epoch": 3}, [torch.ones(1)], {1: torch.ones(1)}, {"a": torch.ones(1), "b": 2}]
)
def test_what_is_not_named_tensors_is_one_line(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "x")
    assert "does not hold named tensors alone" in refusal(tmp_path / "x")


def test_sparse_tensors_are_one_line(tmp_path: Path) -> None:
    torch.save({"w": torch.eye(2).to_sparse()}, tmp_path / "x")
    assert "w is sparse" in refusal(tmp_path / "x")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_cut_file_is_one_line(tmp_path: Path, zipped: bool) -> None:
    torch.save(WEIGHTS, tmp_path / "x", _use_new_zipfile_serialization=zipped)
    content = (tmp_path / "x").read_bytes()
    for length in (0, 5, len(content) // 2, len(content) - 8):
        (tmp_path / "x").write_bytes(content[:length])
        refusal(tmp_path / "x")


def test_other_files_are_one_line(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "absent")
    assert "is a folder" in refusal(tmp_path)
    assert "mascli already" in refusal(stored.write(tmp_path / "omega", {"w": [1.0]}))


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pth")
    assert "is not a regular file" in refusal(tmp_path / "pipe.pth")
