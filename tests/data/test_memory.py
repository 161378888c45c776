from __future__ import annotations

from pathlib import Path

import pytest

from mascli.data import memory


def test_some_memory_is_available() -> None:
    assert 0 < memory.available_memory() < 1 << 50


def test_the_limit_of_a_container_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert memory._container(tmp_path) is None
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("100\n")
    assert memory._container(tmp_path) is None
    (tmp_path / "memory.max").write_text("1100\n")
    assert memory._container(tmp_path) == 1000
    monkeypatch.setattr(memory, "_container", lambda: 1000)
    assert memory.available_memory() == 1000
    monkeypatch.setattr(memory, "_container", lambda: -5)
    assert memory.available_memory() == 0


def test_an_unknown_machine_gets_a_cautious_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_container", lambda: None)
    monkeypatch.setattr(memory, "_machine", lambda: None)
    assert memory.available_memory() == 2 << 30


def test_without_linux_half_of_the_memory_is_taken_to_be_free(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable(self: Path) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", unreadable)
    monkeypatch.setattr(memory.os, "sysconf", lambda name: {"SC_PHYS_PAGES": 10, "SC_PAGE_SIZE": 4096}[name])
    assert memory._machine() == 5 * 4096
