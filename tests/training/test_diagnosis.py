"""What went wrong while learning, told in a line each."""

from __future__ import annotations

import math

import torch
from torch import nn

from mascli.models.heads import MultiHeadModel
from mascli.training.diagnosis import generalising_problem, head_problem, learning_problems, silent_layers
from mascli.training.history import Epoch, Learned, Validation


def test_failed_learning_is_named() -> None:
    assert learning_problems(0.2, 2, (), held=0.9, lowest_accuracy=None) == ()
    (line,) = learning_problems(0.9 * math.log(2), 2, (), held=0.9, lowest_accuracy=50.0)
    assert "not learned" in line and "--lambda" in line
    (line,) = learning_problems(0.9 * math.log(2), 2, (), held=0.1, lowest_accuracy=None)
    assert "not learned" in line and "--lambda" not in line
    assert learning_problems(0.9 * math.log(2), 2, (), held=0.9, lowest_accuracy=60.0) == ()
    (line,) = learning_problems(0.1, 2, ("features.relu",), held=0.0, lowest_accuracy=99.0)
    assert "features.relu" in line and "--lambda" not in line
    (line,) = learning_problems(0.9 * math.log(2), 2, (), held=0.9, lowest_accuracy=50.0, searched=True)
    assert "--max-drop" in line and "--lambda" not in line
    found = learning_problems(0.7, 2, (), held=0.9, lowest_accuracy=50.0, searched=True, plain_failed=True)
    assert "--max-drop" not in found[0] and "more --epochs or another --lr" in found[0]
    assert learning_problems(math.nan, 2, (), held=0.9, lowest_accuracy=None) == ()


def test_images_known_by_heart_are_named() -> None:
    (line,) = generalising_problem(0.001, 2, 50.0, (40.0, 60.0))
    assert "overfitting" in line and "BatchNorm" in line
    assert generalising_problem(0.3, 2, 50.0, (40.0, 60.0)) == ()
    assert generalising_problem(0.001, 2, 62.0, (52.0, 71.0)) == ()
    assert generalising_problem(math.nan, 2, 50.0, (40.0, 60.0)) == ()
    assert generalising_problem(0.001, 2, 100.0, (34.2, 100.0)) == ()  # two images, both right


def test_a_head_that_was_better_than_what_was_kept_is_named() -> None:
    def learned(head: float | None, main: float) -> Learned:
        before = None if head is None else Validation(head, 1.0)
        return Learned((Epoch("head", 1, 1.0, before), Epoch("main", 1, 1.0, Validation(main, 1.0))), 1)

    (line,) = head_problem(learned(90.0, 80.0), 20)
    assert line.startswith("head epoch 1 was better (90.00 %) than what was kept (80.00 %)") and "--lr" in line
    assert head_problem(learned(85.0, 80.0), 20) == ()  # one image
    assert head_problem(learned(None, 80.0), 20) == head_problem(learned(70.0, 80.0), 20) == ()


def test_a_layer_without_an_active_unit_is_found() -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))
    model, images = MultiHeadModel(layers, "", torch.zeros(2, 1, 4, 4)), torch.randn(4, 1, 4, 4)
    model.add_head("new", 2)
    model.eval()
    assert silent_layers(model, lambda: model(images, ("new",))) == ()
    with torch.no_grad():
        model.network.get_submodule("0").bias.fill_(-100)
    assert silent_layers(model, lambda: model(images, ("new",))) == ("1",)
