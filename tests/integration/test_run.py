"""`mascli run` on the digits that come with the package: what comes out, going on after a kill, and what is refused."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import Run, in_a_process

from mascli.config import EvaluateConfig
from mascli.observer import Observer
from mascli.workflows import run as run_workflow
from mascli.workflows.run import _WithinRun

SAMPLE = Path(__file__).parents[2] / "sample_configs" / "digits.yaml"
MODEL = {"model": "mascli:mlp", "model-arg": {"hidden": "16-16"}, "image-size": 8, "channels": 1}
SHORT: dict[str, Any] = {
    **MODEL,
    "samples": "digits",
    "tasks": ["digits-12", {"name": "some", "classes": [0, 5, 7]}, "digits-34"],
    "methods": ["finetune", {"method": "mas", "lambda": [0.1, 1]}, {"method": "si", "lambda": 0.1}],
    "training": {"epochs": 2, "lr": 0.05, "val-split": 0, "workers": 0},
    "estimating": {"workers": 0},
}


SAVE_EVERY_BATCH = (
    "import mascli.workflows.unfinished as unfinished; unfinished.SECONDS_BETWEEN = 0; "
    "from mascli.__main__ import main; main()"
)


def sequence(path: Path, **changes: Any) -> Path:
    path.write_text(yaml.safe_dump({**SHORT, **{key.replace("_", "-"): value for key, value in changes.items()}}))
    return path


def made(folder: Path) -> dict[str, str]:
    """The sha256 of every file that a run is to reproduce, by its place."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.parts[len(folder.parts)] != "steps"]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files)}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("whole")
    done = in_a_process("run", sequence(place / "s.yaml"), "-o", place / "out")
    assert done.returncode == 0, done.stderr
    return place / "out"


def test_the_sample_of_digits(tmp_path: Path, run: Run) -> None:
    code, out, err = run("run", SAMPLE, "-o", tmp_path / "out", "--format", "json", "--forgetting", "max")
    assert code == 0, err
    result = json.loads(out)
    methods = {method["name"]: method for method in result["methods"]}
    assert list(methods) == ["finetune", "joint", "alone", "mas"]
    assert methods["finetune"]["forgetting"]["mean"] > 4 * max(methods["mas"]["forgetting"]["mean"], 0.5)
    assert methods["joint"]["average_accuracy"]["mean"] > methods["finetune"]["average_accuracy"]["mean"]
    assert methods["alone"]["forgetting"]["mean"] == methods["alone"]["forward_transfer"]["mean"] == 0
    for method in methods.values():
        matrix = method["accuracy_matrix"]
        assert [len(row) for row in matrix] == [1, 2, 3, 4, 5]
        assert matrix[0] == methods["finetune"]["accuracy_matrix"][0]  # the first task is shared
        assert method["average_accuracy"]["mean"] == pytest.approx(sum(matrix[-1]) / 5)
        assert method["forgetting_max"]["mean"] >= method["forgetting"]["mean"] == -method["backward_transfer"]["mean"]
        difference = [matrix[i][i] - methods["alone"]["accuracy_matrix"][i][i] for i in range(1, 5)]
        assert method["forward_transfer"]["mean"] == pytest.approx(sum(difference) / 4)
        assert method["average_accuracy"]["low"] is None and method["chosen"] == "only"
    assert set(result["seconds"]["methods"]) == {"finetune", "joint", "alone", "mas, lambda 0.1"}
    stored = json.loads((tmp_path / "out/result.json").read_text())
    assert stored == {key: value for key, value in result.items() if key not in ("out", "seconds")}
    rows = list(csv.DictReader((tmp_path / "out/result.csv").read_text().splitlines()))
    assert len(rows) == 4 * 15
    assert float(rows[-1]["accuracy"]) == methods["mas"]["accuracy_matrix"][-1][-1]


def test_every_command_that_is_shown_works_as_shown(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = run("run", sequence(tmp_path / "s.yaml", seeds=[3]), "-o", "shown")
    assert code == 0, err
    shown = [line.removeprefix("$ ") for line in err.splitlines() if line.startswith("$ ")]
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "data").symlink_to(tmp_path / "shown" / "data")
    for command in shown:
        words = command.replace("shown/", "again/").split()
        Path(words[-1]).parent.mkdir(parents=True, exist_ok=True)
        assert run(*words[1:])[0] == 0, command
    files = [path for path in (tmp_path / "shown/seed-3").rglob("*") if path.is_file()]
    assert len(files) == 2 + 1 + 2 + 1 + 2 * (2 + 1) + 2 + 3
    for path in files:
        assert (tmp_path / "again" / path.relative_to(tmp_path / "shown")).read_bytes() == path.read_bytes(), path


def test_what_is_done_is_not_done_again(whole: Path, run: Run) -> None:
    before = made(whole)
    (file,) = whole.parent.glob("*.yaml")
    (whole / "seed-0/si/.mascli-0.part").write_bytes(b"left by a kill")
    code, out, err = run("run", file, "-o", whole, "--format", "json")
    assert code == 0 and "$ " not in err
    assert made(whole) == before
    code, out, _ = run("run", file, "-o", whole, "--dry-run", "--format", "json")
    steps = json.loads(out)["steps"]
    assert code == 0 and len(steps) > 20 and all(step["done"] for step in steps)


def test_a_list_of_strengths_says_what_its_best_is(tmp_path: Path, run: Run) -> None:
    methods = ["finetune", {"method": "mas", "lambda": [0.1, 1]}]
    file = sequence(tmp_path / "s.yaml", seeds=[0, 1], tasks=["digits-12", "digits-34"], methods=methods)
    code, _, err = run("run", file, "-o", tmp_path / "out")
    assert code == 0, err
    methods = json.loads((tmp_path / "out/result.json").read_text())["methods"]
    grid = [method for method in methods if method["name"] == "mas"]
    assert [method["lambda"] for method in grid] == [0.1, 1]
    best = max(grid, key=lambda method: (float(method["average_accuracy"]["mean"]), method["lambda"]))
    assert [method["chosen"] for method in grid] == ["hindsight" if method is best else None for method in grid]
    for method in methods:
        values = method["average_accuracy"]["values"]
        assert (
            len(values) == 2
            and method["average_accuracy"]["low"] <= sum(values) / 2 <= method["average_accuracy"]["high"]
        )
        assert [seed["seed"] for seed in method["seeds"]] == [0, 1]


@pytest.mark.parametrize("number", range(3))
def test_killed_and_started_again_it_makes_the_same_bytes(number: int, whole: Path, tmp_path: Path) -> None:
    """Killed at a random moment of a random step, of whose training or estimate every batch is saved."""
    file, out = sequence(tmp_path / "s.yaml"), tmp_path / "out"
    moments = random.Random(number)
    command = [sys.executable, "-c", SAVE_EVERY_BATCH, "run", str(file), "-o", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wanted = moments.randint(3, 20)
    while len(list(out.rglob("*.json"))) < wanted and process.poll() is None:
        time.sleep(0.001)
    time.sleep(moments.random() * 0.05)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (out / "result.json").exists()
    done = in_a_process("run", file, "-o", out)
    assert done.returncode == 0, done.stderr
    assert made(out) == made(whole)
    assert not list(out.rglob("*.partial"))


def test_a_method_that_diverges_is_left_out_and_the_others_go_on(tmp_path: Path, run: Run) -> None:
    methods = [{"method": "l2", "lambda": [0.1, 1e30]}, "finetune"]
    training = {**SHORT["training"], "penalty": "loss"}
    file = sequence(tmp_path / "s.yaml", methods=methods, training=training, tasks=["digits-12", "digits-34"])
    code, out, err = run("run", file, "-o", tmp_path / "out", "--format", "json")
    assert code == 6
    result = json.loads(out)
    assert [(method["name"], method["lambda"]) for method in result["methods"]] == [("l2", 0.1), ("finetune", None)]
    (failed,) = result["failed"]
    assert failed.startswith("seed-0/l2/lambda-1e+30/digits-34.train-task: --penalty loss diverges")
    assert err.splitlines()[-1].endswith(failed) and "the others go on" in err
    assert json.loads((tmp_path / "out/result.json").read_text())["failed"] == [failed]
    assert [method["chosen"] for method in result["methods"]] == ["only", "only"]
    code, _, err = run("report", tmp_path / "out", "--html", tmp_path / "page.html")
    assert code == 0, err
    page = (tmp_path / "page.html").read_text()
    assert "Left out, since a training diverged:" in page and "lambda-1e+30/digits-34.train-task" in page
    code, out, _ = run("run", file, "-o", tmp_path / "out", "--format", "json")
    assert code == 6 and json.loads(out)["failed"] == [failed]
    sequence(file, methods=["finetune"], training={**SHORT["training"], "lr": 1e30, "head-lr": 1e30})
    code, _, err = run("run", file, "-o", tmp_path / "none")
    assert code == 6 and not (tmp_path / "none/result.json").exists()


def test_strengths_that_share_an_estimate_go_on_without_the_first_of_them(tmp_path: Path, run: Run) -> None:
    training = {**SHORT["training"], "penalty": "loss"}
    methods = [{"method": "mas", "lambda": [1e30, 0.01]}]
    file = sequence(
        tmp_path / "s.yaml", methods=methods, training=training, tasks=["digits-12", "digits-34"], seeds=[0, 1]
    )
    code, out, err = run("run", file, "-o", tmp_path / "out", "--format", "json")
    assert code == 6, err
    (method,) = json.loads(out)["methods"]
    assert method["lambda"] == 0.01 and len(method["seeds"]) == 2


def test_what_is_refused_leaves_the_copy_of_the_file_that_the_results_are_of(tmp_path: Path, run: Run) -> None:
    file, out = sequence(tmp_path / "s.yaml", methods=["finetune"], tasks=["digits-12", "digits-34"]), tmp_path / "out"
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    assert run("run", file, "-o", out)[0] == 0
    assert (out / "sequence.yaml").read_bytes() == file.read_bytes()
    before = made(out)
    sequence(file, methods=["finetune"], tasks=["digits-12", "digits-34"], training={**SHORT["training"], "epochs": 7})
    code, _, err = run("run", file, "-o", out)
    assert code == 2 and "another epochs" in err
    assert made(out) == before


def test_overwrite_takes_away_nothing_that_the_run_starts_from(tmp_path: Path, run: Run) -> None:
    tasks, out = ["digits-12", "digits-34"], tmp_path / "out"
    assert run("run", sequence(tmp_path / "s.yaml", methods=["finetune"], tasks=tasks), "-o", out)[0] == 0
    start = out / "seed-0/digits-12.safetensors"
    before = start.read_bytes()
    content = {**yaml.safe_load((tmp_path / "s.yaml").read_text()), "checkpoint": str(start)}
    for key in ("model", "model-arg", "image-size", "channels"):
        content.pop(key, None)
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(content))
    code, _, err = run("run", tmp_path / "again.yaml", "-o", out, "--overwrite")
    assert code == 2 and "is an input of this run" in err and start.read_bytes() == before


def test_a_first_task_cannot_take_the_name_of_the_start(tmp_path: Path, run: Run) -> None:
    tasks = [{"name": "start", "classes": [1, 2]}, "digits-34"]
    code, _, err = run("run", sequence(tmp_path / "s.yaml", tasks=tasks), "-o", tmp_path / "out", "--dry-run")
    assert code == 2 and "call the first task otherwise" in err


def test_more_can_be_added_later(tmp_path: Path, run: Run) -> None:
    file, out = tmp_path / "s.yaml", tmp_path / "out"
    sequence(file, methods=["finetune"], seeds=[0], tasks=["digits-12", "digits-34"])
    assert run("run", file, "-o", out)[0] == 0
    before = made(out)
    sequence(file, methods=["finetune", "freeze"], seeds=[0, 1], tasks=["digits-12", "digits-34", "digits-56"])
    code, _, err = run("run", file, "-o", out)
    assert code == 0, err
    shown = [line for line in err.splitlines() if line.startswith("$ ")]
    assert not [line for line in shown if "-o " + str(out / "seed-0/digits-12.safetensors") in line]
    kept = [name for name in before if name.startswith("seed-0/")]
    assert kept and {name: made(out)[name] for name in kept} == {name: before[name] for name in kept}


def test_a_damaged_checkpoint_is_made_again(tmp_path: Path, run: Run) -> None:
    file, out = tmp_path / "s.yaml", tmp_path / "out"
    sequence(file, methods=["finetune"], seeds=[0], tasks=["digits-12", "digits-34"])
    assert run("run", file, "-o", out)[0] == 0
    before, damaged = made(out), out / "seed-0/digits-12.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-4] + b"ouch")
    code, _, err = run("run", file, "-o", out)
    assert code == 0, err
    assert [line.split()[2] for line in err.splitlines() if line.startswith("$ ")] == ["train-task"]
    assert made(out) == before


def test_within_a_run_a_note_does_not_ask_for_a_flag() -> None:
    class Notes(Observer):
        def __init__(self) -> None:
            self.said: list[str] = []

        def note(self, text: str) -> None:
            self.said.append(text)

    notes = Notes()
    _WithinRun(notes, "mascli run").note("what was learned is kept in x: --resume goes on")
    _WithinRun(notes, "mascli demo").note("kept in x: --resume goes on")
    _WithinRun(notes, "mascli run").note("another")
    assert notes.said == [
        "what was learned is kept in x: the same `mascli run` goes on",
        "kept in x: the same `mascli demo` goes on",
        "another",
    ]


def test_a_second_run_in_a_folder_at_work_is_refused_and_changes_nothing(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, out = tmp_path / "s.yaml", tmp_path / "out"
    sequence(file, methods=["finetune"], seeds=[0], tasks=["digits-12", "digits-34"])
    kind = EvaluateConfig
    check, evaluate = run_workflow.COMMANDS[kind]
    refused: list[tuple[int, str]] = []

    def meanwhile(config: Any, observer: Observer) -> Any:
        before = made(out)
        for flags in ([], ["--overwrite"]):
            done = in_a_process("run", file, "-o", out, *flags)
            refused.append((done.returncode, done.stderr))
        assert made(out) == before
        monkeypatch.setitem(run_workflow.COMMANDS, kind, (check, evaluate))
        return evaluate(config, observer)

    monkeypatch.setitem(run_workflow.COMMANDS, kind, (check, meanwhile))
    assert run("run", file, "-o", out)[0] == 0
    assert len(refused) == 2
    for code, err in refused:
        assert code == 2 and f"another mascli run is at work in {out}" in err and "give --overwrite" not in err
    code, _, err = run("run", file, "-o", out)
    assert code == 0 and "$ " not in err, err  # the lock went with the run


def test_other_settings_are_refused_and_overwrite_starts_anew(tmp_path: Path, run: Run) -> None:
    file, out = tmp_path / "s.yaml", tmp_path / "out"
    small = {"methods": ["finetune"], "seeds": [0], "tasks": ["digits-12", "digits-34"]}
    sequence(file, **small)
    assert run("run", file, "-o", out)[0] == 0
    before = made(out)
    sequence(file, **small, training={**SHORT["training"], "epochs": 3})
    code, _, err = run("run", file, "-o", out)
    assert code == 2 and "another epochs" in err and "--overwrite" in err
    code, text, _ = run("run", file, "-o", out, "--dry-run")
    assert code == 0 and "# done with another epochs" in text
    assert [line.endswith("# done") for line in text.splitlines() if line.startswith("  mascli ")] == [True] + [
        False
    ] * 4
    assert {k: v for k, v in made(out).items() if k != "sequence.yaml"} == {
        k: v for k, v in before.items() if k != "sequence.yaml"
    }
    (out / "mine.txt").write_text("mine")
    assert run("run", file, "-o", out, "--overwrite")[0] == 0
    assert (out / "mine.txt").read_text() == "mine"
    after = made(out)
    assert after["seed-0/start.safetensors"] == before["seed-0/start.safetensors"]
    assert after["seed-0/digits-12.safetensors"] != before["seed-0/digits-12.safetensors"]


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path, run: Run) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/me.txt").write_text("me")
    for flags in ([], ["--overwrite"]):
        code, _, err = run("run", SAMPLE, "-o", tmp_path / "photos", *flags)
        assert code == 2 and "not empty" in err
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["me.txt"]
    code, _, err = run("run", SAMPLE, "-o", tmp_path / "photos/me.txt")
    assert code == 2 and "is a file" in err
    code, _, err = run("run", SAMPLE)
    assert code == 2 and "-o/--out is missing" in err


def test_a_dry_run_writes_nothing(tmp_path: Path, run: Run) -> None:
    code, out, err = run("run", SAMPLE, "-o", tmp_path / "out", "--dry-run")
    assert code == 0, err
    assert not (tmp_path / "out").exists()
    lines = [line.strip() for line in out.splitlines() if line.startswith("  mascli ")]
    assert len(lines) == 39 and lines[0].startswith("mascli init --model mascli:mlp")


def test_samples_that_do_not_exist(tmp_path: Path, run: Run) -> None:
    file = sequence(tmp_path / "s.yaml", tasks=["digits-21", {"name": "x", "classes": ["1", "ten"]}])
    code, _, err = run("run", file, "-o", tmp_path / "out")
    assert code == 2 and "did you mean 'digits-12'?" in err and "task 'x'" in err


def test_the_copy_of_the_sequence_can_be_run_itself(tmp_path: Path, run: Run) -> None:
    file = sequence(tmp_path / "s.yaml", methods=["finetune"], tasks=["digits-12", "digits-34"])
    assert run("run", file, "-o", tmp_path / "out")[0] == 0
    code, _, err = run("run", tmp_path / "out/sequence.yaml", "-o", tmp_path / "out")
    assert code == 0 and "$ " not in err, err
