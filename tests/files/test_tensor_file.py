"""Tensor files: canonical, aligned, and read by the safetensors library."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors import safe_open

from mascli.errors import CheckpointError
from mascli.files.tensor_file import (
    SAFETENSORS,
    Source,
    array_source,
    file_sha256,
    read_array,
    read_header,
    write_tensor_file,
)

WRITER = """
import sys
from pathlib import Path
import numpy as np
from mascli.files.tensor_file import array_source, write_tensor_file

names = sorted({"b.weight", "a.bias", "c", "ü"}, key=hash)
tensors = {name: array_source(np.arange(6.0, dtype=np.float32).reshape(2, 3)) for name in names}
write_tensor_file(Path(sys.argv[1]), tensors, {name: name for name in names}, overwrite=False)
"""


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(
    tensors=st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=6).filter(lambda name: name != "__metadata__"),
        st.sampled_from([dtype for dtype in SAFETENSORS if dtype != np.dtype("<c8")]).flatmap(
            lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
        ),
        max_size=4,
    ),
    metadata=st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"]))
    ),
)
def test_what_is_written_is_read_back(tmp_path: Path, tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    write_tensor_file(tmp_path / "x", {n: array_source(a) for n, a in tensors.items()}, metadata, overwrite=True)
    header = read_header(tmp_path / "x")
    assert header.metadata == {**metadata, "format": "pt"}
    assert header.tensors.keys() == tensors.keys()
    with safe_open(tmp_path / "x", framework="np") as library:
        assert set(library.keys()) == set(tensors)
        assert library.metadata() == header.metadata
        for name, array in tensors.items():
            for found in (read_array(header, name), library.get_tensor(name)):
                assert (found.dtype, found.shape) == (array.dtype, array.shape)
                assert found.tobytes() == array.tobytes()


def test_the_bytes_are_canonical_and_aligned(tmp_path: Path) -> None:
    tensors = {
        "b": array_source(np.ones(3, np.uint8)),
        "d": array_source(np.ones((2, 2), np.float64)),
        "a": array_source(np.ones((), np.float32)),
        "c": array_source(np.ones(1, np.float32)),
    }
    write_tensor_file(tmp_path / "x", tensors, {"z": "1", "format": "np"}, overwrite=False)
    content = (tmp_path / "x").read_bytes()
    length = int.from_bytes(content[:8], "little")
    text = content[8 : 8 + length].decode()
    assert length % 8 == 0
    assert text.rstrip(" ") == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))
    assert json.loads(text) == {
        "__metadata__": {"format": "pt", "z": "1"},
        "d": {"dtype": "F64", "shape": [2, 2], "data_offsets": [0, 32]},
        "a": {"dtype": "F32", "shape": [], "data_offsets": [32, 36]},
        "c": {"dtype": "F32", "shape": [1], "data_offsets": [36, 40]},
        "b": {"dtype": "U8", "shape": [3], "data_offsets": [40, 43]},
    }


def test_two_processes_write_the_same_bytes(tmp_path: Path) -> None:
    for seed in ("1", "2", "3"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        subprocess.run([sys.executable, "-c", WRITER, str(tmp_path / seed)], env=environment, check=True)
    assert len({(tmp_path / seed).read_bytes() for seed in ("1", "2", "3")}) == 1


def test_strides_and_byte_order_do_not_matter(tmp_path: Path) -> None:
    plain = np.arange(12, dtype=np.float32).reshape(3, 4)
    other = {"t": plain.T.copy().T, "big": plain.astype(">f4"), "cut": np.repeat(plain, 2, axis=1)[:, ::2]}
    write_tensor_file(tmp_path / "x", {n: array_source(a) for n, a in other.items()}, {}, overwrite=False)
    header = read_header(tmp_path / "x")
    for name in other:
        assert np.array_equal(read_array(header, name), plain)


def test_bfloat16_is_decoded(tmp_path: Path) -> None:
    bits = np.array([0x3F80, 0xC000, 0x7FC0, 0x0001], np.uint16)
    source = {"h": Source("BF16", (4,), bits.tobytes), "e": Source("BF16", (0,), bytes)}
    write_tensor_file(tmp_path / "x", source, {}, overwrite=False)
    values = read_array(read_header(tmp_path / "x"), "h")
    assert values.dtype == np.float32
    assert values[:2].tolist() == [1.0, -2.0]
    assert np.isnan(values[2])
    assert values[3] == 2.0**-133
    assert read_array(read_header(tmp_path / "x"), "e").dtype == np.float32


def test_a_tensor_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    write_tensor_file(tmp_path / "x", {"q": Source("F8_E4M3", (1,), lambda: b"0")}, {}, overwrite=False)
    header = read_header(tmp_path / "x")
    with pytest.raises(CheckpointError, match="no tensor w"):
        read_array(header, "w")
    with pytest.raises(CheckpointError, match="dtype F8_E4M3"):
        read_array(header, "q")


def test_a_file_cut_after_its_header_was_read_is_one_line(tmp_path: Path) -> None:
    write_tensor_file(tmp_path / "x", {"w": array_source(np.ones(3))}, {}, overwrite=False)
    header = read_header(tmp_path / "x")
    os.truncate(tmp_path / "x", 20)
    with pytest.raises(CheckpointError, match="changed while it was read"):
        read_array(header, "w")


def test_a_source_of_another_size_is_a_bug(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="3 bytes instead of 4"):
        write_tensor_file(tmp_path / "x", {"w": Source("F32", (1,), lambda: b"123")}, {}, overwrite=False)
    assert list(tmp_path.iterdir()) == []


def test_values_are_read_when_they_are_due(tmp_path: Path) -> None:
    due: list[str] = []
    sources = {name: Source("U8", (1,), lambda name=name: due.append(name) or b"0") for name in ("b", "a")}
    assert due == []
    write_tensor_file(tmp_path / "x", sources, {}, overwrite=False)
    assert due == ["a", "b"]


def test_file_sha256(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc" * 10**6)
    assert file_sha256(tmp_path / "x") == hashlib.sha256(b"abc" * 10**6).hexdigest()
    with pytest.raises(CheckpointError, match="No such file"):
        file_sha256(tmp_path / "absent")
