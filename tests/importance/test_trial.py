"""The trial: what disagrees with the definition on three images is not believed, wherever it hides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from cases import NETWORKS
from judge import assert_exact, definition, estimated, images, wrapped
from odd_networks import network, rows, weights
from odd_structures import STRUCTURE
from torch import Tensor, nn

from mascli.errors import UnsupportedModelError
from mascli.importance.images import Images
from mascli.importance.objective import Measure
from mascli.importance.plan import Plan
from mascli.importance.reduction import Pointwise
from mascli.importance.rules import ANY_OPERATION, RULES
from mascli.importance.trial import TRIAL_IMAGES, refuse_mixed_images, shaken, trial_images, tried_plan
from mascli.models.heads import MultiHeadModel


def tried(model: MultiHeadModel, batch: Tensor) -> Plan:
    return tried_plan(model, Images(batch), ("base",), Measure())


def off_by(rule: Any, factor: float) -> Any:
    """A rule whose results are `factor` too large."""

    class Wrong(type(rule)):  # type: ignore[misc]
        def see(self, visit: Any) -> Any:
            part = super().see(visit)
            own_sum, own_part = part.sum_over_images, part.per_image

            def total(pointwise: Pointwise) -> dict[int, Tensor]:
                return {slot: factor * value for slot, value in own_sum(pointwise).items()}

            part.sum_over_images = total
            part.per_image = lambda images: {slot: factor * value for slot, value in own_part(images).items()}
            return part

    return Wrong()


EVERY: dict[str, Callable[[], nn.Module]] = {
    "AddmmBackward0": NETWORKS["linear on vectors"],
    "MmBackward0": NETWORKS["linear on vectors"],
    "ConvolutionBackward0": NETWORKS["conv"],
    "NativeBatchNormBackward0": NETWORKS["batch norm"],
    "NativeLayerNormBackward0": NETWORKS["bare parameter"],
    "NativeGroupNormBackward0": NETWORKS["group norm"],
    "AddBackward0": NETWORKS["bare parameter"],
    "MulBackward0": network(
        lambda net, x: (net.row(rows(x)) * net.gain).mean(1), row=lambda: nn.Linear(24, 6), gain=weights(6)
    ),
    "ExpandBackward0": STRUCTURE["class token"],
}


def test_there_is_a_network_for_every_rule() -> None:
    assert set(EVERY) == set(RULES)


@pytest.mark.parametrize("factor", [1.1, 0.9, -1.1, 1.03, 0.0, torch.nan])
@pytest.mark.parametrize("operation", EVERY)
def test_a_rule_that_is_off_is_found_out(operation: str, factor: float, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model, batch = wrapped(EVERY[operation]()), images(5)
    before = tried(model, batch)
    uses = {use.node for use in before.uses.values() if before.structure[use.node][0] == operation}
    assert uses and not before.fallback
    monkeypatch.setitem(RULES, operation, off_by(RULES[operation], factor))
    plan = tried(model, batch)
    assert not plan.fallback
    assert all(plan.uses[node].rule is ANY_OPERATION for node in uses)
    assert_exact(estimated(model, batch.split(3)), definition(model, batch))


def test_a_wrong_layout_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the first layout that fits believed without looking at gradients, the trial would still notice."""
    monkeypatch.setattr("mascli.importance.trial.agrees", lambda layout, gradients: True)
    torch.manual_seed(0)
    model, batch = wrapped(STRUCTURE["halves first"]()), images(5)
    estimate = estimated(model, batch.split(3))
    assert estimate.plan.fallback
    assert_exact(estimate, definition(model, batch))


class SmallBranch(nn.Module):
    """A branch that hardly counts, as fresh networks with a layer scale have it."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.first, self.branch, self.scale = nn.Linear(192, 6), nn.Linear(6, 6), scale
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x.flatten(1)).tanh()
        return self.head(x + self.scale * self.branch(x).sin())


@pytest.mark.parametrize(
    "scale",
    [
        1.0,
        1e-3,
        1e-7,
    ],
)
def test_a_rule_that_is_off_where_importance_is_small_is_found_out(
    scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model, batch = wrapped(SmallBranch(scale)), images(5)
    branch = model.shared_parameters()["branch.weight"]
    rule = RULES["AddmmBackward0"]

    class WrongThere(type(rule)):  # type: ignore[misc]
        def see(self, visit: Any) -> Any:
            node = visit.node.next_functions[2][0]
            there = getattr(node.next_functions[0][0], "variable", None) is branch
            return off_by(rule, 1.1 if there else 1.0).see(visit)

    monkeypatch.setitem(RULES, "AddmmBackward0", WrongThere())
    estimate = estimated(model, [batch])
    expected = definition(model, batch)["branch.weight"]
    assert float((estimate.omega["branch.weight"] - expected).abs().max()) <= 1e-10 * float(expected.max())


class Gated(nn.Module):
    """A branch that is multiplied with zero, as in a fresh residual network."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.branch = nn.Linear(192, 6), nn.Linear(6, 6)
        self.gate = nn.Parameter(torch.zeros(6))
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.trunk(x.flatten(1)).tanh()
        return self.head(x + self.gate * self.branch(x))


def test_gradients_that_vanish_are_tried_with_moved_parameters_which_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model, batch = wrapped(Gated()), images(5)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert tried(model, batch).counts() == {"linear": 4, "multiplication": 1}
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    expected = definition(model, batch)
    assert not expected["branch.weight"].any()
    estimate = estimated(model, batch.split(3))
    assert_exact(estimate, expected)
    assert "branch.weight" not in estimate.plan.unused


def test_shaken_moves_every_parameter_and_puts_it_back_also_after_an_error() -> None:
    parameters = [torch.zeros(3), torch.ones(()), torch.randn(4, 4), torch.zeros(0)]
    before = [parameter.clone() for parameter in parameters]
    moved: list[bool] = []
    with pytest.raises(KeyError), shaken(parameters):  # noqa: PT012
        moved += [bool((p != b).all()) for p, b in zip(parameters, before, strict=True)]
        raise KeyError
    assert all(moved)
    assert all(torch.equal(p, b) for p, b in zip(parameters, before, strict=True))


def test_trial_images_are_two_real_ones_and_noise() -> None:
    batch, given = images(5), torch.arange(5)
    found = trial_images(Images(batch, given))
    assert len(found) == TRIAL_IMAGES == 3
    assert torch.equal(found.pixels[:2], batch[:2])
    assert found.pixels[2].std() > 0.5 and found.pixels.dtype == batch.dtype
    assert found.given is not None and found.given.tolist() == [0, 1, 0]
    again = trial_images(Images(batch, given))
    assert torch.equal(found.pixels, again.pixels)
    assert len(trial_images(Images(batch[:1]))) == 3


@pytest.mark.parametrize("name", ["lone image", "blank images", "the same image twice"])
def test_few_or_dull_first_images_do_not_mislead(name: str) -> None:
    torch.manual_seed(0)
    first = {
        "lone image": images(1),
        "blank images": torch.zeros(2, 3, 8, 8).double(),
        "the same image twice": images(1).repeat(2, 1, 1, 1),
    }[name]
    for network_name in ("halves first", "images between others", "time first", "windows"):
        model = wrapped(STRUCTURE[network_name]())
        batches = [first, images(4)]
        estimate = estimated(model, batches)
        assert not estimate.plan.fallback
        assert_exact(estimate, definition(model, torch.cat(batches)))


class Answering(nn.Module):
    """A trunk, and an answer by a function."""

    def __init__(self, answer: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.body, self.head, self.answer = nn.Linear(192, 6), nn.Linear(6, 4), answer

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.answer(self.body(x.flatten(1))))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x: x - x.mean(0), "depends on the other images"),
        (lambda x: x / x.norm(), "depends on the other images"),
        (lambda x: x + 0.1 * x.roll(1, 0), "depends on the other images"),
        (lambda x: nn.functional.dropout(x, 0.5), "random, also in eval mode"),
        (lambda x: x + torch.rand_like(x), "random, also in eval mode"),
    ],
)
def test_images_without_an_answer_of_their_own_are_refused(answer: Callable[[Tensor], Tensor], message: str) -> None:
    torch.manual_seed(0)
    model = wrapped(Answering(answer))
    with pytest.raises(UnsupportedModelError, match=message) as caught:
        refuse_mixed_images(model, trial_images(Images(images(3))), ("base",))
    assert "\n" not in str(caught.value)
