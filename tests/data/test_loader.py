from __future__ import annotations

import errno
import hashlib
import os
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional as tv

from mascli.data import loader
from mascli.data.loader import ImageReader, ImageSet, load_image_set, normalize
from mascli.errors import DataError
from mascli.observer import Advance, Observer
from mascli.records import Preprocessing

SMALL = Preprocessing(size=(4, 4), resize="none", channels=1, mean=(0.5,), std=(0.25,))


def grey_images(folder: Path, count: int, broken: Sequence[int] = ()) -> list[Path]:
    """Images whose every pixel is their number; the `broken` ones hold text."""
    files = [folder / f"{number:03d}.png" for number in range(count)]
    for number, file in enumerate(files):
        Image.new("L", (4, 4), number).save(file)
        if number in broken:
            file.write_text("no image")
    return files


def image_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("images")]


@pytest.mark.parametrize("workers", [0, 1, 3, None])
def test_batches_keep_the_order_and_read_each_file_once(tmp_path: Path, workers: int | None) -> None:
    files = grey_images(tmp_path, 10)
    reader = ImageReader(files, SMALL, workers=workers, on_error="skip")
    order = [3, 1, 4, 0, 5, 9, 2, 6]
    batches = list(reader.batches(order, 3))
    assert [batch.positions for batch in batches] == [(3, 1, 4), (0, 5, 9), (2, 6)]
    for batch in batches:
        assert batch.pixels.dtype == torch.uint8
        assert batch.pixels.shape == (len(batch.positions), 1, 4, 4)
        assert batch.pixels[:, 0, 0, 0].tolist() == list(batch.positions)
        assert batch.digests == tuple(hashlib.sha256(files[n].read_bytes()).digest() for n in batch.positions)
    assert reader.unreadable == ()
    assert image_threads() == []


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_files_are_named_once_and_leave_no_gap(tmp_path: Path, workers: int) -> None:
    files = grey_images(tmp_path, 7, broken=[4, 1])
    files[2].unlink()
    reader = ImageReader(files, SMALL, workers=workers, on_error="skip")
    for _ in range(2):
        batches = reader.batches([6, 5, 4, 3, 2, 1, 0], 2)
        assert [batch.positions for batch in batches] == [(6, 5), (3, 0)]
    assert [(problem.file, problem.reason) for problem in reader.unreadable] == [
        (files[1], "not an image of a known format"),
        (files[2], "cannot be opened (No such file or directory)"),
        (files[4], "not an image of a known format"),
    ]


@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_no_file_is_named_and_never_waited_for(tmp_path: Path, workers: int) -> None:
    files = grey_images(tmp_path, 6)
    for file in files[:5]:
        file.unlink()
    files[0].symlink_to("nowhere")
    files[1].symlink_to(files[1].name)
    os.mkfifo(files[2])
    files[3].symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listening:
        before = os.getcwd()
        os.chdir(tmp_path)  # the path of a socket is short
        listening.bind(files[4].name)
        os.chdir(before)
    reader = ImageReader(files, SMALL, workers=workers, on_error="skip")
    assert [batch.positions for batch in reader.batches(range(6), 2)] == [(5,)]
    assert [problem.reason for problem in reader.unreadable] == [
        "cannot be opened (No such file or directory; a link to nowhere)",
        f"cannot be opened ({os.strerror(errno.ELOOP)}; a link to 001.png)",
        "a named pipe, not a file",
        "a device, not a file",
        "a socket, not a file",
    ]
    with pytest.raises(DataError, match=r"002\.png: a named pipe, not a file; remove it or use --on-error skip"):
        list(ImageReader(files, SMALL, workers=workers, on_error="fail").batches([5, 2], 2))


def test_the_first_unreadable_file_can_end_the_pass(tmp_path: Path) -> None:
    files = grey_images(tmp_path, 6, broken=[3])
    batches = ImageReader(files, SMALL, workers=2, on_error="fail").batches(range(6), 2)
    assert next(batches).positions == (0, 1)
    with pytest.raises(DataError, match=r"003\.png: not an image of a known format; remove it or use --on-error skip"):
        list(batches)
    assert image_threads() == []


def test_nothing_readable_is_an_error_that_shows_why(tmp_path: Path) -> None:
    files = grey_images(tmp_path, 3, broken=[0, 1, 2])
    with pytest.raises(DataError, match=r"none of the 3 images can be read; the first is .*002\.png: not an image"):
        list(ImageReader(files, SMALL, on_error="skip").batches([2, 1, 0], 8))
    assert list(ImageReader(files, SMALL, on_error="skip").batches([], 8)) == []


def test_threads_end_when_the_consumer_stops_early(tmp_path: Path) -> None:
    batches = ImageReader(grey_images(tmp_path, 40), SMALL, workers=3, on_error="skip").batches(range(40), 2)
    next(batches)
    assert image_threads()
    batches.close()
    assert image_threads() == []


def test_threads_end_when_the_user_interrupts(tmp_path: Path) -> None:
    reader = ImageReader(grey_images(tmp_path, 40), SMALL, workers=3, on_error="skip")

    def stopped() -> None:
        for _ in reader.batches(range(40), 2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert image_threads() == []


def test_a_bug_while_reading_is_not_taken_for_a_bad_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(data: bytes, preprocessing: Preprocessing) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(loader, "decode", decode)
    with pytest.raises(ZeroDivisionError):
        list(ImageReader(grey_images(tmp_path, 3), SMALL, workers=2, on_error="skip").batches(range(3), 2))
    assert image_threads() == []


def test_reading_ahead_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    decode = loader.decode

    def counted(data: bytes, preprocessing: Preprocessing) -> np.ndarray:
        read.append(1)
        return decode(data, preprocessing)

    monkeypatch.setattr(loader, "decode", counted)
    batches = ImageReader(grey_images(tmp_path, 60), SMALL, workers=2, on_error="skip").batches(range(60), 3)
    for number in range(1, 5):
        next(batches)
        assert len(read) <= 3 * number + 2 * 3 + 1
    batches.close()


def pixels_and_labels(images: ImageSet, order: Sequence[int], batch_size: int) -> list[tuple[list[int], list[int]]]:
    batches = images.batches(order, batch_size)
    return [(pixels[:, 0, 0, 0].tolist(), labels.tolist()) for pixels, labels in batches]


@pytest.mark.parametrize("cache", ["auto", "memory", "none"])
def test_a_set_gives_the_same_batches_cached_or_not(tmp_path: Path, cache: loader.Cache) -> None:
    files = grey_images(tmp_path, 8, broken=[2])
    images = load_image_set(files, [0, 0, 0, 1, 1, 2, 2, 2], SMALL, cache=cache)
    assert images.cached == (cache != "none")
    assert len(images) == 7
    assert images.labels.tolist() == [0, 0, 1, 1, 2, 2, 2]
    assert images.labels.dtype == torch.int64
    assert [problem.file for problem in images.unreadable] == [files[2]]
    assert images.digests == tuple(hashlib.sha256(file.read_bytes()).digest() for file in files if file != files[2])
    for _ in range(2):  # every pass
        assert pixels_and_labels(images, [6, 0, 2, 3, 1], 2) == [([7, 0], [2, 0]), ([3, 4, 1], [1, 1, 0])]
    assert image_threads() == []


@pytest.mark.parametrize("cache", ["memory", "none"])
@pytest.mark.parametrize(
    ("count", "batch_size", "sizes"),
    [(5, 2, [2, 3]), (4, 2, [2, 2]), (6, 4, [4, 2]), (1, 4, [1]), (3, 1, [1, 1, 1]), (9, 8, [9]), (0, 2, [])],
)
def test_no_last_batch_of_one(
    tmp_path: Path, cache: loader.Cache, count: int, batch_size: int, sizes: list[int]
) -> None:
    images = load_image_set(grey_images(tmp_path, 9), [0] * 9, SMALL, cache=cache, workers=0)
    assert [len(pixels) for pixels, _ in images.batches(range(count), batch_size)] == sizes


def test_auto_reads_again_what_does_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = grey_images(tmp_path, 4)  # 64 bytes of pixels
    for available, cached in ((256, True), (255, False)):
        monkeypatch.setattr(loader, "available_memory", lambda available=available: available)
        assert load_image_set(files, [0] * 4, SMALL).cached is cached


def test_a_cache_that_cannot_fit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = grey_images(tmp_path, 4)
    monkeypatch.setattr(loader, "available_memory", lambda: 63)
    with pytest.raises(DataError, match="use --cache auto"):
        load_image_set(files, [0] * 4, SMALL, cache="memory")
    monkeypatch.setattr(loader, "available_memory", lambda: 64)
    assert load_image_set(files, [0] * 4, SMALL, cache="memory").cached


def test_a_file_that_changes_while_in_use_is_named(tmp_path: Path) -> None:
    files = grey_images(tmp_path, 4)
    images = load_image_set(files, [0] * 4, SMALL, cache="none")
    Image.new("L", (4, 4), 99).save(files[2])
    with pytest.raises(DataError, match=r"002\.png: changed while it was in use"):
        list(images.batches(range(4), 2))
    files[2].unlink()
    with pytest.raises(DataError, match=r"002\.png: cannot be opened"):
        list(images.batches(range(4), 2))


def test_changing_a_batch_does_not_change_the_cache(tmp_path: Path) -> None:
    images = load_image_set(grey_images(tmp_path, 2), [0, 1], SMALL, cache="memory")
    for pixels, _ in images.batches([0, 1], 2):
        pixels.fill_(200)
    assert pixels_and_labels(images, [0, 1], 2) == [([0, 1], [0, 1])]


def test_progress_reaches_the_end_over_unreadable_files(tmp_path: Path) -> None:
    seen: list[object] = []

    class Watcher(Observer):
        @contextmanager
        def progress(self, label: str, total: int, unit: str = "images") -> Iterator[Advance]:
            seen.append((label, total))
            yield seen.append

    files = grey_images(tmp_path, 5, broken=[0, 2, 4])
    load_image_set(files, [0] * 5, SMALL, observer=Watcher(), label_text="reading digits")
    assert seen == [("reading digits", 5), 2, 2, 1]


def test_on_error_fail_reaches_the_set(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--on-error skip"):
        load_image_set(grey_images(tmp_path, 3, broken=[1]), [0] * 3, SMALL, on_error="fail")


def test_normalize_is_torchvisions_to_the_bit() -> None:
    preprocessing = Preprocessing(size=(16, 16))
    images = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    expected = tv.normalize(tv.to_tensor(Image.fromarray(images)), list(preprocessing.mean), list(preprocessing.std))
    pixels = torch.from_numpy(images.transpose(2, 0, 1).copy())[None]
    before = pixels.clone()
    assert torch.equal(normalize(pixels, preprocessing, "cpu")[0], expected)
    assert torch.equal(pixels, before)
    exact = normalize(pixels, preprocessing, torch.device("cpu"), torch.float64)
    assert exact.dtype == torch.float64
    assert torch.allclose(exact[0].float(), expected)


def test_normalize_on_an_accelerator_gives_the_same_bits() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no accelerator")
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    preprocessing = Preprocessing(size=(16, 16))
    on_device = normalize(pixels, preprocessing, "cuda").cpu()
    assert torch.equal(on_device, normalize(pixels, preprocessing, "cpu"))
