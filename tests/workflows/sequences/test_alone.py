"""Who works in a folder is alone there, for as long as that takes."""

from __future__ import annotations

import errno
import fcntl
from pathlib import Path
from typing import Any

import pytest

from mascli.errors import UsageError
from mascli.workflows.sequences.alone import alone_at


def test_a_second_one_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    mark = tmp_path / ".mark"
    with alone_at(mark, "mascli run"):
        mark.write_text("as it is written under the lock")
        with (
            pytest.raises(UsageError, match=r"another mascli run is at work in .*; wait"),
            alone_at(mark, "mascli run"),
        ):
            raise AssertionError
        with alone_at(tmp_path / ".other", "mascli run"):
            pass
    with pytest.raises(KeyError), alone_at(mark, "mascli run"):
        raise KeyError
    with alone_at(mark, "mascli run"):
        assert mark.read_text() == "as it is written under the lock"


def test_a_file_system_without_locks_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with alone_at(tmp_path / ".mark", "mascli run"), alone_at(tmp_path / ".mark", "mascli run"):
        assert (tmp_path / ".mark").exists()


def test_what_a_kill_left_is_removed_but_not_where_links_lead(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "run", tmp_path / "images"
    for place in (folder / "seed-0", elsewhere):
        place.mkdir(parents=True)
        (place / ".mascli-0.part").write_bytes(b"half")
    (folder / "data").symlink_to(elsewhere)
    with alone_at(folder / ".mark", "mascli run"):
        assert not list((folder / "seed-0").iterdir())
        assert [path.name for path in elsewhere.iterdir()] == [".mascli-0.part"]
