"""Values are read block by block, whatever the dtype, and to the bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mascli.errors import CheckpointError
from mascli.files.blocks import float_blocks
from mascli.files.header import Header, read_header
from mascli.files.tensor_file import Source, array_source, write_tensor_file

VALUES = np.array([[1.5, -2.0, 0.0], [np.inf, 3.0e-5, 7.0]], np.float32)


def stored(path: Path, **tensors: Source) -> Header:
    write_tensor_file(path, tensors, {}, overwrite=True)
    return read_header(path)


def bfloat16(values: np.ndarray) -> Source:
    upper = (values.view(np.uint32) >> 16).astype("<u2")
    return Source("BF16", values.shape, upper.tobytes)


@pytest.mark.parametrize("size", [1, 2, 4, 6, 100])
def test_blocks_are_the_values_in_order(tmp_path: Path, size: int) -> None:
    header = stored(tmp_path / "x", b=array_source(np.zeros(3, np.int64)), a=array_source(VALUES))
    blocks = list(float_blocks(header, "a", size))
    assert all(0 < block.size <= size and block.dtype == np.float32 for block in blocks)
    assert np.concatenate(blocks).tolist() == VALUES.ravel().tolist()
    assert np.concatenate(list(float_blocks(header, "a", size, 1, 5))).tolist() == VALUES.ravel()[1:5].tolist()


def test_half_precision_is_read_as_it_is_stored(tmp_path: Path) -> None:
    rounded = ((VALUES.view(np.uint32) >> 16) << 16).view(np.float32)
    header = stored(tmp_path / "x", half=array_source(VALUES.astype(np.float16)), brain=bfloat16(VALUES))
    assert np.concatenate(list(float_blocks(header, "half", 4))).tolist() == VALUES.astype(np.float16).ravel().tolist()
    assert np.concatenate(list(float_blocks(header, "brain", 4))).tolist() == rounded.ravel().tolist()


def test_an_empty_tensor_has_no_blocks(tmp_path: Path) -> None:
    assert list(float_blocks(stored(tmp_path / "x", a=array_source(np.zeros((0, 3), np.float32))), "a")) == []


def test_what_float32_cannot_hold_is_refused(tmp_path: Path) -> None:
    header = stored(tmp_path / "x", a=array_source(np.zeros(3)))
    with pytest.raises(CheckpointError, match="stores F64, which float32 cannot hold, in a"):
        next(float_blocks(header, "a"))
    with pytest.raises(CheckpointError, match="has no tensor b"):
        next(float_blocks(header, "b"))


def test_a_file_that_has_become_shorter_is_noticed(tmp_path: Path) -> None:
    header = stored(tmp_path / "x", a=array_source(VALUES))
    with open(tmp_path / "x", "r+b") as file:
        file.truncate(header.data_start + 9)
    with pytest.raises(CheckpointError, match="has changed while it was read"):
        list(float_blocks(header, "a", 2))
