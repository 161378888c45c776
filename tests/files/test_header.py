"""Headers: what is true is read, and every lie is one line."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mascli.errors import CheckpointError
from mascli.files.header import BITS, TensorInfo, read_header, strict_json

GOOD: dict[str, Any] = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def file_bytes(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        read_header(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_header_is_read(tmp_path: Path) -> None:
    table = {"__metadata__": {"k": "v"}, "w": GOOD, "e": {"dtype": "I64", "shape": [0, 3], "data_offsets": [8, 8]}}
    (tmp_path / "x").write_bytes(file_bytes(table, bytes(8)))
    header = read_header(tmp_path / "x")
    assert header.tensors == {"w": TensorInfo("F32", (2,), 0, 8), "e": TensorInfo("I64", (0, 3), 8, 8)}
    assert (header.tensors["w"].count, header.tensors["w"].nbytes, header.tensors["e"].count) == (2, 8, 0)
    assert header.metadata == {"k": "v"}
    assert header.data_start + 8 == (tmp_path / "x").stat().st_size


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a safetensors file"),
        (b"hello", "not a safetensors file"),
        (b"\x80\x02}q\x00.", "mascli init --model SPEC --weights"),
        (b"PK\x03\x04" + bytes(50), "mascli init --model SPEC --weights"),
        ((10**6).to_bytes(8, "little") + b"{}", "cut off"),
        ((2**63).to_bytes(8, "little") + b"{}", "cannot be true"),
        (file_bytes(b'{"a":'), "not JSON"),
        (file_bytes(b'{"a":NaN}'), "not JSON"),
        (file_bytes(b'{"\xff":1}'), "not JSON"),
        (file_bytes(b'{"\\ud800":1}'), "not JSON"),
        (file_bytes(b'{"a":' + b"[" * 100_000), "nested too deeply"),
        (file_bytes(b'{"a":' + b"9" * 5000 + b"}"), "not JSON"),
        (file_bytes(b'{"a":{},"a":{}}'), "duplicate key 'a'"),
        (file_bytes({"__metadata__": {"a": 1}}), "metadata"),
        (file_bytes({"__metadata__": [1]}), "metadata"),
        (file_bytes({"w": 1}), "lacks dtype"),
        (file_bytes({"w": {**GOOD, "more": 1}}, bytes(8)), "lacks dtype"),
        (file_bytes({"w": {**GOOD, "dtype": "F33"}}, bytes(8)), "unknown dtype F33"),
        (file_bytes({"w": {**GOOD, "dtype": [1]}}, bytes(8)), "unknown dtype"),
        (file_bytes({"w": {**GOOD, "shape": [-2]}}, bytes(8)), "impossible shape"),
        (file_bytes({"w": {**GOOD, "shape": [True, 2]}}, bytes(8)), "impossible shape"),
        (file_bytes({"w": {**GOOD, "shape": [2.0]}}, bytes(8)), "impossible shape"),
        (file_bytes({"w": {**GOOD, "shape": [0, 2**70]}}, bytes(8)), "impossible shape"),
        (file_bytes({"w": {**GOOD, "shape": [2**40, 2**40, 0], "data_offsets": [0, 0]}}), "impossible shape"),
        (file_bytes({"w": {**GOOD, "shape": [1] * 33}}, bytes(8)), "impossible shape"),
        (file_bytes({"w": {**GOOD, "data_offsets": [0]}}, bytes(8)), "impossible offsets"),
        (file_bytes({"w": {**GOOD, "data_offsets": [8, 0]}}, bytes(8)), "does not fit"),
        (file_bytes({"w": {**GOOD, "shape": [3]}}, bytes(8)), "does not fit"),
        (file_bytes({"w": GOOD}, bytes(7)), "cut off"),
        (file_bytes({"w": GOOD}, bytes(9)), "1 bytes follow"),
        (file_bytes({"v": GOOD, "w": GOOD}, bytes(8)), "overlaps"),
        (file_bytes({"w": {**GOOD, "data_offsets": [4, 12]}}, bytes(12)), "hole"),
    ],
)
def test_a_lie_is_one_line(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "x").write_bytes(content)
    line = refusal(tmp_path / "x")
    assert line.startswith(str(tmp_path / "x"))
    assert said in line


def test_what_is_no_file_is_one_line(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "is a folder" in refusal(tmp_path)
    assert "not a regular file" in refusal(tmp_path / "pipe")
    assert "No such file" in refusal(tmp_path / "absent")
    assert "cannot be read" in refusal(tmp_path / "a\0b")
    assert "\\n" in refusal(tmp_path / "two\nlines")


def test_a_forbidden_file_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").write_bytes(file_bytes({}))

    def forbid(*args: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", forbid)
    assert "Permission denied" in refusal(tmp_path / "x")


def test_a_pickle_and_a_header_of_the_same_first_bytes_are_told_apart(tmp_path: Path) -> None:
    padded = b"{}" + b" " * (0x80 - 2)  # a length of 128 starts with the byte of a pickle
    (tmp_path / "x").write_bytes(file_bytes(padded))
    assert read_header(tmp_path / "x").tensors == {}


def test_strict_json_keeps_bytes_of_file_names_and_refuses_broken_text() -> None:
    assert strict_json('"\\udcff \\ud83d\\ude00"') == "\udcff \U0001f600"
    with pytest.raises(ValueError, match="surrogates"):
        strict_json('"\\udcff"', surrogates="strict")
    with pytest.raises(ValueError, match="surrogates"):
        strict_json('["\\uD800"]')


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(sorted(BITS)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)
entries = json_values | st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(sorted(BITS)) | json_values,
        "shape": st.lists(st.integers(-1, 5), max_size=3) | json_values,
        "data_offsets": st.lists(st.integers(0, 40), min_size=2, max_size=2) | json_values,
    }
)


def accepts_or_refuses(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with contextlib.suppress(CheckpointError):
        header = read_header(path)  # then it must be the whole truth
        assert sum(info.nbytes for info in header.tensors.values()) + header.data_start == len(content)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(content=st.binary(max_size=40))
def test_random_bytes_never_do_anything_else(tmp_path: Path, content: bytes) -> None:
    accepts_or_refuses(tmp_path / "x", content)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    table=st.dictionaries(st.text(max_size=3) | st.just("__metadata__"), entries, max_size=3),
    data=st.binary(max_size=40),
)
def test_random_headers_never_do_anything_else(tmp_path: Path, table: dict[str, object], data: bytes) -> None:
    accepts_or_refuses(tmp_path / "x", file_bytes(table, data))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(position=st.integers(0, 200), flip=st.integers(1, 255), cut=st.integers(0, 200))
def test_a_damaged_true_file_never_does_anything_else(tmp_path: Path, position: int, flip: int, cut: int) -> None:
    table = {"__metadata__": {"format": "pt"}, "v": GOOD, "w": {**GOOD, "data_offsets": [8, 16]}}
    content = bytearray(file_bytes(table, bytes(16)))
    content[position % len(content)] ^= flip
    accepts_or_refuses(tmp_path / "x", bytes(content))
    accepts_or_refuses(tmp_path / "x", bytes(content[: cut % len(content)]))
