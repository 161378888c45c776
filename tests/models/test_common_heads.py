"""One head for several tasks: the same answers, tensors that are there once, and who shares what."""

from __future__ import annotations

import copy

import pytest
import torch
from cases import AfterTheClassifier
from torch import nn

from mascli.models.heads import MultiHeadModel
from mascli.models.plain import plain_network

IMAGES = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def network(*, norm: bool = False) -> MultiHeadModel:
    torch.manual_seed(0)
    middle: list[nn.Module] = [nn.BatchNorm2d(4)] if norm else []
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), *middle, nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    model = MultiHeadModel(layers, "", IMAGES)
    model.import_head("base")
    model.add_head("birds", 2)
    return model.eval()


def test_a_task_that_uses_the_head_of_another_answers_as_that_one() -> None:
    model = network()
    model.use_head("dogs", of="birds")
    model.use_head("cats", of="dogs")
    birds, cats, base, dogs = model(IMAGES, ("birds", "cats", "base", "dogs"))
    assert torch.equal(birds, dogs) and torch.equal(birds, cats) and base.shape == (4, 3)
    assert model.head_owner("cats") == "birds" and model.head("cats") is model.head("birds")
    assert model.common_heads == ("birds",)
    assert set(model.head_tensors()) == {"base", "birds"}
    assert set(model.tasks) == {"base", "birds", "dogs", "cats"}
    assert model.answering(("base", "dogs", "birds", "cats")) == ("base", "dogs")


def test_an_imported_head_still_answers_through_the_rest_of_the_network() -> None:
    """A ReLU and pooling follow this classifier: they are part of the answer of whoever uses its head."""
    model = MultiHeadModel(AfterTheClassifier(), "", IMAGES)
    model.import_head("base")
    model.use_head("same", of="base")
    model.eval()
    (base,), (same,) = model(IMAGES, ("base",)), model(IMAGES, ("same",))
    assert torch.equal(base, same) and (base >= 0).all()
    assert model.is_imported("same")
    assert torch.equal(plain_network(model, "same")(IMAGES), base)


def test_the_tensors_of_a_head_are_shared_once_two_tasks_use_it() -> None:
    model = network()
    before = dict(model.shared_parameters())
    assert before.keys() == model.network_parameters().keys() == {"0.weight", "0.bias"}
    model.use_head("dogs", of="birds")
    heads = {"mascli.head.birds.weight", "mascli.head.birds.bias"}
    assert model.shared_parameters().keys() == before.keys() | heads
    assert model.shared_parameters()["mascli.head.birds.bias"] is model.head("birds").bias
    assert model.network_parameters().keys() == before.keys()
    assert model.learning_parameters(("base",)).keys() == before.keys()
    assert model.learning_parameters(("new", "dogs")).keys() == before.keys() | heads
    again = copy.deepcopy(model)
    assert again.shared_parameters().keys() == before.keys() | heads
    assert torch.equal(again(IMAGES, ("dogs",))[0], model(IMAGES, ("birds",))[0])


def test_a_head_that_is_counted_is_shared_for_the_time_being_only() -> None:
    model = network()
    model.count_heads(["base"])
    assert {"mascli.head.base.weight", "mascli.head.base.bias"} < model.shared_parameters().keys()
    assert model.common_heads == () and model.learning_parameters(("base",)).keys() == {"0.weight", "0.bias"}


def test_with_norms_of_its_own_a_task_answers_in_its_own_way_by_the_same_head() -> None:
    model = network(norm=True)
    model.own_normalisation()
    model.use_head("dogs", of="birds")
    (before,) = model(IMAGES, ("birds",))
    with torch.no_grad():
        model.own_parameters()["1.weight"].add_(1)  # of the newest task
    birds, dogs = model(IMAGES, ("birds", "dogs"))
    assert torch.equal(birds, before) and not torch.equal(birds, dogs)
    assert model.answering(("birds", "dogs")) == ("birds", "dogs")


@pytest.mark.parametrize("norm", [False, True])
def test_a_task_is_taken_over_with_the_head_it_uses(norm: bool) -> None:
    source, target = network(norm=norm), network(norm=norm)
    for model in (source, target):
        model.own_normalisation()
    source.use_head("dogs", of="birds")
    target.take_head("dogs", source)
    assert target.head("dogs") is target.head("birds") and target.common_heads == ("birds",)
    assert torch.equal(target(IMAGES, ("dogs",))[0], source(IMAGES, ("dogs",))[0])
