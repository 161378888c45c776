"""What `mascli estimate` says of how it went."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import Run, write_images
from safetensors.torch import save_file

from mascli.models.small import ConvNet


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run) -> Path:
    """net.st of two classes, `photos` of 10 different images and `many` of 70; the current folder."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    save_file(ConvNet(3, 2, width=4).state_dict(), "w.safetensors")
    weights = ["--weights", "w.safetensors", "--head-name", "t", "--image-size", "12"]
    code, _, err = run("init", "--model", "mascli:convnet", "--model-arg", "width=4", *weights, "-o", "net.st")
    assert code == 0, err
    write_images(tmp_path / "photos", {".": 6}, 10)
    write_images(tmp_path / "many", {".": 6}, 70)
    return tmp_path


def measured(run: Run, *words: str) -> tuple[dict[str, Any], list[str]]:
    """The result, and the notes on standard error."""
    code, out, err = run("estimate", "net.st", *words, "-o", "new.omega", "--overwrite", "--format", "json")
    assert code == 0, err
    return json.loads(out), [line.removeprefix("note: ") for line in err.splitlines() if line.startswith("note: ")]


def test_nothing_is_said_where_there_is_nothing_to_say(place: Path, run: Run) -> None:
    found, notes = measured(run, "--data", "photos")
    assert (found["notes"], notes) == ([], [])
    assert (found["images"], found["images_found"], found["batch_size_limit"]) == (10, 10, None)


def test_fewer_images_than_a_stop_needs_are_told(place: Path, run: Run) -> None:
    found, notes = measured(run, "--data", "photos", "--until-reliability", "0.01")
    assert notes == found["notes"] and len(notes) == 1
    assert "with 10 images nothing could stop early, since 64 at least are needed" in notes[0]
    _, notes = measured(run, "--data", "many", "--limit", "63", "--until-reliability", "0.99999")
    assert "with 63 images nothing could stop early" in notes[0]
    assert notes[1].endswith("raise --limit, or add images")
    found, notes = measured(run, "--data", "many", "--until-reliability", "0.01", "--batch-size", "4")
    assert found["images"] == 64 < found["images_found"]
    assert notes == ["stopped at 64 of 70 images, which are enough"]


def test_images_that_are_there_twice_are_counted_and_told(place: Path, run: Run) -> None:
    shutil.copy("photos/001.png", "photos/copy.png")
    shutil.copy("photos/001.png", "photos/again.png")
    shutil.copy("photos/002.png", "photos/other.png")
    found, notes = measured(run, "--data", "photos")
    assert found["images"] == 13
    assert notes == found["notes"] == ["3 images of 13 hold the same bytes as another one; each of them counts"]


def test_what_is_no_file_is_counted_and_named(place: Path, run: Run) -> None:
    Path("photos/gone.png").symlink_to("nowhere.png")
    os.mkfifo("photos/pipe.png")
    found, _ = measured(run, "--data", "photos")
    assert found["images"] == 10 and found["images_found"] == 12
    assert [Path(file).name for file, _ in found["unreadable"]] == ["gone.png", "pipe.png"]
    code, _, err = run("estimate", "net.st", "--data", "photos", "--on-error", "fail", "-o", "x.omega")
    assert code == 3 and "no" in err and not Path("x.omega").exists()


def test_of_how_many_images_and_by_which_batches(place: Path, run: Run) -> None:
    words = ["--data", "photos", "--limit", "9", "--batch-size", "4", "-o", "new.omega"]
    code, out, err = run("estimate", "net.st", *words)
    assert code == 0, err
    assert "9 of 10 images" in out
    assert "batch 3: an even number of nearly equal ones, of at most 4" in out


def test_verbose_names_the_steps(place: Path, run: Run) -> None:
    code, _, err = run("estimate", "net.st", "--data", "photos", "-o", "new.omega", "-v", "--batch-size", "4")
    assert code == 0
    for part in ("mascli:convnet (ConvNet in ", "on cpu with 1 thread", "photos: 10 images", "batches of 3 images"):
        assert part in err
    for phase in ("opening net.st: ", "planning: ", "measuring: ", "writing new.omega: "):
        assert any(line.startswith(phase) and line.endswith(" s") for line in err.splitlines())
    assert "parameter tensors: 6 by the convolution rule" in err
    write_images(place / "data", {"0": 1, "1": 2}, 3)
    code, _, err = run("evaluate", "net.st", "--data", "data", "-v")
    assert code == 0
    for phase in ("opening net.st: ", "t: reading 6 images of data: ", "t: predicting, batches of 32 images: "):
        assert any(line.startswith(phase) for line in err.splitlines())


def test_a_folder_in_the_place_of_the_sums_is_told(place: Path, run: Run) -> None:
    Path("new.omega.partial").mkdir()
    for more in ([], ["--resume"], ["--overwrite"]):
        code, _, err = run("estimate", "net.st", "--data", "photos", "-o", "new.omega", *more)
        assert code == 2 and err.count("\n") == 1
        assert "-o: new.omega.partial is a folder" in err


def test_one_gradient_a_batch_is_a_way_like_others(place: Path, run: Run) -> None:
    words = ["--data", "photos", "--reduction", "batch", "--batch-size", "4", "-o", "new.omega"]
    code, out, err = run("estimate", "net.st", *words)
    assert code == 0, err
    assert "6 by one gradient a batch" in out and "batch 4)" in out


def test_what_is_combined_keeps_the_reliability_of_each_part(place: Path, run: Run) -> None:
    alone = [measured(run, "--data", folder)[0]["reliability"] for folder in ("photos", "many")]
    assert run("estimate", "net.st", "--data", "photos", "-o", "first.omega", "--format", "json")[0] == 0
    assert run("estimate", "net.st", "--data", "many", "-o", "second.omega")[0] == 0
    assert run("estimate", "net.st", "--data", "many", "--previous", "first.omega", "-o", "both.omega")[0] == 0
    for rule in ("sum", "max", "mean", "ema"):
        assert run("merge", "first.omega", "second.omega", "--combine", rule, "-o", f"{rule}.omega")[0] == 0
    for name in ("both", "sum", "max", "mean", "ema"):
        told = json.loads(run("inspect", f"{name}.omega", "--format", "json")[1])["omega"]
        assert [part["reliability"] for part in told["contributions"]] == alone
        assert told["reliability"] is None
    shown = run("inspect", "both.omega")[1]
    assert "unknown of the whole; the lowest of its 2 parts is" in shown
    for single in ("first", "second"):
        told = json.loads(run("inspect", f"{single}.omega", "--format", "json")[1])["omega"]
        assert "reliability" not in told["contributions"][0] and told["reliability"] in alone
