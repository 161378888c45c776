"""`mascli inspect` on files of every kind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import stored

from mascli.config import InspectConfig
from mascli.errors import CheckpointError
from mascli.files.partial_file import partial_path, write_partial
from mascli.files.records_json import checkpoint_metadata
from mascli.files.tensor_file import Source, array_source, write_tensor_file
from mascli.reports.inspect_result import LayerShapes
from mascli.workflows.inspect_file import inspect_file


def test_an_omega(tmp_path: Path) -> None:
    path = stored.write(tmp_path / "x.omega", {"b.weight": [[1.0, 3.0]], "b.bias": [0.0], "a.weight": [4.0]})
    result = inspect_file(InspectConfig(file=path, bins=5))
    assert (result.kind, result.file, result.bytes) == ("omega", str(path), path.stat().st_size)
    assert (result.parameters, result.omega, result.checkpoint, result.shapes) == (4, stored.omega(), None, ())
    assert [(layer.name, layer.parameters, layer.share) for layer in result.layers] == [("a", 1, 0.5), ("b", 3, 0.5)]
    assert result.statistics is not None
    assert (result.statistics.mean, result.statistics.median, result.statistics.zeros) == (2.0, 2.0, 0.25)
    assert result.histogram is not None
    assert (result.histogram.zeros, sum(result.histogram.counts), len(result.histogram.counts)) == (1, 3, 5)


def test_a_checkpoint(tmp_path: Path) -> None:
    record = stored.checkpoint()
    sources = {
        "body.weight": array_source(np.zeros((2, 3), np.float32)),
        "body.bias": array_source(np.zeros(2, np.float32)),
        "body.mean": array_source(np.zeros((), np.int64)),
        "mascli.head.base.weight": Source("BF16", (2, 2), lambda: bytes(8)),
    }
    write_tensor_file(tmp_path / "x", sources, checkpoint_metadata(record, {}), overwrite=False)
    result = inspect_file(InspectConfig(file=tmp_path / "x"))
    assert (result.kind, result.parameters, result.bytes) == ("checkpoint", 13, (tmp_path / "x").stat().st_size)
    assert (result.checkpoint, result.omega, result.layers) == (record, None, ())
    assert (result.statistics, result.histogram) == (None, None)
    assert result.shapes == (
        LayerShapes("body", 9, ("F32", "I64"), {"bias": (2,), "mean": (), "weight": (2, 3)}),
        LayerShapes("mascli.head.base", 4, ("BF16",), {"weight": (2, 2)}),
    )


def test_plain_tensors(tmp_path: Path) -> None:
    sources = {name: array_source(np.zeros(1)) for name in ("token", "block.10.w", "block.9.w")}
    write_tensor_file(tmp_path / "x", sources, {}, overwrite=False)
    result = inspect_file(InspectConfig(file=tmp_path / "x"))
    assert (result.kind, result.checkpoint, result.omega, result.statistics) == ("tensors", None, None, None)
    assert [layer.name for layer in result.shapes] == ["block.9", "block.10", "token"]
    assert result.shapes[-1].shapes == {"token": (1,)}


def test_other_files_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"PK\x03\x04" + bytes(20))
    with pytest.raises(CheckpointError, match="mascli init --model SPEC --weights"):
        inspect_file(InspectConfig(file=tmp_path / "x"))


def test_no_torch_is_loaded() -> None:
    code = "import sys, mascli.workflows.inspect_file, mascli.workflows.merge; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unfinished_work_says_how_to_go_on(tmp_path: Path) -> None:
    path = partial_path(tmp_path / "x.st")
    write_partial(path, {"a": array_source(np.zeros(2, np.float32))}, {"epoch": 1})
    with pytest.raises(CheckpointError, match=r"x.st.partial is unfinished work .*--resume goes on"):
        inspect_file(InspectConfig(file=path))
