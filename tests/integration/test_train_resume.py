"""A training that is stopped at any moment goes on, when asked, to the bytes of one that never was."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from commands import Run, in_a_process, overridden
from safetensors import safe_open

from mascli.files.partial_file import partial_path
from mascli.training.loop import Learner
from mascli.workflows import train_task
from mascli.workflows.unfinished import Unfinished

SAVE_EVERY_STEP = (
    "import mascli.workflows.unfinished as unfinished; unfinished.SECONDS_BETWEEN = 0; "
    "import mascli.training.loop as loop, time; step = loop.Learner._step; "
    "loop.Learner._step = lambda *a: (time.sleep(0.02), step(*a))[1]; "
    "from mascli.__main__ import main; main()"
)
METHODS = {
    "collecting": ["--lambda", "1", "--augment", "standard", "--batchnorm", "train", "--collect", "COLLECTED"],
    "adamw": ["--lambda", "10", "--optimizer", "adamw", "--distill", "1", "--schedule", "cosine", "--clip-norm", "1"],
    # at least three trials of 16 steps
    "auto": ["--max-trials", "5", "--batchnorm", "per-task", "--nesterov", "--lr", "0.05", "--head-lr", "0.001"]
    + ["--max-drop", "0"],
}


def words(checkpoints: Path, world: Path, out: Path, method: str) -> list[str]:
    flags = [str(out.with_suffix(".omega")) if word == "COLLECTED" else word for word in METHODS[method]]
    command = ["train-task", checkpoints / "flowers.st", "--task", "birds", "--data", world / "data/birds/train"]
    command += ["--omega", checkpoints / "flowers.omega", "--val-split", "0.3", "--epochs", "3", "--batch-size", "4"]
    return [str(word) for word in (*command, "--seed", "4", "-o", out, *flags)]


@pytest.fixture(scope="module")
def wholes(checkpoints: Path, world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what each method writes when nothing stops it."""
    folder = tmp_path_factory.mktemp("wholes")
    for method in METHODS:
        done = in_a_process(*words(checkpoints, world, folder / f"{method}.st", method))
        assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in folder.iterdir()) == [
        "adamw.st",
        "auto.st",
        "collecting.omega",
        "collecting.st",
    ]
    return folder


def kill_after(saves: int, command: list[str], out: Path) -> None:
    """Start `command`, and kill it when it has written its unfinished work so many times."""
    process = subprocess.Popen(
        [sys.executable, "-c", SAVE_EVERY_STEP, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    seen: set[int] = set()
    while len(seen) < saves and process.poll() is None:
        if partial_path(out).exists():
            seen.add(os.stat(partial_path(out)).st_mtime_ns)
        time.sleep(0.0005)
    process.kill()
    process.wait()
    assert process.returncode == -signal.SIGKILL and not out.exists()


def same(out: Path, whole: Path) -> None:
    assert out.read_bytes() == whole.read_bytes()
    if whole.with_suffix(".omega").exists():
        assert out.with_suffix(".omega").read_bytes() == whole.with_suffix(".omega").read_bytes()
    assert not partial_path(out).exists()


@pytest.mark.parametrize(("method", "saves"), [("collecting", 10), ("adamw", 6), ("auto", 40)])
def test_killed_and_resumed_it_writes_the_same_bytes(
    method: str, saves: int, run: Run, checkpoints: Path, world: Path, wholes: Path, tmp_path: Path
) -> None:
    out = tmp_path / "new.st"
    command = words(checkpoints, world, out, method)
    kill_after(saves, command, out)
    with safe_open(partial_path(out), framework="np") as file:
        names = set(file.keys())
    assert any(name.startswith("training/optimizer/") for name in names)
    assert any(name.startswith("training/now/model/network.") for name in names)
    code, _, errors = run(*command, "--resume", "-v")
    assert code == 0 and "going on in" in errors, errors
    same(out, wholes / f"{method}.st")


def stopped_after(
    steps: int, run: Run, command: list[str], monkeypatch: pytest.MonkeyPatch, number: int = signal.SIGINT
) -> tuple[int, str, str]:
    """Run `command` and press Ctrl-C, or send another signal, in a step."""
    step, count = Learner._step, 0

    def interrupted(*arguments: Any) -> float:
        nonlocal count
        count += 1
        if count == steps:
            signal.raise_signal(number)
        return step(*arguments)

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a command that has ended in this process ignores it
    with monkeypatch.context() as patch:
        patch.setattr(Learner, "_step", interrupted)
        result: tuple[int, str, str] = run(*command)
        return result


@pytest.mark.parametrize(("method", "steps"), [("collecting", 1), ("adamw", 9), ("auto", 41)])
def test_control_c_finishes_the_step_and_keeps_what_was_learned(
    method: str,
    steps: int,
    run: Run,
    checkpoints: Path,
    world: Path,
    wholes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "new.st"
    command = words(checkpoints, world, out, method)
    code, _, errors = stopped_after(steps, run, command, monkeypatch)
    assert code == 130 and not out.exists() and partial_path(out).exists()
    assert "--resume" in errors
    code, _, errors = run(*command)
    assert code == 2 and "unfinished training" in errors and "--resume" in errors and not out.exists()
    if method == "auto":
        code, _, errors = run(*command[:-1], "5", "--resume")
        assert command[-2] == "--max-drop" and code == 2 and "begun with another max-drop" in errors
    code, _, errors = run(*command, "--resume")
    assert code == 0, errors
    same(out, wholes / f"{method}.st")


def test_sigterm_keeps_what_was_learned_and_a_stop_before_the_first_step_says_that_it_is_still_there(
    run: Run, checkpoints: Path, world: Path, wholes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "new.st"
    command = words(checkpoints, world, out, "adamw")
    code, _, errors = stopped_after(3, run, command, monkeypatch, signal.SIGTERM)
    assert code == 130 and errors.count("--resume goes on") == 1 and errors.endswith("mascli: stopped\n")
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    before = partial_path(out).read_bytes()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with monkeypatch.context() as patch:
            patch.setattr(train_task, "learning_data", lambda *_, number=number: signal.raise_signal(number))
            code, _, errors = run(*command, "--resume")
        assert code == 130 and errors.count("--resume goes on") == 1 and errors.endswith("mascli: stopped\n")
        assert partial_path(out).read_bytes() == before and not out.exists()
    assert run(*command, "--resume")[0] == 0
    same(out, wholes / "adamw.st")


def test_a_kill_after_the_omega_was_written_is_gone_on_from(
    run: Run, checkpoints: Path, world: Path, wholes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "new.st"
    command = words(checkpoints, world, out, "collecting")
    stopped_after(5, run, command, monkeypatch)
    out.with_suffix(".omega").write_bytes(b"written before the kill")
    assert run(*command, "--resume")[0] == 0
    same(out, wholes / "collecting.st")


@pytest.mark.parametrize(
    ("flags", "what"),
    [
        (["--seed", "5"], "seed"),
        (["--epochs", "4"], "epochs"),
        (["--lambda", "2"], "lambda"),
        (["--lambda", "auto"], "lambda"),
        (["--val-split", "0.2"], "val split"),
        (["--omega", "uniform"], "omega"),
        (["--damping", "1"], "damping"),
        (["--collect", "other.omega"], "collect"),
    ],
)
def test_other_settings_are_refused_and_nothing_is_lost(
    flags: list[str],
    what: str,
    run: Run,
    checkpoints: Path,
    world: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "new.st"
    command = words(checkpoints, world, out, "collecting")
    stopped_after(2, run, command, monkeypatch)
    before = partial_path(out).read_bytes()
    code, _, errors = run(*overridden(command, *flags), "--resume")
    assert code == 2 and f"another {what}" in errors and "Traceback" not in errors
    assert partial_path(out).read_bytes() == before and not out.exists()


def test_a_file_of_somebody_else_is_not_replaced_by_what_is_gone_on_with(
    run: Run, checkpoints: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    precious = tmp_path / "precious.omega"
    precious.write_bytes(b"precious")
    command = words(checkpoints, world, tmp_path / "new.st", "collecting")
    stopped_after(2, run, command, monkeypatch)
    code, _, errors = run(*overridden(command, "--collect", str(precious)), "--resume")
    assert code == 2 and "another collect" in errors and precious.read_bytes() == b"precious"


def test_plain_weights_are_not_gone_on_with_under_another_preprocessing(
    run: Run, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("init", "--model", "mascli:mlp", "--image-size", "8", "-o", tmp_path / "start.st")[0] == 0
    data = world / "data/birds/train"
    trained = ["train-task", tmp_path / "start.st", "--task", "birds", "--data", data, "--epochs", "1", "--seed", "1"]
    assert run(*trained, "-o", tmp_path / "first.st")[0] == 0
    assert run("export", tmp_path / "first.st", "-o", tmp_path / "plain.st")[0] == 0
    command = ["train-task", tmp_path / "plain.st", "--model", "mascli:mlp", "--image-size", "8", "--task", "more"]
    command += ["--data", data, "--epochs", "2", "--batch-size", "4", "-o", tmp_path / "new.st"]
    assert stopped_after(2, run, command, monkeypatch)[0] == 130
    for flags, what in ((["--mean", "0,0,0"], "preprocessing"), (["--head-name", "other"], "set of known tasks")):
        code, _, errors = run(*command, *flags, "--resume")
        assert code == 2 and f"another {what}" in errors, errors
    assert run(*command, "--resume")[0] == 0


def test_overwrite_starts_anew_and_resume_without_a_file_does_too(
    run: Run, checkpoints: Path, world: Path, wholes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "new.st"
    command = words(checkpoints, world, out, "adamw")
    stopped_after(2, run, command, monkeypatch)
    assert run(*command, "--overwrite")[0] == 0
    same(out, wholes / "adamw.st")
    out.unlink()
    assert run(*command, "--resume")[0] == 0
    same(out, wholes / "adamw.st")


def test_a_changed_number_is_noticed(
    run: Run, checkpoints: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "new.st"
    command = words(checkpoints, world, out, "adamw")
    stopped_after(9, run, command, monkeypatch)
    whole = partial_path(out).read_bytes()
    for changed in (whole.replace(b'\\"main\\",1,', b'\\"main\\",2,', 1), whole[:-1] + bytes([whole[-1] ^ 1])):
        assert changed != whole
        partial_path(out).write_bytes(changed)
        code, _, errors = run(*command, "--resume")
        assert code == 4 and "damaged" in errors and "Traceback" not in errors and not out.exists()
    partial_path(out).write_bytes(b"something else")
    code, _, errors = run(*command, "--resume")
    assert code == 4 and errors.rstrip().endswith("remove it to start anew")


def test_a_training_that_diverges_leaves_nothing_to_go_on_from(
    run: Run, checkpoints: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "new.st"
    command = words(checkpoints, world, out, "collecting")
    saved: list[Path] = []
    written = Unfinished.save
    monkeypatch.setattr("mascli.workflows.unfinished.SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr(Unfinished, "save", lambda self, content: (written(self, content), saved.append(self.path))[0])
    code, _, errors = run(*overridden(command, "--lr", "1e30"))
    assert code == 6 and "not finite" in errors and saved
    assert not partial_path(out).exists() and not out.exists()


def test_validation_images_of_some_classes_only_are_taken(
    run: Run, checkpoints: Path, world: Path, tmp_path: Path
) -> None:
    val, training = tmp_path / "val", world / "data/birds/train"
    names = sorted(path.name for path in training.iterdir())
    for name in names:
        (val / name).mkdir(parents=True)
    image = sorted((training / names[0]).iterdir())[0]
    shutil.copy(image, val / names[0] / image.name)
    command = ["train-task", checkpoints / "flowers.st", "--task", "birds", "--data", training, "--val", val]
    code, _, errors = run(*command, "--epochs", "1", "--workers", "0", "-o", tmp_path / "new.st")
    assert code == 0, errors
