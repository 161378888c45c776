"""Distillation against closed forms on a tiny linear network."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mascli.models.heads import MultiHeadModel
from mascli.training.distillation import Distillation, divergence

IMAGES = torch.randn(5, 1, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def network(*, dropout: bool = False) -> MultiHeadModel:
    """Flatten, a linear trunk 4 -> 3 without bias, and linear heads."""
    torch.manual_seed(0)
    middle = [nn.Dropout(0.5)] if dropout else []
    layers = nn.Sequential(nn.Flatten(), nn.Linear(4, 3, bias=False), *middle, nn.Linear(3, 2, bias=False)).double()
    model = MultiHeadModel(layers, "", IMAGES)
    for task, classes in (("old", 4), ("older", 3), ("new", 2)):
        model.add_head(task, classes).double()
    return model.eval()


def moved(model: MultiHeadModel) -> MultiHeadModel:
    with torch.no_grad():
        for parameter in model.shared_parameters().values():
            parameter += torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)).double()
    return model


def by_hand(outputs: Tensor, wanted: Tensor, temperature: float) -> float:
    new, old = (outputs / temperature).softmax(1), (wanted / temperature).softmax(1)
    return float(temperature**2 * (old * (old / new).log()).sum() / len(outputs))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 7.0])
def test_gradients_are_those_of_the_closed_form(temperature: float) -> None:
    """By the outputs (T / N) (p_new - p_old), and from there by the linear layers' own rule."""
    weight, model = 0.3, network()
    distillation = Distillation(model, ("old",), weight, temperature)
    (wanted,) = model(IMAGES, ("old",))
    (outputs,) = moved(model)(IMAGES, ("old",))
    loss = distillation.loss(IMAGES)
    assert loss is not None and float(loss.detach()) == pytest.approx(
        weight * by_hand(outputs.detach(), wanted.detach(), temperature)
    )
    (trunk,), head = model.shared_parameters().values(), model.head("old").weight
    by_trunk, by_head = torch.autograd.grad(loss, [trunk, head])
    difference = (outputs / temperature).softmax(1) - (wanted / temperature).softmax(1)  # [N, classes]
    x = IMAGES.flatten(1)
    scale = weight * temperature / len(IMAGES)
    torch.testing.assert_close(by_trunk, scale * (difference @ head).T @ x)
    torch.testing.assert_close(by_head, scale * difference.T @ (x @ trunk.T))
    assert by_trunk.abs().max() > 1e-3


def test_the_cross_entropy_of_the_paper_has_this_gradient_divided_by_the_square_of_t() -> None:
    temperature = 2.0
    wanted = torch.randn(6, 4, dtype=torch.float64)
    outputs = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    (ours,) = torch.autograd.grad(divergence(outputs, wanted, temperature), outputs)
    sharp = wanted.softmax(1) ** (1 / temperature), outputs.softmax(1) ** (1 / temperature)
    old, new = (p / p.sum(1, keepdim=True) for p in sharp)
    (theirs,) = torch.autograd.grad(-(old * new.log()).sum(1).mean(), outputs)
    torch.testing.assert_close(ours, temperature**2 * theirs)


def test_a_model_that_has_not_changed_has_no_loss_and_no_gradient() -> None:
    model = network()
    loss = Distillation(model, ("old", "older"), 1.0).loss(IMAGES)
    assert loss is not None and float(loss.detach()) == pytest.approx(0, abs=1e-15)
    (gradient,) = torch.autograd.grad(loss, list(model.shared_parameters().values()))
    assert gradient.abs().max() < 1e-15


def test_old_tasks_add_up_and_without_any_there_is_nothing() -> None:
    model = network()
    each = [Distillation(model, tasks, 2.0) for tasks in (("old",), ("older",), ("older", "old"))]
    moved(model)
    one, other, both = (float(loss.detach()) for d in each if (loss := d.loss(IMAGES)) is not None)
    assert both == pytest.approx(one + other) and min(one, other) > 0
    assert Distillation(model, (), 2.0).loss(IMAGES) is None


def test_outputs_that_are_there_already_are_used_and_the_model_runs_no_more() -> None:
    model = network()
    distillation = Distillation(model, ("old",), 1.0)
    moved(model)
    outputs = dict(zip(("new", "old"), model(IMAGES, ("new", "old")), strict=True))
    expected = distillation.loss(IMAGES)
    runs: list[object] = []
    handle = model.register_forward_hook(lambda *_: runs.append(None))
    loss = distillation.loss(IMAGES, outputs)
    handle.remove()
    assert loss is not None and expected is not None and torch.equal(loss, expected) and not runs


def test_the_teacher_is_a_copy_in_eval_mode_that_neither_learns_nor_follows() -> None:
    model = network(dropout=True).train()
    distillation = Distillation(model, ("old",), 1.0)
    assert model.training and all(p.requires_grad for p in model.parameters())
    before = {name: tensor.clone() for name, tensor in distillation.teacher.state_dict().items()}
    optimizer = torch.optim.SGD(model.shared_parameters().values(), lr=1.0)
    for _ in range(3):
        loss = distillation.loss(IMAGES)
        assert loss is not None
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert not any(module.training for module in distillation.teacher.modules())
    assert all(parameter.grad is None for parameter in distillation.teacher.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in distillation.teacher.state_dict().items())
    assert not torch.equal(model.network.get_submodule("1").weight, before["network.1.weight"])
    assert distillation.state() == {}


def test_distilling_brings_the_old_answers_back() -> None:
    model = network()
    distillation = Distillation(model, ("old", "older"), 1.0)
    moved(model)
    optimizer = torch.optim.SGD(model.shared_parameters().values(), lr=0.5)
    losses = []
    for _ in range(300):
        loss = distillation.loss(IMAGES)
        assert loss is not None
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.01 * losses[0]


def test_extreme_outputs_stay_finite_and_a_common_shift_does_not_count() -> None:
    wanted = torch.tensor([[1e4, -1e4, 0.0]])
    outputs = torch.tensor([[-1e4, 1e4, 0.0]], requires_grad=True)
    loss = divergence(outputs, wanted, 2.0)
    loss.backward()
    assert loss.isfinite() and outputs.grad is not None and outputs.grad.isfinite().all()
    assert float(divergence(wanted + 3, wanted, 2.0)) == pytest.approx(0, abs=1e-3)
    assert float(divergence(torch.randn(3, 1), torch.randn(3, 1), 2.0)) == 0  # one class: always sure
