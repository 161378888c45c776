"""Everything that can be wrong with what a user gives: one line each, its exit code, and nothing written."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import Run, in_a_process, write_images
from PIL import Image


@pytest.fixture
def place(world: Path, checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with everything that the cases below name, as the current folder."""
    for name in ("start.st", "flowers.st", "birds.st", "flowers.omega", "birds.omega"):
        shutil.copy(checkpoints / name, tmp_path / name)
    shutil.copytree(world / "data", tmp_path / "data")
    shutil.copytree(world / "photos", tmp_path / "photos")
    (tmp_path / "empty").mkdir()
    write_images(tmp_path / "one-class", {"only": 1}, 3)
    write_images(tmp_path / "unseen", {"rose": 1, "lily": 9}, 3)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_bytes((tmp_path / "photos" / "000.png").read_bytes()[:60])
    shutil.copy(tmp_path / "photos" / "000.png", tmp_path / "broken" / "b.png")
    (tmp_path / "torn.st").write_bytes((tmp_path / "birds.st").read_bytes()[:-100])
    (tmp_path / "torn.omega").write_bytes((tmp_path / "birds.omega").read_bytes()[:-4])
    (tmp_path / "text.st").write_text("this is no checkpoint at all, only a line of text that is long enough\n")
    (tmp_path / "unknown.yaml").write_text("checkpoint: flowers.st\ndata: photos\nout: new.st\ncheckpint: x\n")
    (tmp_path / "broken.yaml").write_text("a: [1\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


TRAIN = "train-task flowers.st --task birds --data data/birds/train -o new.st"
FIRST = "train-task start.st --task t --data data/flowers/train -o new.st"
BIRDS = "train-task {} --task t --data data/birds/train --omega {} --lambda 1 -o new.st"
NAMED = "train-task flowers.st --task {} --data data/birds/train -o new.st"
CASES = {
    "missing checkpoint": (2, "there is no file nowhere.st", "estimate nowhere.st --data photos -o new.st"),
    "missing folder": (2, "there is no folder nowhere", "estimate flowers.st --data nowhere -o new.st"),
    "folder as checkpoint": (2, "is a folder", "estimate photos --data photos -o new.st"),
    "file as folder": (2, "is a file", "estimate flowers.st --data flowers.st -o new.st"),
    "no output": (2, "--out is missing", "estimate flowers.st --data photos"),
    "output exists": (2, "--overwrite", "estimate flowers.st --data photos -o birds.omega"),
    "output in no folder": (2, "nowhere", "estimate flowers.st --data photos -o nowhere/new.st"),
    "empty folder": (3, "no image", "estimate flowers.st --data empty -o new.st"),
    "empty class folders": (3, "class", "train-task flowers.st --task t --data empty -o new.st"),
    "one class only": (3, "one class only", "train-task flowers.st --task t --data one-class -o new.st"),
    "class unseen in training": (3, "lily", "evaluate flowers.st --data unseen"),
    "class unseen in validation": (3, "lily", FIRST + " --val unseen"),
    "image that cannot be read": (3, "a.png", "estimate flowers.st --data broken --on-error fail -o new.st"),
    "omega of other weights": (4, "other weights", TRAIN + " --omega birds.omega --lambda 1"),
    "omega of another model": (4, "not this model", BIRDS.format("other.st", "birds.omega")),
    "omega as checkpoint": (4, "omega", "estimate birds.omega --data photos -o new.st"),
    "checkpoint as omega": (4, "checkpoint", TRAIN + " --omega birds.st --lambda 1"),
    "truncated checkpoint": (4, "torn.st", "estimate torn.st --data photos -o new.st"),
    "truncated omega": (4, "torn.omega", BIRDS.format("birds.st", "torn.omega")),
    "text as checkpoint": (4, "text.st", "inspect text.st"),
    "no task to measure": (4, "no task yet", "estimate start.st --data photos -o new.st"),
    "nothing protects": (4, "nothing protects task flowers", TRAIN + " --require-protection"),
    "task name with a slash": (2, "letters, digits", NAMED.format("a/b")),
    "existing task": (2, "already has", NAMED.format("Flowers")),
    "unknown task": (2, "no such task; it has flowers, birds", "estimate birds.st --data photos --task x -o new.st"),
    "lambda nan": (2, "lambda", TRAIN + " --omega flowers.omega --lambda nan"),
    "lambda -1": (2, "lambda", TRAIN + " --omega flowers.omega --lambda -1"),
    "lambda to find without validation images": (2, "--val-split", TRAIN + " --omega flowers.omega --val-split 0"),
    "anchor without omega": (2, "--anchor needs --omega", TRAIN + " --anchor start.st"),
    "lambda without omega": (2, "omega", TRAIN + " --lambda 3"),
    "loss form that diverges": (2, "stable below", TRAIN + " --omega flowers.omega --lambda 1e9 --penalty loss"),
    "unknown YAML key": (2, "did you mean 'checkpoint'", "estimate --config unknown.yaml"),
    "broken YAML": (2, "broken.yaml", "estimate flowers.st --data photos -o new.st --config broken.yaml"),
    "unknown flag": (2, "--lamda", TRAIN + " --lamda 3"),
    "unknown command": (2, "estimat", "estimat flowers.st"),
    "unknown model": (5, "resnet81", "init --model torchvision:resnet81 -o new.st"),
    "unknown source": (5, "keras", "init --model keras:resnet -o new.st"),
    "model arguments": (5, "bogus", "init --model mascli:mlp --model-arg bogus=1 -o new.st"),
    "images too small": (
        5,
        "cannot process images of 8x8",
        "init --model torchvision:alexnet --image-size 8 -o new.st",
    ),
    "fixed preprocessing": (2, "fixed by the checkpoint", "estimate flowers.st --data photos --image-size 9 -o new.st"),
    "another device": (2, "--device", "estimate flowers.st --data photos --device cuda:99 -o new.st"),
    "two data roots": (2, "--data-root", "evaluate birds.st --data photos --data-root data"),
    "no data": (2, "--data", "evaluate birds.st"),
    "limit without baseline": (2, "--baseline", "evaluate birds.st --data-root data --max-forgetting 1"),
    "baseline of other tasks": (
        2,
        "baseline",
        "evaluate birds.st --data data/birds/test --baseline flowers.st --max-forgetting 1",
    ),
    "limit not met": (7, "accuracy", "evaluate birds.st --data-root data --min-accuracy 100.0"),
    "pooling what is no part": (4, "pool", "merge flowers.omega birds.omega --combine pool -o new.st"),
    "pooling the same images": (4, "", "merge birds.omega birds.omega --combine pool -o new.st"),
}


@pytest.mark.parametrize("name", CASES)
def test_wrong_input_is_one_line_and_writes_nothing(name: str, place: Path, run: Run) -> None:
    if "other.st" in CASES[name][2]:
        assert run(*"init --model mascli:mlp --image-size 12 -o other.st".split())[0] == 0
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*")}
    code, message, command = CASES[name]
    got, out, err = run(*command.split())
    assert got == code, (out, err)
    errors = [line for line in err.splitlines() if line.startswith("mascli: ")]
    assert len(errors) == 1 and message in errors[0], err
    assert "Traceback" not in err and (code == 7 or not out)
    assert {path: path.stat().st_mtime_ns for path in place.rglob("*")} == before


def test_all_problems_are_told_at_once(place: Path, run: Run) -> None:
    code, _, err = run(*"train-task nowhere.st --task t --data elsewhere --omega none -o birds.st".split())
    assert code == 2
    for part in ("nowhere.st", "elsewhere", "none", "--overwrite"):
        assert part in err


@pytest.mark.parametrize("name", ["missing folder", "one class only", "omega of other weights", "truncated omega"])
def test_it_is_told_before_torch_is_loaded(name: str, place: Path) -> None:
    code, _, command = CASES[name]
    probe = f"""
import json, sys
from mascli.cli.app import main
try:
    main({command.split()!r})
except SystemExit as end:
    print(json.dumps([end.code, "torch" in sys.modules]))
"""
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [code, False]


def test_unreadable_images_are_skipped_counted_and_named(place: Path, run: Run) -> None:
    code, out, err = run(*"estimate flowers.st --data broken -o new.st --format json".split())
    assert code == 0, err
    result = json.loads(out)
    assert result["images"] == 1 and result["unreadable"][0][0].endswith("a.png")


def test_names_like_markup_are_shown_as_they_are(place: Path, run: Run) -> None:
    """`[bold]` is a class of flowers; rich would take it, and a folder `[/]`, for markup."""
    shutil.copytree("data/flowers/test", "[/]")
    code, out, err = run("evaluate", "flowers.st", "--data", "[/]", "--report", "[bold].md")
    assert code == 0 and (place / "[bold].md").exists(), err
    code, out, err = run("inspect", "flowers.st")
    assert code == 0 and "[bold]" in out, err
    code, _, err = run("estimate", "flowers.st", "--data", "empty[/]", "-o", "x")
    assert code == 2 and "there is no folder empty[/]" in err


def test_a_closed_pipe_ends_silently(place: Path) -> None:
    command = f"{sys.executable} -m mascli inspect birds.omega | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.returncode in (0, 141) and done.stderr == ""


def test_odd_images_are_all_read(place: Path, run: Run) -> None:
    odd = place / "odd [x] \n folder"
    odd.mkdir()
    grey = np.arange(240, dtype=np.uint8).reshape(12, 20)
    Image.fromarray(grey).save(odd / "grey.PNG")
    Image.fromarray(grey.astype(np.uint16) * 257).save(odd / "deep.png")
    Image.fromarray(np.dstack([grey] * 4)).save(odd / "alpha.png")
    Image.fromarray(np.dstack([grey] * 3)).convert("CMYK").save(odd / "print.jpg")
    Image.fromarray(grey).convert("P").save(odd / "palette.gif")
    turned = Image.fromarray(np.dstack([grey] * 3))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(odd / "turned ü.jpg", exif=exif)
    Image.fromarray(grey[:1, :1]).save(odd / "pixel.bmp")
    (odd / "notes.txt").write_text("no image")
    code, out, err = run("estimate", "flowers.st", "--data", odd, "-o", "new.omega", "--format", "json")
    assert code == 0, err
    assert json.loads(out)["images"] == 7 and json.loads(out)["unreadable"] == []


def test_an_interrupted_run_leaves_nothing_behind(place: Path) -> None:
    """A process stopped while it learns leaves no file under the final name, and no half of one."""
    words = [*TRAIN.split(), "--epochs", "100000", "-v"]
    process = subprocess.Popen(
        [sys.executable, "-m", "mascli", *words],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )
    try:
        assert process.stderr is not None
        while "main epoch 2" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 130 and "mascli: stopped" in rest
    assert not (place / "new.st").exists() and not list(place.glob(".mascli*"))


def test_help_of_the_module(tmp_path: Path) -> None:
    done = in_a_process("--version", folder=tmp_path)
    assert done.returncode == 0 and done.stdout.startswith("mascli ")
