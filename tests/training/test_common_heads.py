"""Learning a task with the head of another one, against loops that anybody could have written."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mascli.models.heads import MultiHeadModel
from mascli.observer import Observer
from mascli.training.batches import Batch
from mascli.training.distillation import Distillation
from mascli.training.loop import Learner
from mascli.training.penalty import make_penalty
from mascli.training.recipe import Recipe
from mascli.training.regularizer import Regularizer

RECIPE = Recipe(epochs=3, head_epochs=0, lr=0.05, head_lr=7.0, momentum=0.9, weight_decay=0.0)
STRENGTH = 0.4


def plain_network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 5), nn.Tanh(), nn.Linear(5, 3)).double()


def model() -> MultiHeadModel:
    """Of `plain_network`; `old` has its head, `new` uses it, and `other` has one of its own."""
    found = MultiHeadModel(plain_network(), "", torch.zeros(2, 1, 4, 4, dtype=torch.float64))
    found.import_head("old")
    found.add_head("other", 3).double()
    found.use_head("new", of="old")
    return found.eval()


def omegas(named: dict[str, nn.Parameter]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.rand(p.shape, generator=generator, dtype=torch.float64) for p in named.values()]


class Images:
    """Twelve images in three batches, always in the same order."""

    images = 12

    def __init__(self, *tasks: str) -> None:
        self.tasks, self.generator = tasks or ("new",), torch.Generator().manual_seed(1)
        self.pixels = torch.randn(12, 1, 4, 4, generator=self.generator, dtype=torch.float64)
        self.labels = torch.randint(3, (12,), generator=self.generator)

    def epoch(self, skip: int = 0, state: Tensor | None = None) -> Iterator[Batch]:
        for part in torch.arange(12).split(4)[skip:]:
            yield Batch(self.pixels[part], self.labels[part], part % len(self.tasks) if len(self.tasks) > 1 else None)


def learn(found: MultiHeadModel, recipe: Recipe, *regularizers: Regularizer, images: Images | None = None) -> None:
    Learner(found, images or Images(), recipe, regularizers, None, Observer()).learn()


def penalty(found: MultiHeadModel, recipe: Recipe, form: str, strength: float = STRENGTH) -> Regularizer:
    named = found.learning_parameters(("new",))
    assert list(named)[-2:] == ["mascli.head.old.weight", "mascli.head.old.bias"]
    anchors = [p.detach().clone() for p in named.values()]
    return make_penalty(form, recipe, list(named.values()), anchors, omegas(named), strength)


@pytest.mark.parametrize("form", ["loss", "decoupled"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_one_head_is_a_plain_loop_with_the_penalty_over_all_parameters(form: str, optimizer: str) -> None:
    recipe = replace(RECIPE, optimizer=optimizer, momentum=0.9 if optimizer == "sgd" else 0.0)
    found = model()
    learn(found, recipe, penalty(found, recipe, form))

    network, images = plain_network(), Images()
    parameters = list(network.parameters())
    anchors, importance = [p.detach().clone() for p in parameters], omegas(dict(network.named_parameters()))
    chosen: torch.optim.Optimizer = torch.optim.SGD(parameters, recipe.lr, momentum=0.9)
    if optimizer == "adamw":
        chosen = torch.optim.AdamW(parameters, recipe.lr, weight_decay=0.0)
    for _ in range(recipe.epochs):
        for batch in images.epoch():
            loss = F.cross_entropy(network(batch.images), batch.labels)
            if form == "loss":
                for p, anchor, omega in zip(parameters, anchors, importance, strict=True):
                    loss = loss + STRENGTH * (omega * (p - anchor).square()).sum()
            chosen.zero_grad()
            loss.backward()
            chosen.step()
            if form == "decoupled":
                implicit_step(chosen, parameters, anchors, importance, recipe)
    learned = [*found.network_parameters().values(), *found.head("old").parameters()]
    for ours, theirs, anchor in zip(learned, parameters, anchors, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)
        assert not torch.equal(theirs, anchor)


def implicit_step(
    optimizer: torch.optim.Optimizer,
    parameters: list[nn.Parameter],
    anchors: list[Tensor],
    importance: list[Tensor],
    recipe: Recipe,
) -> None:
    """theta <- (theta + x theta*) / (1 + x), x = 2 eta lambda Omega."""
    with torch.no_grad():
        for p, anchor, omega in zip(parameters, anchors, importance, strict=True):
            eta: Tensor | float = recipe.lr / (1 - recipe.momentum)
            if recipe.optimizer == "adamw":
                state = optimizer.state[p]
                eta = recipe.lr / ((state["exp_avg_sq"] / (1 - 0.999 ** float(state["step"]))).sqrt() + 1e-8)
            x = 2 * eta * STRENGTH * omega
            p.copy_((p + x * anchor) / (1 + x))


def test_without_a_penalty_it_is_plain_fine_tuning_bit_for_bit() -> None:
    found, network, images = model(), plain_network(), Images()
    learn(found, RECIPE)
    chosen = torch.optim.SGD(network.parameters(), RECIPE.lr, momentum=0.9)
    for _ in range(RECIPE.epochs):
        for batch in images.epoch():
            chosen.zero_grad()
            F.cross_entropy(network(batch.images), batch.labels).backward()
            chosen.step()
    for ours, theirs in zip(
        [*found.network_parameters().values(), *found.head("new").parameters()], network.parameters(), strict=True
    ):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("head_epochs", [0, 2])
def test_what_is_shared_and_not_trained_stays_bit_for_bit_and_the_head_with_it(head_epochs: int) -> None:
    found = model()
    before = {name: tensor.clone() for name, tensor in found.state_dict().items()}
    learn(found, replace(RECIPE, train_shared=False, head_epochs=head_epochs))
    assert all(torch.equal(tensor, before[name]) for name, tensor in found.state_dict().items())


def test_a_huge_lambda_holds_the_head_too() -> None:
    found = model()
    before = {name: tensor.clone() for name, tensor in found.state_dict().items()}
    learn(found, RECIPE, penalty(found, RECIPE, "decoupled", 1e30))
    assert all(torch.equal(tensor, before[name]) for name, tensor in found.state_dict().items())


@pytest.mark.parametrize("tasks", [("other",), ("other", "old")])
def test_the_common_head_learns_only_along_with_a_task_that_uses_it(tasks: tuple[str, ...]) -> None:
    found = model()
    before = {name: p.detach().clone() for name, p in found.shared_parameters().items()}
    distilled = Distillation(found, found.answering(("old", "new")), 1.0)
    learn(found, replace(RECIPE, weight_decay=0.1, head_lr=0.05), distilled, images=Images(*tasks))
    moved = {name for name, p in found.shared_parameters().items() if not torch.equal(p, before[name])}
    head = {"mascli.head.old.weight", "mascli.head.old.bias"}
    assert moved == before.keys() - (head if "old" not in tasks else set())


def test_distillation_compares_with_the_same_head_as_it_was_once() -> None:
    found, images = model(), Images()
    distilled = Distillation(found, found.answering(("old", "new")), 0.5, temperature=2.0)
    wanted = found(images.pixels, ("old",))[0].detach()
    learn(found, replace(RECIPE, epochs=1), distilled)
    with torch.no_grad():
        (outputs,) = found(images.pixels, ("new",))
    added = distilled.loss(images.pixels, {"old": outputs})
    old, new = (wanted / 2).softmax(1), (outputs / 2).softmax(1)
    expected = 0.5 * 4 * (old * (old / new).log()).sum() / 12
    assert added is not None and float(added) > 0
    assert math.isclose(float(added), float(expected.detach()), rel_tol=1e-9)
