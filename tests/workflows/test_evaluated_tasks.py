"""Which tasks `mascli evaluate` evaluates, on which folders: none is left out unseen."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import Run
from line_checkpoints import Place, make_place, row


@pytest.fixture
def place(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> Place:
    return make_place(tmp_path, run, monkeypatch)


def test_tasks_are_chosen_one_by_one_and_none_is_lost(place: Place) -> None:
    def evaluated(*words: str) -> tuple[list[str], list[str], list[str]]:
        result = place.json("before.st", *words)
        return [found["task"] for found in result["tasks"]], result["not_evaluated"], result["left_out"]

    assert evaluated("--data-root", "data", "--task", "long", "--task", "short") == (["short", "long"], [], [])
    assert evaluated("--data-root", "data", "--task", "long") == (["long"], ["short"], ["short"])
    assert evaluated("--data", "data/long") == (["long"], ["short"], [])
    both = ["--data", "short=data/short", "--data", "long=data/long"]
    assert evaluated(*both, "--task", "short") == (["short"], ["long"], ["long"])
    _, out, _ = place.evaluate("before.st", *both, "--task", "short")
    assert "not evaluated     long (left out by --task)" in out and "no folder given" not in out
    _, out, _ = place.evaluate("before.st", "--data", "data/long")
    assert "not evaluated     short (no folder given)" in out and "--task" not in out
    gate = ["--data-root", "data", "--task", "long", "--task", "short", "--min-accuracy", "80"]
    code, _, err = place.evaluate("before.st", *gate)
    assert code == 7 and "task long: accuracy 71.43 %" in err  # the first of the two is not lost


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("--data-root data --task long --task shirt", 2, "--task 'shirt': before.st has no such task"),
        ("--data data/long --task long --task short", 2, "write each folder as --data TASK=FOLDER"),
        ("--data long=data/long --task short", 2, "--task short has no folder; give its images with --data short="),
        ("--data nope", 2, "mascli: --data: there is no folder nope\n"),
        ("--data short=", 2, "mascli: --data: there is no folder short=\n"),
        ("--data =few", 2, "mascli: --data: there is no folder =few\n"),
        ("--data short=nope", 2, "mascli: --data short: there is no folder nope\n"),
        (
            "--data-root data --task short --min-accuracy long=9",
            2,
            "--min-accuracy long: the task is not evaluated; give --task long too",
        ),
    ],
)
def test_a_task_or_a_folder_that_is_not_there_is_named(place: Place, words: str, code: int, message: str) -> None:
    got, out, err = place.evaluate("before.st", *words.split())
    assert (got, out) == (code, "") and message in err, err


def test_a_root_without_a_folder_for_a_task_that_is_asked_for_is_an_error(place: Place) -> None:
    Path("data/short").rename("elsewhere")
    code, out, err = place.evaluate("before.st", "--data-root", "data", "--task", "long", "--task", "short")
    assert (code, out) == (3, "") and "data has no folder for short" in err


def test_an_empty_class_folder_is_as_none(place: Place) -> None:
    without = place.json("before.st", "--data-root", "data", "--per-class")
    Path("data/long/b").mkdir()
    (Path("data/long/e") / "deeper").mkdir(parents=True)
    assert place.json("before.st", "--data-root", "data", "--per-class") == without
    assert row(without, "long")["without_images"] == list("bdefg")
    Path("data/long/unknown").mkdir()
    code, _, err = place.evaluate("before.st", "--data-root", "data")
    assert code == 3 and "never learned unknown" in err
    (Path("bare") / "a").mkdir(parents=True)
    code, _, err = place.evaluate("before.st", "--data", "bare")
    assert code == 3 and "no images in the class folders a" in err
