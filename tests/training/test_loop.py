"""Learning one task: what moves, what stays, which epoch is kept, and what is noticed."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mascli.errors import NumericsError
from mascli.models.heads import MultiHeadModel
from mascli.observer import Observer
from mascli.training.batches import Batch
from mascli.training.history import Learned, Validation
from mascli.training.loop import Learner, tasks_loss
from mascli.training.penalty import make_penalty
from mascli.training.recipe import Recipe
from mascli.training.regularizer import Regularizer
from mascli.training.state import TrainingState, copies

RECIPE = Recipe(epochs=2, head_epochs=1, lr=0.1, head_lr=0.1, momentum=0.9, weight_decay=0.0)


def network(*, norm: bool = False, dropout: bool = False) -> MultiHeadModel:
    torch.manual_seed(0)
    middle: list[nn.Module] = [nn.BatchNorm2d(4)] if norm else []
    middle += [nn.Dropout(0.2)] if dropout else []
    layers = nn.Sequential(nn.Conv2d(1, 4, 3), *middle, nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))
    model = MultiHeadModel(layers, "", torch.zeros(2, 1, 4, 4))
    model.import_head("old")
    model.add_head("new", 2)
    return model.eval()


class Images:
    """Three batches of six images in a new order each epoch, of one or two tasks, a little noise added to each."""

    images = 18

    def __init__(self, tasks: tuple[str, ...] = ("new",)) -> None:
        self.tasks, self.generator = tasks, torch.Generator().manual_seed(1)
        drawn = torch.Generator().manual_seed(2)
        self._labels = torch.randint(2, (18,), generator=drawn)
        self._pixels = torch.randn(18, 1, 4, 4, generator=drawn) + self._labels[:, None, None, None]

    def epoch(self, skip: int = 0, state: Tensor | None = None) -> Iterator[Batch]:
        order = torch.randperm(18, generator=self.generator)
        if state is not None:
            self.generator.set_state(state)
        return self._batches(order.split(6)[skip:])

    def _batches(self, parts: Sequence[Tensor]) -> Iterator[Batch]:
        for part in parts:
            noise = 0.01 * torch.randn(len(part), 1, 4, 4, generator=self.generator)
            owners = None if len(self.tasks) == 1 else part % 2
            yield Batch(self._pixels[part] + noise, self._labels[part], owners)


def learner(model: MultiHeadModel, recipe: Recipe = RECIPE, regularizers=(), validate=None, **more: Any) -> Learner:  # type: ignore[no-untyped-def]
    images = more.pop("images", None) or Images()
    return Learner(model, images, recipe, regularizers, validate, Observer(), **more)


def run(model: MultiHeadModel, recipe: Recipe = RECIPE, regularizers=(), validate=None, **more: Any) -> Learned:  # type: ignore[no-untyped-def]
    return learner(model, recipe, regularizers, validate, **more).learn()


def penalty(model: MultiHeadModel, strength: float, form: str = "decoupled", recipe: Recipe = RECIPE) -> Regularizer:
    shared = list(model.shared_parameters().values())
    anchors = [p.detach().clone() for p in shared]
    return make_penalty(form, recipe, shared, anchors, [torch.ones_like(p) for p in anchors], strength)


def state(model: MultiHeadModel) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def moved(model: MultiHeadModel, before: dict[str, Tensor]) -> set[str]:
    return {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}


@pytest.mark.parametrize("train_batchnorm", [False, True])
def test_old_heads_stay_and_the_rest_moves(train_batchnorm: bool) -> None:
    model = network(norm=True)
    before = state(model)
    run(model, replace(RECIPE, train_batchnorm=train_batchnorm))
    changed = moved(model, before)
    statistics = {name for name in before if "running" in name or "num_batches" in name}
    assert not any("task-old" in name for name in changed)
    assert {name for name in before if "task-new" in name} <= changed
    assert {"network.0.weight", "network.1.weight", "network.1.bias"} <= changed
    assert (statistics <= changed) if train_batchnorm else not (statistics & changed)


def test_the_head_phase_moves_the_head_alone() -> None:
    model = network(norm=True)
    before = state(model)
    run(model, replace(RECIPE, epochs=0, head_epochs=2))
    assert moved(model, before) == {name for name in before if "task-new" in name}
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_shared_parameters_that_are_not_trained_stay_to_the_bit() -> None:
    model = network(norm=True)
    before = state(model)
    run(model, replace(RECIPE, train_shared=False))
    assert moved(model, before) == {name for name in before if "task-new" in name}


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("form", ["decoupled", "loss"])
def test_lambda_zero_is_bit_for_bit_plain_and_the_largest_holds_everything(form: str, optimizer: str) -> None:
    recipe = replace(RECIPE, optimizer=optimizer)
    plain, zero = network(), network()
    run(plain, recipe)
    run(zero, recipe, [penalty(zero, 0.0, form, recipe)])
    assert not moved(zero, state(plain))
    if form == "decoupled":
        held = network()
        start = state(held)
        run(held, recipe, [penalty(held, 1e38, form, recipe)])
        assert moved(held, start) == {name for name in start if "task-new" in name}


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("exponent", range(-6, 13, 2))
def test_everything_stays_finite_at_any_lambda(exponent: int, optimizer: str) -> None:
    model, recipe = network(), replace(RECIPE, optimizer=optimizer, schedule="cosine", clip_norm=1.0)
    run(model, recipe, [penalty(model, 10.0**exponent, "decoupled", recipe)])
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())


def test_the_order_within_a_step() -> None:
    seen: list[str] = []

    class Watching(Regularizer):
        tasks = ("old",)

        def __init__(self, name: str, model: MultiHeadModel) -> None:
            self.name, self.weight = name, model.get_parameter("network.0.weight")

        def look(self, what: str) -> None:
            norm = 0.0 if self.weight.grad is None else float(self.weight.grad.norm())
            seen.append(f"{self.name} {what}")
            if what == "after_backward":
                assert norm > 1e-3
            if what == "before_step":
                assert norm <= 1e-3 * 1.01

        def new_epoch(self, optimizer: torch.optim.Optimizer) -> None:
            seen.append(f"{self.name} new_epoch")

        def loss(self, images: Tensor, outputs: Mapping[str, Tensor] | None = None) -> Tensor | None:
            assert outputs is not None and outputs["old"].shape == (len(images), 3)
            seen.append(f"{self.name} loss")
            return None

        def after_backward(self) -> None:
            self.look("after_backward")

        def before_step(self) -> None:
            self.look("before_step")

        def after_step(self) -> None:
            self.look("after_step")

    model = network()
    run(model, replace(RECIPE, epochs=1, clip_norm=1e-3), [Watching("a", model), Watching("b", model)])
    step = [f"{name} {what}" for what in ("loss", "after_backward", "before_step") for name in "ab"]
    assert seen == ["a new_epoch", "b new_epoch", *(3 * [*step, "b after_step", "a after_step"])]  # and no head epoch


def test_what_a_regularizer_adds_to_the_loss_counts() -> None:
    class Shrinking(Regularizer):
        def __init__(self, weight: Tensor) -> None:
            self.weight = weight

        def loss(self, images: Tensor, outputs: Mapping[str, Tensor] | None = None) -> Tensor | None:
            return self.weight.square().sum().mul(10)

    plain, shrunk, recipe = network(), network(), replace(RECIPE, lr=0.01)
    run(plain, recipe)
    run(shrunk, recipe, [Shrinking(shrunk.get_parameter("network.0.weight"))])
    norms = [float(model.get_parameter("network.0.weight").detach().norm()) for model in (plain, shrunk)]
    assert norms[1] < 0.8 * norms[0]


def test_images_of_two_tasks_each_teach_their_own_head() -> None:
    model = network()
    before = state(model)
    run(model, images=Images(("new", "old")))
    changed = moved(model, before)
    assert {name for name in before if "task-" in name} <= changed
    outputs = {"new": torch.randn(4, 2), "old": torch.randn(4, 3)}
    labels, owners = torch.tensor([0, 1, 2, 0]), torch.tensor([0, 0, 1, 1])
    got = tasks_loss(outputs, ("new", "old"), Batch(torch.zeros(4, 1, 4, 4), labels, owners))
    each = [
        nn.functional.cross_entropy(outputs[t][n : n + 1], labels[n : n + 1])
        for n, t in enumerate(["new"] * 2 + ["old"] * 2)
    ]
    torch.testing.assert_close(got, torch.stack(each).mean())


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_state_of_any_step_goes_on_to_the_same_bits(optimizer: str) -> None:
    recipe = replace(RECIPE, optimizer=optimizer, schedule="cosine")
    accuracies = {1: 50.0, 2: 90.0, 3: 60.0}

    def made(after_step: Any = lambda learner: None) -> tuple[MultiHeadModel, Learner]:
        model = network(norm=True, dropout=True)
        torch.manual_seed(7)
        calls = iter(range(100))
        made: list[Learner] = []

        def validate() -> Validation:
            next(calls)
            at = made[0].position
            return Validation(accuracies[at.epoch] if at.phase == "main" else 10.0, 1.0)

        made.append(
            learner(
                model,
                replace(recipe, epochs=3),
                [penalty(model, 1.0, "decoupled", recipe)],
                validate,
                after_step=after_step,
            )
        )
        return model, made[0]

    states: list[TrainingState] = []
    whole, first = made(lambda one: states.append(TrainingState(copies(one.state().tensors), one.state().facts)))
    learned = first.learn()
    assert learned.best_epoch == 2 and len(states) == 12
    for number, saved in enumerate(states):
        facts = json.loads(json.dumps(saved.facts))
        model, again = made()
        torch.manual_seed(99)  # negative control: whatever the generators were, they are put back
        again.load_state(TrainingState(saved.tensors, facts))
        assert again.learn() == learned, number
        assert not moved(model, state(whole)), number


@pytest.mark.parametrize(
    ("accuracies", "losses", "best"),
    [
        ([50, 90, 70], [3, 2, 1], 2),
        ([90, 90, 50], [1, 1, 0], 1),
        ([90, 90, 50], [2, 1, 0], 2),
        ([0, 0, 0], [1, 1, 1], 1),
        ([90, 90, 90], [1, math.nan, 2], 1),
    ],
)
def test_the_best_epoch_is_kept_and_of_equals_that_with_the_lower_loss(
    accuracies: list[float], losses: list[float], best: int
) -> None:
    model, seen, results = network(), [], map(Validation, accuracies, losses)

    def validate() -> Validation:
        seen.append(state(model))
        return next(results)

    learned = run(model, replace(RECIPE, epochs=3, head_epochs=0), validate=validate)
    assert learned.best_epoch == best and [e.val_accuracy for e in learned.epochs] == accuracies
    assert not moved(model, seen[best - 1])
    assert moved(model, seen[best % 3])  # negative control: other epochs differ


def test_without_validation_the_last_epoch_is_kept() -> None:
    learned = run(network())
    assert learned.best_epoch == 2
    assert [(e.phase, e.epoch) for e in learned.epochs] == [("head", 1), ("main", 1), ("main", 2)]


def test_a_loss_that_is_not_finite_stops_the_run() -> None:
    model = network()
    with pytest.raises(NumericsError, match=r"not finite in main epoch 1.*lower --lr"):
        run(model, replace(RECIPE, lr=1e30))


@pytest.mark.parametrize("phase", ["head", "main"])
def test_the_loss_of_an_epoch_is_that_of_the_new_task_alone(phase: str) -> None:
    """Nothing moves at a rate of 0, so that the loss can be worked out afterwards."""
    model, images = network(), Images(("new", "old"))
    recipe = replace(RECIPE, lr=0.0, head_lr=0.0, epochs=1, head_epochs=1)
    own, mixed = [], []
    for batch in Images(("new", "old")).epoch():
        outputs = dict(zip(("new", "old"), model(batch.images, ("new", "old")), strict=True))
        is_new = batch.owners == 0
        own.append(F.cross_entropy(outputs["new"][is_new], batch.labels[is_new], reduction="sum").item())
        mixed.append(tasks_loss(outputs, ("new", "old"), batch).item() * len(batch.labels))
    learned = run(model, recipe, images=images)
    (found,) = [epoch.loss for epoch in learned.epochs if epoch.phase == phase]
    assert found == pytest.approx(sum(own) / 9, rel=0.02)  # noise differs a little from epoch to epoch
    assert abs(sum(mixed) / 18 - found) > 0.1  # and the mixed loss is another


def test_an_old_task_whose_loss_is_not_finite_is_noticed_too() -> None:
    model = network()
    with torch.no_grad():
        next(model.head("old").parameters()).fill_(math.inf)
    with pytest.raises(NumericsError, match="loss is not finite in main epoch 1"):
        run(model, replace(RECIPE, head_epochs=0), images=Images(("new", "old")))


def test_where_nothing_learns_the_model_is_validated_once_and_left_as_it_is() -> None:
    model = network(norm=True)
    model.use_head("again", of="old")
    before = state(model)
    asked: list[int] = []

    def validate() -> Validation:
        asked.append(1)
        return Validation(60.0, 0.5)

    recipe = replace(RECIPE, train_shared=False)
    learned = run(model, recipe, validate=validate, images=Images(("again",)))
    assert moved(model, before) == set() and len(asked) == 1
    assert learned.best_epoch == 0 and learned.kept is not None and learned.kept.val_accuracy == 60.0
    assert math.isnan(learned.kept.loss)
    learned = run(model, replace(recipe, train_batchnorm=True), images=Images(("again",)))
    assert [epoch.epoch for epoch in learned.epochs if epoch.phase == "main"] == [1, 2]


class Away(Regularizer):
    """Adds a loss that pulls every shared parameter away."""

    def __init__(self, model: MultiHeadModel) -> None:
        self.model = model

    def loss(self, images: Tensor, outputs: Mapping[str, Tensor] | None = None) -> Tensor:
        return sum((p.sum() for p in self.model.shared_parameters().values()), images.new_zeros(()))


class Watching(Regularizer):
    """Keeps the gradients that it sees in each step."""

    watches_task = True

    def __init__(self, model: MultiHeadModel) -> None:
        self.parameters, self.seen = model.shared_parameters(), list[dict[str, Tensor]]()

    def after_backward(self) -> None:
        self.seen.append({name: p.grad.clone() for name, p in self.parameters.items() if p.grad is not None})


def test_what_watches_the_task_sees_its_gradient_without_what_others_add() -> None:
    seen, ends = [], []
    for away in (False, True):
        model = network()
        watching = Watching(model)
        run(model, replace(RECIPE, head_epochs=0), [watching, *([Away(model)] if away else [])])
        seen.append(watching.seen)
        ends.append(state(model))
    assert seen[0][0] and all(torch.equal(g, seen[1][0][name]) for name, g in seen[0][0].items())
    assert not torch.equal(ends[0]["network.0.weight"], ends[1]["network.0.weight"])  # yet it acts
