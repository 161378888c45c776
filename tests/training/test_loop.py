"""Learning one task: what moves, what stays, which epoch is kept, and what is noticed."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pytest
import torch
from torch import Tensor, nn

from mascli.errors import NumericsError
from mascli.models.heads import MultiHeadModel
from mascli.observer import Observer
from mascli.training.diagnosis import learning_problems, silent_layers
from mascli.training.loop import Recipe, learn
from mascli.training.penalty import DecoupledPenalty

RECIPE = Recipe(epochs=2, head_epochs=1, lr=0.1, head_lr=0.1, momentum=0.9, weight_decay=0.0)


def network(*, norm: bool = False) -> MultiHeadModel:
    torch.manual_seed(0)
    middle = [nn.BatchNorm2d(4)] if norm else []
    layers = nn.Sequential(nn.Conv2d(1, 4, 3), *middle, nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))
    model = MultiHeadModel(layers, "", torch.zeros(2, 1, 4, 4))
    model.import_head("old")
    model.add_head("new", 2)
    return model.eval()


def batches() -> Iterable[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        labels = torch.randint(2, (6,), generator=generator)
        yield torch.randn(6, 1, 4, 4, generator=generator) + labels[:, None, None, None], labels


def run(model: MultiHeadModel, recipe: Recipe = RECIPE, penalty=None, validate=None):  # type: ignore[no-untyped-def]
    return learn(model, "new", batches, 18, recipe, penalty, validate, Observer())


def state(model: MultiHeadModel) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def moved(model: MultiHeadModel, before: dict[str, Tensor]) -> set[str]:
    return {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}


@pytest.mark.parametrize("train_batchnorm", [False, True])
def test_old_heads_stay_and_the_rest_moves(train_batchnorm: bool) -> None:
    model = network(norm=True)
    before = state(model)
    run(model, Recipe(**{**vars(RECIPE), "train_batchnorm": train_batchnorm}))
    changed = moved(model, before)
    statistics = {name for name in before if "running" in name or "num_batches" in name}
    assert not any("task-old" in name for name in changed)
    assert {name for name in before if "task-new" in name} <= changed
    assert {"network.0.weight", "network.1.weight", "network.1.bias"} <= changed
    assert (statistics <= changed) if train_batchnorm else not (statistics & changed)


def test_the_head_phase_moves_the_head_alone() -> None:
    model = network(norm=True)
    before = state(model)
    run(model, Recipe(**{**vars(RECIPE), "epochs": 0, "head_epochs": 2}))
    assert moved(model, before) == {name for name in before if "task-new" in name}
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_shared_parameters_that_are_not_trained_stay_to_the_bit() -> None:
    model = network(norm=True)
    before = state(model)
    run(model, Recipe(**{**vars(RECIPE), "train_shared": False}))
    assert moved(model, before) == {name for name in before if "task-new" in name}


def test_an_endless_penalty_holds_every_parameter_and_no_penalty_is_bit_for_bit_plain() -> None:
    plain, held = network(), network()
    start = state(held)
    shared = list(held.shared_parameters().values())
    anchors = [p.detach().clone() for p in shared]
    ones = [torch.ones_like(p) for p in shared]
    run(plain)
    run(held, penalty=DecoupledPenalty(shared, anchors, ones, 1e30, eta=1.0))
    assert moved(held, start) == {name for name in start if "task-new" in name}
    zero = network()
    shared = list(zero.shared_parameters().values())
    anchors = [p.detach().clone() for p in shared]
    run(zero, penalty=DecoupledPenalty(shared, anchors, ones, 0.0, eta=1.0))
    assert not moved(zero, state(plain))


@pytest.mark.parametrize(("accuracies", "best"), [([50, 90, 70], 2), ([90, 90, 50], 1), ([0, 0, 0], 1)])
def test_the_best_epoch_is_kept_and_the_earlier_of_equals(accuracies: list[float], best: int) -> None:
    model, seen, results = network(), [], iter(accuracies)

    def validate() -> float:
        seen.append(state(model))
        return next(results)

    epochs, kept = run(model, Recipe(**{**vars(RECIPE), "epochs": 3, "head_epochs": 0}), validate=validate)
    assert kept == best and [e.val_accuracy for e in epochs] == accuracies
    assert not moved(model, seen[best - 1])
    assert moved(model, seen[best % 3])  # negative control: other epochs differ


def test_without_validation_the_last_epoch_is_kept() -> None:
    epochs, kept = run(network())
    assert kept == 2 and [(e.phase, e.epoch) for e in epochs] == [("head", 1), ("main", 1), ("main", 2)]


def test_a_loss_that_is_not_finite_stops_the_run() -> None:
    model = network()
    with pytest.raises(NumericsError, match=r"not finite in main epoch 1.*lower --lr"):
        run(model, Recipe(**{**vars(RECIPE), "lr": 1e30}))


def test_failed_learning_is_named() -> None:
    assert learning_problems(0.2, 2, (), held=0.9, lowest_accuracy=None) == ()
    (line,) = learning_problems(0.9 * math.log(2), 2, (), held=0.9, lowest_accuracy=50.0)
    assert "not learned" in line and "--lambda" in line
    (line,) = learning_problems(0.9 * math.log(2), 2, (), held=0.1, lowest_accuracy=None)
    assert "not learned" in line and "--lambda" not in line
    assert learning_problems(0.9 * math.log(2), 2, (), held=0.9, lowest_accuracy=60.0) == ()
    (line,) = learning_problems(0.1, 2, ("features.relu",), held=0.0, lowest_accuracy=99.0)
    assert "features.relu" in line and "--lambda" not in line


def test_a_layer_without_an_active_unit_is_found() -> None:
    model = network()
    images = torch.randn(4, 1, 4, 4)
    assert silent_layers(model, lambda: model(images, ("new",))) == ()
    with torch.no_grad():
        model.network.get_submodule("0").bias.fill_(-100)
    assert silent_layers(model, lambda: model(images, ("new",))) == ("1",)
