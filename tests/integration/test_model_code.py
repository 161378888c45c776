"""What a model's own code does on the way: fails, ends the program, prints."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from commands import Run, write_images
from safetensors.torch import save_file
from torch import Tensor, nn

from mascli.errors import UnsupportedModelError
from mascli.models.heads import MultiHeadModel
from mascli.models.model_code import model_code

NETS = """
import sys
import torch
from torch import nn

def scale(x):
    if x.mean((1, 2, 3)).max() > 0.2:  # a bright image
        ACTS()
    return x


class Refusing(torch.autograd.Function):
    @staticmethod
    def forward(ctx, y, x):
        ctx.save_for_backward(x)
        return y * 1

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        if x.mean((1, 2, 3)).max() > 0.2:
            raise ArithmeticError("no way back")
        return gradient, None


class Net(nn.Module):
    def __init__(self, backward=False):
        super().__init__()
        self.backward = backward
        self.body = nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        print("a batch of", len(x))
        y = self.body(x if self.backward else scale(x))
        y = Refusing.apply(y, x) if self.backward else y
        return self.head(y.relu().mean((2, 3)))


def make(backward=False):
    return Net(backward)
"""
FAILS = {
    "raise ValueError('too bright\\nby far')": "ValueError: too bright",
    "sys.exit('enough')": "SystemExit: enough",
    "x = [][3]": "IndexError: list index out of range",
    "torch.zeros(2, 3) @ torch.zeros(2, 3)": "RuntimeError: ",
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten dark images and, the last by name, a bright one; the current folder."""
    write_images(tmp_path / "data", {"dark": 0}, 10)
    write_images(tmp_path / "data", {"white": 3}, 1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "bright_nets", raising=False)
    return tmp_path


def checkpoint(run: Run, acts: str, *arguments: str) -> None:
    """net.st, a model of `NETS` with two classes, in the current folder."""
    Path("bright_nets.py").write_text(NETS.replace("ACTS()", acts), encoding="utf-8")
    body, head = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)
    save_file({f"{n}.{k}": v for n, m in (("body", body), ("head", head)) for k, v in m.state_dict().items()}, "w.st")
    Path("classes.txt").write_text("dark\nwhite\n", encoding="utf-8")
    weights = ["--weights", "w.st", "--head-name", "t", "--classes", "classes.txt"]
    model = ["--model", "python:bright_nets:make", *arguments, "--image-size", "12"]
    code, out, err = run("init", *model, *weights, "-o", "net.st", "--format", "json")
    assert code == 0 and json.loads(out), err


@pytest.mark.parametrize("acts", FAILS)
@pytest.mark.parametrize("command", ["estimate", "evaluate"])
def test_what_a_later_batch_raises_in_the_models_code_is_one_line(
    command: str, acts: str, place: Path, run: Run
) -> None:
    checkpoint(run, acts)
    more = ["--order", "path", "-o", "new.omega"] if command == "estimate" else []
    code, out, err = run(command, "net.st", "--data", "data", "--batch-size", "2", "--trust-model-code", *more)
    assert code == 5, err
    line = Path("bright_nets.py").read_text(encoding="utf-8").splitlines().index(f"        {acts}") + 1
    assert f"mascli: the model's own code fails: {FAILS[acts]}" in err
    assert f"(bright_nets.py:{line})" in err
    assert "Traceback" not in err and "bug" not in err and out == ""
    assert not (place / "new.omega").exists()


def test_what_a_backward_pass_of_the_model_raises_is_one_line(place: Path, run: Run) -> None:
    checkpoint(run, "pass", "--model-arg", "backward=true")
    words = ["--data", "data", "--batch-size", "2", "--order", "path", "--trust-model-code", "-o", "new.omega"]
    code, _, err = run("estimate", "net.st", *words)
    assert code == 5 and "ArithmeticError: no way back (bright_nets.py:" in err, err


def test_a_model_that_prints_leaves_standard_output_to_the_result(place: Path, run: Run) -> None:
    checkpoint(run, "pass")
    words = ["--data", "data", "--trust-model-code", "--format", "json"]
    code, out, err = run("evaluate", "net.st", *words)
    assert code == 0 and json.loads(out)["tasks"][0]["images"] == 11
    assert "a batch of" in err
    code, out, err = run("estimate", "net.st", *words, "-o", "new.omega")
    assert code == 0 and json.loads(out)["images"] == 11 and "a batch of" in err


def test_a_mistake_of_our_own_stays_one(place: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint(run, "pass")

    def broken(*_: object) -> None:
        raise IndexError("our own")

    monkeypatch.setattr("mascli.workflows.evaluate.predict", broken)
    code, _, err = run("evaluate", "net.st", "--data", "data", "--trust-model-code")
    assert code == 1 and "Traceback" in err and "this is a bug" in err


class Odd(nn.Module):
    """Calls back what it is given, in the middle of its forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 2, 3), nn.Linear(2, 2)
        self.act = lambda: None

    def forward(self, images: Tensor) -> Tensor:
        self.act()
        return self.head(self.body(images).mean((2, 3)))  # type: ignore[no-any-return]


def raising(error: BaseException) -> None:
    raise error


def test_only_what_the_models_own_code_raises_is_told_of_it() -> None:
    import torch

    from mascli.typed import build

    images, network = torch.zeros(2, 3, 8, 8), Odd()
    model = MultiHeadModel(network, "head", images)
    model.add_head("t", 2)
    for error in (KeyboardInterrupt(), MemoryError(), torch.OutOfMemoryError("full"), BrokenPipeError()):
        network.act = lambda error=error: raising(error)
        with pytest.raises(type(error)), model_code():
            model(images, ("t",))
    network.act = lambda: build(int, {}, "", [])  # a function of ours that fails under the model's
    with pytest.raises(TypeError), model_code():
        model(images, ("t",))
    network.act = lambda: None
    with pytest.raises(RuntimeError), model_code():  # our input, which does not fit
        network.body(torch.zeros(1, 1, 8, 8))
    network.act = lambda: raising(SystemExit(3))
    with pytest.raises(UnsupportedModelError, match=r"SystemExit: 3 \(.*test_model_code.py:\d+\)"), model_code():
        model(images, ("t",))
