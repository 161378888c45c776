"""`mascli report` refuses what it cannot tell truthfully, in one line, and writes nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import stored
from commands import Run
from finished_runs import LAYERS, finished_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_run(tmp_path_factory.mktemp("runs") / "out")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--html", "a.html", "-o", "b.html"], "name the page once"),
        (["--html", "page.pdf"], "must end in .html"),
        (["--html", "taken.html"], "exists already"),
        (["--html", "no/such/x.html"], "does not exist"),
        (["--html", "x.html", "--report", "run/result.json", "--overwrite"], "of the run itself"),
        ([], "--html is missing"),
    ],
)
def test_a_page_that_cannot_be_written(
    folder: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch, flags: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").symlink_to(folder)
    (tmp_path / "taken.html").write_text("mine")
    code, out, err = run("report", "run", *flags)
    assert (code, out) == (2, "") and said in err and len(err.splitlines()) == 1
    assert (tmp_path / "taken.html").read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"run", "taken.html"}


def test_a_folder_that_nobody_made(tmp_path: Path, run: Run) -> None:
    for name, said in (("none", "is not there"), ("file", "is a file"), ("empty", "has made")):
        (tmp_path / "file").write_text("x")
        (tmp_path / "empty").mkdir(exist_ok=True)
        code, _, err = run("report", tmp_path / name, "--html", tmp_path / "x.html")
        assert code == 2 and said in err and len(err.splitlines()) == 1


def changed(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    table = json.loads(path.read_text())
    change(table)
    path.write_text(json.dumps(table))


BROKEN: dict[str, tuple[Callable[[Path], object], int, str]] = {
    "no result yet": (lambda f: (f / "result.json").unlink(), 3, "the same mascli run goes on"),
    "a step begun": (
        lambda f: changed(f / "steps/seed-0/ewc/dogs.train-task.json", lambda t: t.update(found=None)),
        3,
        "not finished (step seed-0/ewc/dogs.train-task)",
    ),
    "a step removed": (lambda f: (f / "steps/seed-1/ewc/birds.evaluate.json").unlink(), 3, "seed-1/ewc/birds.evaluate"),
    "a task added": (
        lambda f: (f / "sequence.yaml").write_text(
            "model: mascli:mlp\nroot: x\ntasks: [cats, dogs, birds, new]\nmethods: [finetune]\n"
        ),
        3,
        "not finished: the same mascli run goes on",
    ),
    "no JSON": (lambda f: (f / "result.json").write_text("{"), 3, "is not JSON"),
    "NaN": (lambda f: (f / "result.json").write_text('{"tasks": NaN}'), 3, "is not JSON"),
    "no UTF-8": (lambda f: (f / "result.json").write_bytes(b"\xff"), 3, "is not JSON"),
    "a list": (lambda f: (f / "result.json").write_text("[]"), 3, "is not a table"),
    "nothing in it": (lambda f: (f / "result.json").write_text("{}"), 3, "is damaged"),
    "too deep": (lambda f: (f / "result.json").write_text("[" * 100000), 3, "is not JSON"),
    "no methods": (lambda f: changed(f / "result.json", lambda t: t.update(methods=[])), 3, "no methods"),
    "text for a number": (
        lambda f: changed(f / "result.json", lambda t: t["methods"][0].update(accuracy_matrix=[["x"]])),
        3,
        "methods[0]: accuracy_matrix: expected a number",
    ),
    "no triangle": (
        lambda f: changed(f / "result.json", lambda t: t["methods"][0]["accuracy_matrix"].pop()),
        3,
        "does not have a row a task",
    ),
    "other seeds": (
        lambda f: changed(f / "result.json", lambda t: t["methods"][1]["seeds"].pop()),
        3,
        "are not those of the other methods",
    ),
    "no figure": (
        lambda f: changed(f / "result.json", lambda t: t["methods"][0].pop("forgetting")),
        3,
        "no forgetting",
    ),
    "a figure that is none": (
        lambda f: changed(f / "result.json", lambda t: t["methods"][0].update(forgetting=[1])),
        3,
        "forgetting: expected a table",
    ),
    "twice": (
        lambda f: changed(f / "result.json", lambda t: t["methods"].append(t["methods"][0])),
        3,
        "there twice",
    ),
    "a damaged record": (
        lambda f: (f / "steps/seed-0/cats.evaluate.json").write_text('{"settings": 1}'),
        3,
        "cats.evaluate.json is damaged",
    ),
    "damaged epochs": (
        lambda f: changed(f / "steps/seed-0/cats.train-task.json", lambda t: t["found"].update(epochs=[{"phase": 1}])),
        3,
        "epochs",
    ),
    "an omega cut off": (
        lambda f: (f / "seed-0/ewc/dogs.omega").write_bytes((f / "seed-0/ewc/dogs.omega").read_bytes()[:-4]),
        4,
        "is not what step seed-0/ewc/dogs.estimate wrote",
    ),
    "a checkpoint cut off": (
        lambda f: (f / "seed-0/ewc/dogs.safetensors").write_bytes(b"\0\0"),
        4,
        "is not a safetensors file",
    ),
    "no checkpoint": (
        lambda f: stored.write(f / "seed-0/ewc/dogs.safetensors", LAYERS),
        4,
        "is an omega file",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_folder_that_is_damaged_or_not_finished(folder: Path, tmp_path: Path, run: Run, what: str) -> None:
    change, expected, said = BROKEN[what]
    shutil.copytree(folder, tmp_path / "out")
    change(tmp_path / "out")
    code, out, err = run("report", tmp_path / "out", "--html", tmp_path / "x.html")
    assert (code, out) == (expected, ""), err
    assert said in err and len(err.splitlines()) == 1, err
    assert not (tmp_path / "x.html").exists()


def test_what_is_left_of_other_methods_does_not_matter(folder: Path, tmp_path: Path, run: Run) -> None:
    shutil.copytree(folder, tmp_path / "out")
    steps = tmp_path / "out/steps/seed-0"
    (steps / "gone").mkdir()
    table = json.loads((steps / "ewc/dogs.train-task.json").read_text())
    (steps / "gone/dogs.train-task.json").write_text(json.dumps({**table, "found": None}))
    changed(tmp_path / "out/result.json", lambda t: t.update(later_key=1))
    code, _, err = run("report", tmp_path / "out", "--html", tmp_path / "x.html")
    assert (code, err) == (0, "")
    assert "gone/" not in (tmp_path / "x.html").read_text()


def test_a_demo_that_was_stopped_is_said_to_go_on_and_one_of_an_earlier_version_is_not(
    tmp_path: Path, run: Run
) -> None:
    folder = finished_run(tmp_path / "out", demo=True, seeds=(0,))
    (folder / "result.json").unlink()
    code, _, err = run("report", folder, "--html", tmp_path / "page.html")
    assert code == 3 and "the same mascli demo goes on" in err
    shutil.rmtree(folder / "steps")
    code, _, err = run("report", folder, "--html", tmp_path / "page.html")
    assert code == 3 and "mascli demo with the same -o and --overwrite makes it anew" in err
    code, _, err = run("demo", "-o", folder)
    assert code == 2 and "holds an earlier demo" in err
