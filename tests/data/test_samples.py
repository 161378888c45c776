from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mascli.data.folders import labelled_folder
from mascli.data.samples import DIGIT_TASKS, write_digit_tasks

PINNED = "1325d6f7ed7f083b02cb583a0897abf5aef5f89980bb600ead661c11f2cbf5c5"
IMAGES = {"0": 178, "1": 182, "2": 177, "3": 183, "4": 181, "5": 182, "6": 181, "7": 179, "8": 174, "9": 180}


def contents(folder: Path) -> dict[str, bytes]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_every_digit_is_written_once_a_third_of_them_for_testing(tmp_path: Path) -> None:
    tasks = write_digit_tasks(tmp_path)
    assert list(tasks) == ["digits-12", "digits-34", "digits-56", "digits-78", "digits-90"]
    for name, digits in DIGIT_TASKS.items():
        train, test = labelled_folder(tasks[name].train), labelled_folder(tasks[name].test)
        assert train.root == tmp_path / name / "train"
        assert test.root == tmp_path / name / "test"
        assert train.classes == test.classes == tuple(sorted(digits))
        for label, digit in enumerate(train.classes):
            assert test.labels.count(label) == IMAGES[digit] // 3
            assert train.labels.count(label) == IMAGES[digit] - IMAGES[digit] // 3
            trained = {file.name for file in train.files if file.parent.name == digit}
            tested = {file.name for file in test.files if file.parent.name == digit}
            assert trained | tested == {f"{number:03d}.png" for number in range(IMAGES[digit])}
    assert len(contents(tmp_path)) == sum(IMAGES.values()) == 1797


def test_the_images_are_the_published_ones(tmp_path: Path) -> None:
    write_digit_tasks(tmp_path, {"zero": ("0",)})
    with Image.open(tmp_path / "zero" / "train" / "0" / "000.png") as image:
        image.load()
    assert image.mode == "L"
    first_line_of_the_data_set = [[0, 0, 5, 13, 9, 1, 0, 0], [0, 0, 13, 15, 10, 15, 5, 0]]
    sixteenths = np.asarray(image) / 255 * 16
    assert np.abs(sixteenths[:2] - first_line_of_the_data_set).max() < 1 / 16


def test_the_bytes_are_the_same_everywhere_and_every_time(tmp_path: Path) -> None:
    write_digit_tasks(tmp_path / "a")
    write_digit_tasks(tmp_path / "b")
    write_digit_tasks(tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    digest = hashlib.sha256(b"".join(contents(tmp_path / "a").values())).hexdigest()
    assert digest == PINNED


def test_other_tasks_can_be_chosen(tmp_path: Path) -> None:
    tasks = write_digit_tasks(tmp_path, {"even": ("0", "2", "4"), "odd": ("1", "3")})
    assert labelled_folder(tasks["even"].train).classes == ("0", "2", "4")
    assert labelled_folder(tasks["odd"].test).classes == ("1", "3")


def test_the_samples_equal_the_source(tmp_path: Path) -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    digits = datasets.load_digits()
    write_digit_tasks(tmp_path)
    for task, members in DIGIT_TASKS.items():
        for digit in members:
            for number, expected in enumerate(digits.images[digits.target == int(digit)]):
                part = "test" if number % 3 == 2 else "train"
                with Image.open(tmp_path / task / part / digit / f"{number:03d}.png") as image:
                    assert np.array_equal(np.rint(np.asarray(image) / 255 * 16), expected)
