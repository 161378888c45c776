"""Writing: all of a file or nothing of it, whatever happens."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from mascli.errors import UsageError
from mascli.files.atomic import output_problem, replacing, write_text
from mascli.files.tensor_file import Source, read_header, write_tensor_file

SLOW_WRITER = """
import sys, time
from pathlib import Path
from mascli.files.tensor_file import Source, write_tensor_file

def stall() -> bytes:
    print("half-way", flush=True)
    time.sleep(60)
    return bytes(8)

half = {"a": Source("F32", (1 << 20,), lambda: bytes(4 << 20)), "b": Source("F32", (2,), stall)}
write_tensor_file(Path(sys.argv[1]), half, {}, overwrite=True)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def kill_half_way(target: Path) -> None:
    command = [sys.executable, "-c", SLOW_WRITER, str(target)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half-way\n"
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL


def test_a_killed_writer_leaves_no_file_under_the_final_name(tmp_path: Path) -> None:
    kill_half_way(tmp_path / "new")
    (rest,) = names(tmp_path)
    assert rest.startswith(".mascli-")
    assert rest.endswith(".part")
    write_text(tmp_path / "new", "now", overwrite=False)
    assert (tmp_path / "new").read_text() == "now"
    assert names(tmp_path) == ["new"]


def test_what_others_still_write_is_left_alone(tmp_path: Path) -> None:
    with replacing(tmp_path / "a", overwrite=False) as first:
        first.write(b"half")
        with replacing(tmp_path / "b", overwrite=False) as second:
            second.write(b"whole")
            assert len(names(tmp_path)) == 2
        first.write(b" and half")
    assert names(tmp_path) == ["a", "b"]
    assert (tmp_path / "a").read_bytes() == b"half and half"


def test_a_file_taken_for_abandoned_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock, calls = fcntl.flock, []

    def lock_late(file: IO[bytes], how: int) -> None:
        if not calls:
            next(tmp_path.glob(".mascli-*.part")).unlink()
        calls.append(how)
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", lock_late)
    write_text(tmp_path / "x", "text", overwrite=False)
    assert calls == [fcntl.LOCK_EX] * 2
    assert (tmp_path / "x").read_text() == "text"


def test_file_systems_without_locks_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*args: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    (tmp_path / ".mascli-0.part").write_text("perhaps still written")
    monkeypatch.setattr(fcntl, "flock", no_locks)
    write_text(tmp_path / "x", "text", overwrite=False)
    assert names(tmp_path) == [".mascli-0.part", "x"]


def test_a_killed_writer_leaves_the_old_file_whole(tmp_path: Path) -> None:
    write_tensor_file(tmp_path / "x", {"w": Source("U8", (3,), lambda: b"old")}, {}, overwrite=False)
    before = (tmp_path / "x").read_bytes()
    kill_half_way(tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == before
    assert read_header(tmp_path / "x").tensors["w"].shape == (3,)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, MemoryError])
def test_an_exception_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    def write_half() -> None:
        with replacing(tmp_path / "x", overwrite=False) as file:
            file.write(b"half")
            raise error

    with pytest.raises(error):
        write_half()
    assert names(tmp_path) == []


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    write_text(tmp_path / "x", "old", overwrite=False)
    with pytest.raises(UsageError, match="--overwrite"):
        write_text(tmp_path / "x", "new", overwrite=False)
    assert (tmp_path / "x").read_text() == "old"
    write_text(tmp_path / "x", "new", overwrite=True)
    assert (tmp_path / "x").read_text() == "new"
    assert names(tmp_path) == ["x"]


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_appears_meanwhile_is_kept(tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not links:
        monkeypatch.setattr(os, "link", no_links)

    def write_while_another_does() -> None:
        with replacing(tmp_path / "x", overwrite=False) as file:
            file.write(b"mine")
            (tmp_path / "x").write_text("theirs")

    with pytest.raises(UsageError, match="appeared meanwhile"):
        write_while_another_does()
    assert (tmp_path / "x").read_text() == "theirs"
    assert names(tmp_path) == ["x"]


def no_links(*args: object) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")


def test_file_systems_without_links_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", no_links)
    write_text(tmp_path / "x", "text", overwrite=False)
    assert names(tmp_path) == ["x"]


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(UsageError, match=os.strerror(error)):
        write_text(tmp_path / "x", "text", overwrite=False)
    assert names(tmp_path) == []


def test_an_unexpected_error_of_a_link_is_not_taken_for_a_missing_feature(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "link", fail)
    with pytest.raises(UsageError, match="Input/output error"):
        write_text(tmp_path / "x", "text", overwrite=False)
    assert names(tmp_path) == []


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_modes_are_those_of_other_programs(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write_text(tmp_path / "x", "text", overwrite=False)
        assert mode(tmp_path / "x") == 0o666 & ~mask
        (tmp_path / "x").chmod(0o640)
        write_text(tmp_path / "x", "new", overwrite=True)
        assert mode(tmp_path / "x") == 0o640
    finally:
        os.umask(before)


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "real").write_text("old")
    (tmp_path / "link").symlink_to("folder/real")
    write_text(tmp_path / "link", "new", overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "folder" / "real").read_text() == "new"


def test_text_is_utf8_and_never_fails(tmp_path: Path) -> None:
    write_text(tmp_path / "x", "é\n\udcff", overwrite=False)
    assert (tmp_path / "x").read_bytes() == b"\xc3\xa9\n\\udcff"


def test_output_problems_are_known_beforehand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    os.mkfifo(tmp_path / "pipe")
    assert output_problem(tmp_path / "new", overwrite=False) is None
    assert output_problem(tmp_path / "file", overwrite=True) is None
    expected = {
        "file": "exists already; choose another name or give --overwrite",
        "": "is a folder; name a file",
        "pipe": "not a regular file",
        "absent/new": "does not exist; make it first",
        "file/new": "is not a folder",
        "n" * 300: "cannot be written: File name too long",
        "a\0b": "cannot be written",
    }
    for name, said in expected.items():
        problem = output_problem(tmp_path / name, overwrite=False)
        assert problem is not None
        assert said in problem
        assert "\0" not in problem
        with pytest.raises(UsageError):
            write_text(tmp_path / name, "text", overwrite=False)
    monkeypatch.setattr(os, "access", lambda *args: False)
    assert "not writable" in str(output_problem(tmp_path / "new", overwrite=False))
    assert "not writable" in str(output_problem(tmp_path / "file", overwrite=True))
