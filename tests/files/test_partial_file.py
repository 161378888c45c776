"""Unfinished sums are written as a whole and read back to the bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mascli.errors import CheckpointError
from mascli.files.partial_file import partial_path, read_partial, write_partial
from mascli.files.tensor_file import array_source, read_array, write_tensor_file


def test_it_reads_back_what_was_written(tmp_path: Path) -> None:
    path = partial_path(tmp_path / "a.omega")
    assert path.name == "a.omega.partial"
    values = np.array([0.1, 1e-300, 3.0])
    for state in ({"next": 3, "name": "é"}, {"next": 5}):
        write_partial(path, {"sums/w": array_source(values)}, state)
        header, found = read_partial(path)
        assert found == state
        assert read_array(header, "sums/w").tobytes() == values.tobytes()
    assert [file.name for file in tmp_path.iterdir()] == ["a.omega.partial"]


def test_another_file_is_refused(tmp_path: Path) -> None:
    write_tensor_file(tmp_path / "x", {"a": array_source(np.zeros(2))}, {"mascli.partial": "[1]"}, overwrite=False)
    with pytest.raises(CheckpointError, match="no unfinished work"):
        read_partial(tmp_path / "x")
