"""An estimate that is stopped at any moment goes on, when asked, to the bytes of one that never was."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import Run, in_a_process, write_images
from PIL import Image
from safetensors import safe_open

from mascli.files.partial_file import partial_path
from mascli.importance.engine import Estimator

SAVE_EVERY_BATCH = (
    "import mascli.workflows.unfinished as unfinished; unfinished.SECONDS_BETWEEN = 0; "
    "import mascli.importance.engine as engine, time; add = engine.Estimator.add; "
    "engine.Estimator.add = lambda self, images: (time.sleep(0.02), add(self, images)); "
    "from mascli.__main__ import main; main()"
)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """240 images, some of which cannot be read."""
    folder = write_images(tmp_path_factory.mktemp("photos"), {"a": 1, "b": 2}, 120, size=9)
    for number in (3, 50, 117):
        (folder / "a" / f"{number:03d}.png").write_bytes(b"\x89PNG no more")
    Image.new("L", (7, 30)).save(folder / "grey é.png")
    return folder


def words(checkpoints: Path, photos: Path, out: Path) -> list[str]:
    command = ["estimate", checkpoints / "birds.st", "--data", photos, "--batch-size", "8", "-o", out]
    return [str(word) for word in command]


@pytest.fixture(scope="module")
def whole(checkpoints: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    out = tmp_path_factory.mktemp("whole") / "omega"
    done = in_a_process(*words(checkpoints, photos, out))
    assert done.returncode == 0, done.stderr
    assert not partial_path(out).exists()
    return out.read_bytes()


@pytest.mark.parametrize("saved", [1, 4, 11])
def test_killed_and_resumed_it_writes_the_same_bytes(
    saved: int, checkpoints: Path, photos: Path, whole: bytes, tmp_path: Path
) -> None:
    out = tmp_path / "omega"
    slowly = [*words(checkpoints, photos, out), "--workers", "0"]
    command = [sys.executable, "-c", SAVE_EVERY_BATCH, *slowly]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seen: set[int] = set()
    while len(seen) < saved and process.poll() is None:
        if partial_path(out).exists():
            seen.add(os.stat(partial_path(out)).st_mtime_ns)
        time.sleep(0.0005)
    process.kill()
    process.wait()
    assert process.returncode == -signal.SIGKILL and not out.exists()
    with safe_open(partial_path(out), framework="np") as file:
        assert any(name.startswith("sums/") for name in file.keys())  # noqa: SIM118  # not a dictionary
    done = in_a_process(*words(checkpoints, photos, out), "--resume")
    assert done.returncode == 0, done.stderr
    assert out.read_bytes() == whole
    assert not partial_path(out).exists()


def stopped_after(
    batches: int, run: Run, command: list[str], monkeypatch: pytest.MonkeyPatch, by: signal.Signals = signal.SIGINT
) -> tuple[int, str, str]:
    """Run `command` and send it `by` (Ctrl-C) while it measures the batch after so many."""
    add, count = Estimator.add, 0

    def interrupted(self: Estimator, images: object) -> None:
        nonlocal count
        count += 1
        if count == batches:
            signal.raise_signal(by)
        add(self, images)  # type: ignore[arg-type]

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a command that has ended in this process ignores it
    with monkeypatch.context() as patch:
        patch.setattr(Estimator, "add", interrupted)
        return run(*command)


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM], ids=lambda by: by.name)
def test_a_stop_finishes_the_batch_and_keeps_the_sums(
    by: signal.Signals,
    run: Run,
    checkpoints: Path,
    photos: Path,
    whole: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "omega"
    code, _, errors = stopped_after(5, run, words(checkpoints, photos, out), monkeypatch, by)
    assert code == 130 and not out.exists() and partial_path(out).exists()
    assert "--resume" in errors
    code, _, errors = run(*words(checkpoints, photos, out))
    assert code == 2 and "--resume" in errors and not out.exists()
    code, _, errors = run(*words(checkpoints, photos, out), "--resume")
    assert code == 0, errors
    assert out.read_bytes() == whole and not partial_path(out).exists()


@pytest.mark.parametrize(
    ("flags", "what"),
    [(["--seed", "5"], "seed"), (["--limit", "100"], "limit"), (["--order", "path"], "order")],
)
def test_other_settings_are_refused_and_nothing_is_lost(
    flags: list[str],
    what: str,
    run: Run,
    checkpoints: Path,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "omega"
    code, o, e = stopped_after(2, run, words(checkpoints, photos, out), monkeypatch)
    assert code == 130, (o, e)
    before = partial_path(out).read_bytes()
    code, _, errors = run(*words(checkpoints, photos, out), "--resume", *flags)
    assert code == 2 and what in errors and "Traceback" not in errors
    assert partial_path(out).read_bytes() == before and not out.exists()


def test_overwrite_starts_anew(
    run: Run, checkpoints: Path, photos: Path, whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "omega"
    stopped_after(2, run, words(checkpoints, photos, out), monkeypatch)
    assert run(*words(checkpoints, photos, out), "--overwrite")[0] == 0
    assert out.read_bytes() == whole and not partial_path(out).exists()


def test_images_that_have_changed_since_they_were_measured_are_refused(
    run: Run, checkpoints: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = Path(shutil.copytree(photos, tmp_path / "photos"))
    out = tmp_path / "omega"
    stopped_after(20, run, words(checkpoints, copy, out), monkeypatch)
    for file in copy.rglob("*.png"):
        file.write_bytes(file.read_bytes() + b"changed")
    code, _, errors = run(*words(checkpoints, copy, out), "--resume")
    assert code == 3 and "has changed since it was measured" in errors
    assert partial_path(out).exists() and not out.exists()


def test_a_changed_number_in_the_sums_is_noticed(
    run: Run, checkpoints: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "omega"
    stopped_after(5, run, words(checkpoints, photos, out), monkeypatch)
    whole = partial_path(out).read_bytes()
    for changed in (whole.replace(b'\\"next\\":', b'\\"next\\":1'), whole[:-1] + bytes([whole[-1] ^ 1])):
        assert changed != whole
        partial_path(out).write_bytes(changed)
        code, _, errors = run(*words(checkpoints, photos, out), "--resume")
        assert code == 4 and "damaged" in errors and "Traceback" not in errors and not out.exists()


def test_damaged_sums_are_refused(run: Run, checkpoints: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "omega"
    for content in (b"", b"x" * 100, b"\x02\0\0\0\0\0\0\0{}"):
        partial_path(out).write_bytes(content)
        code, _, errors = run(*words(checkpoints, photos, out), "--resume")
        assert code == 4 and "Traceback" not in errors
        assert partial_path(out).read_bytes() == content and not out.exists()


def test_resume_without_sums_starts_from_the_beginning(
    run: Run, checkpoints: Path, photos: Path, whole: bytes, tmp_path: Path
) -> None:
    out = tmp_path / "omega"
    assert run(*words(checkpoints, photos, out), "--resume")[0] == 0
    assert out.read_bytes() == whole
