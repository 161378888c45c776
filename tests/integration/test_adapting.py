"""The commands of docs/adapting.md, typed as they stand there, on handwritten digits."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from commands import Run
from safetensors.torch import load_file

from mascli.data.samples.digits import write_digit_tasks
from mascli.files.records_json import checkpoint_record, omega_record
from mascli.files.tensor_file import file_sha256, read_header

PAGE = Path(__file__).parents[2] / "docs" / "adapting.md"
TASKS = {"birds": ("1", "2"), "flowers": ("3", "4"), "next": ("5", "6")}


def commands() -> list[list[str]]:
    """The commands in the page's console blocks, without comments and with continued lines joined."""
    blocks = re.findall(r"```console\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.split() for line in lines if line.strip() and not line.startswith("#")]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder before the page begins: the images of all tasks, and a few of what is used."""
    folder = tmp_path_factory.mktemp("desk")
    tasks = write_digit_tasks(folder / "data", TASKS)
    (folder / "next").symlink_to(folder / "data" / "next")
    (folder / "birds").symlink_to(folder / "data" / "birds" / "train")
    (folder / "flowers").symlink_to(folder / "data" / "flowers" / "train")
    (folder / "used").mkdir()
    for image in sorted(tasks["flowers"].test.rglob("*.png"))[::4]:
        (folder / "used" / f"{image.parent.name}-{image.name}").write_bytes(image.read_bytes())
    return folder


def test_every_command_of_the_page_works_as_typed(desk: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(desk)
    train = ["--epochs", "3", "--lr", "0.05", "--val-split", "0", "-q"]
    for words in (
        ["init", "--model", "mascli:mlp", "--model-arg", "hidden=16-16", "--image-size", "8", "--channels", "1"]
        + ["-o", "start.st"],
        ["train-task", "start.st", "--task", "birds", "--data", "data/birds/train", "-o", "birds.st", *train],
        ["train-task", "birds.st", "--task", "flowers", "--data", "data/flowers/train", "-o", "model.st", *train],
    ):
        code, _, err = run(*words)
        assert code == 0, err
    typed = commands()
    assert [words[:2] for words in typed] == [
        ["mascli", command] for command in ("estimate", "estimate", "estimate", "merge", "train-task", "evaluate")
    ]
    for words in typed:
        code, out, err = run(*words[1:])
        assert code == 0, (words, err)
        assert out.strip(), words

    everything, used, adapted = (load_file(f"{name}.omega") for name in ("all", "used", "adapted"))
    assert set(everything) == set(used) == set(adapted)
    for name, values in adapted.items():
        torch.testing.assert_close(values, 0.2 * everything[name] + 0.8 * used[name], rtol=1e-6, atol=0)
        assert not torch.equal(values, everything[name])  # negative control: the weights matter
    parts = omega_record(read_header(Path("adapted.omega"))).contributions
    assert [part.heads for part in parts] == [("birds",), ("flowers",), ("flowers",)]
    assert [part.weight for part in parts] == pytest.approx([0.2, 0.2, 0.8])
    assert [part.images for part in parts] == [len(list(Path(n).rglob("*.png"))) for n in ("birds", "flowers", "used")]

    learned = checkpoint_record(read_header(Path("new.st")))
    assert learned is not None and learned.task_names == ("birds", "flowers", "next")
    assert learned.lineage[-1].omega_sha256 == file_sha256(Path("adapted.omega"))


def test_what_is_used_alone_leaves_the_rest_unprotected_and_says_so(
    desk: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run after the page: an omega of one task covers that task."""
    monkeypatch.chdir(desk)
    words = ["train-task", "model.st", "--task", "next", "--data", "next/train", "--lambda", "1", "--epochs", "1"]
    for omega, named in {"used": True, "adapted": False}.items():
        code, _, err = run(*words, "--omega", f"{omega}.omega", "-o", f"{omega}.st")
        assert code == 0, err
        assert ("nothing protects task birds" in err) == named
