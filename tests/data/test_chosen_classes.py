from __future__ import annotations

import os
from pathlib import Path

import pytest
from commands import write_images

from mascli.data.chosen_classes import link_classes
from mascli.data.folders import labelled_folder, list_images
from mascli.errors import UsageError


def test_links_read_as_the_folder_of_a_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path / "all", {"1": 1, "2": 2, "3": 3}, 2)
    monkeypatch.chdir(tmp_path)
    link_classes(tmp_path / "made/here", Path("all"), ("3", "1"))  # the links hold for a relative source too
    folder = labelled_folder(tmp_path / "made/here")
    assert folder.classes == ("1", "3") and len(folder.files) == 4
    assert len(list_images(tmp_path / "made/here").files) == 4
    assert folder.files[0].read_bytes() == (tmp_path / "all/1/000.png").read_bytes()


def test_links_follow_what_is_chosen_and_leave_files_alone(tmp_path: Path) -> None:
    write_images(tmp_path / "all", {"1": 1, "2": 2, "3": 3}, 1)
    write_images(tmp_path / "new", {"1": 1, "2": 2}, 1)
    place = tmp_path / "place"
    link_classes(place, tmp_path / "all", ("1", "3"))
    (place / "notes.txt").write_text("mine")
    link_classes(place, tmp_path / "new", ("1", "2"))
    assert sorted(path.name for path in place.iterdir()) == ["1", "2", "notes.txt"]
    assert Path(os.readlink(place / "1")) == (tmp_path / "new/1").resolve()
    link_classes(place, tmp_path / "new", ("1", "2"))


def test_without_links_a_line_says_what_to_do(tmp_path: Path) -> None:
    write_images(tmp_path / "place", {"1": 1}, 1)  # a folder where a link should be
    with pytest.raises(UsageError, match="copy the class folders"):
        link_classes(tmp_path / "place", tmp_path / "all", ("1",))
    assert (tmp_path / "place/1/000.png").exists()
