"""Images stay decoded between readers, give the same bytes, and take no more memory than there is room for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from commands import write_images

from mascli.data import loader
from mascli.data.folders import labelled_folder, list_images
from mascli.data.kept_images import OBJECT_BYTES, Room, keeping_images, kept_images
from mascli.data.loader import ImageReader, load_image_set
from mascli.records import Preprocessing

SMALL = Preprocessing((8, 8), "squash")
OTHER = Preprocessing((6, 6), "squash")


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, ...]:
    write_images(tmp_path, {"a": 1, "b": 2}, 6)
    (tmp_path / "a/003.png").write_bytes(b"no image")
    return labelled_folder(tmp_path).files


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the files that were decoded."""
    seen: list[int] = []
    decode = loader.decode

    def counting(data: bytes, preprocessing: Preprocessing) -> object:
        seen.append(len(data))
        return decode(data, preprocessing)

    monkeypatch.setattr(loader, "decode", counting)
    return seen


def read(files: tuple[Path, ...], preprocessing: Preprocessing = SMALL, workers: int = 2) -> torch.Tensor:
    images = load_image_set(files, range(len(files)), preprocessing, workers=workers)
    assert len(images.unreadable) == 1
    return torch.cat([pixels for pixels, _ in images.batches(range(len(images)), 4)])


def test_an_image_is_decoded_once(files: tuple[Path, ...], decoded: list[int]) -> None:
    plain = read(files)
    assert len(decoded) == 12
    decoded.clear()
    with keeping_images():
        for workers in (2, 0, 3):
            assert torch.equal(read(files, workers=workers), plain)
        assert len(decoded) == 12 + 2  # the unreadable one again, for its reason
        reader = ImageReader(files, SMALL, workers=2, on_error="skip")
        batches = list(reader.batches(range(11, -1, -1), 5))
        assert torch.equal(torch.cat([batch.pixels for batch in batches]).flip(0), plain)
        assert len(reader.unreadable) == 1
        decoded.clear()
        read(files, OTHER)
        assert len(decoded) == 12  # another preprocessing is another image
    decoded.clear()
    read(files)
    assert len(decoded) == 12  # nothing is kept behind the block


def test_no_more_is_kept_than_there_is_room_for(files: tuple[Path, ...]) -> None:
    room = Room(3 * (8 * 8 * 3 + OBJECT_BYTES) + 10)
    kept = room.of(SMALL)
    for number, image in enumerate(ImageReader(files[6:], SMALL, workers=0, on_error="fail").images(range(6))):
        kept.keep(files[6 + number], image.digest, image.pixels)
    assert len(kept) == 3 and list(kept) == list(files[6:9])


def test_a_folder_is_listed_once(files: tuple[Path, ...]) -> None:
    root = files[0].parents[1]
    with keeping_images():
        before = labelled_folder(root), list_images(root)
        (root / "a/new.png").write_bytes(files[0].read_bytes())
        assert (labelled_folder(root), list_images(root)) == before
    assert len(labelled_folder(root).files) == len(list_images(root).files) == 13


def test_outside_of_the_block_nothing_is_kept() -> None:
    assert kept_images(SMALL) is None
    with keeping_images():
        assert kept_images(SMALL) is kept_images(SMALL)
        assert kept_images(SMALL) is not kept_images(OTHER)
    assert kept_images(SMALL) is None
