"""Normalisation of each task's own: which layers that is, and that no task changes another's."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import timm
import torch
from cases import AfterTheClassifier
from judge import assert_exact, definition, estimated
from timm.layers import BatchNormAct2d, EvoNorm2dB0
from torch import Tensor, nn
from torchvision import models
from torchvision.ops import FrozenBatchNorm2d

from mascli.models.batchnorm import normalisation_tensors
from mascli.models.heads import MultiHeadModel
from mascli.models.small import ConvNet

AFFINE = {"weight", "bias"}
STATISTICS = {"running_mean", "running_var", "num_batches_tracked"}
LAYERS: dict[str, tuple[Callable[[], nn.Module], set[str]]] = {
    "batch norm of vectors": (lambda: nn.BatchNorm1d(4), AFFINE | STATISTICS),
    "batch norm of maps": (lambda: nn.BatchNorm2d(4), AFFINE | STATISTICS),
    "batch norm of volumes": (lambda: nn.BatchNorm3d(4), AFFINE | STATISTICS),
    "batch norm over processes": (lambda: nn.SyncBatchNorm(4), AFFINE | STATISTICS),
    "without scale and shift": (lambda: nn.BatchNorm2d(4, affine=False), STATISTICS),
    "statistics of the batch": (lambda: nn.BatchNorm2d(4, track_running_stats=False), set()),
    "timm's, with an activation that learns": (lambda: BatchNormAct2d(4, act_layer=nn.PReLU), AFFINE | STATISTICS),
    "variance only": (lambda: EvoNorm2dB0(4), {"weight", "bias", "v", "running_var"}),
    "frozen": (lambda: FrozenBatchNorm2d(4), AFFINE | STATISTICS - {"num_batches_tracked"}),
    "instance norm that tracks": (
        lambda: nn.InstanceNorm2d(4, affine=True, track_running_stats=True),
        AFFINE | STATISTICS,
    ),
    "instance norm": (lambda: nn.InstanceNorm2d(4, affine=True), set()),
    "layer norm": (lambda: nn.LayerNorm(4), set()),
    "group norm": (lambda: nn.GroupNorm(2, 4), set()),
    "spectral norm, whose buffers do not normalise activations": (
        lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4)),
        set(),
    ),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_which_tensors_of_a_layer_are_a_tasks_own(kind: str) -> None:
    make, expected = LAYERS[kind]
    found = normalisation_tensors(nn.Sequential(nn.Linear(3, 4), make(), nn.Linear(4, 2)))
    assert set(found) == {f"1.{name}" for name in expected}


def test_every_batch_norm_of_a_network_and_nothing_else() -> None:
    network = models.resnet18(weights=None)
    norms = [path for path, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)]
    assert set(normalisation_tensors(network)) == {f"{path}.{name}" for path in norms for name in AFFINE | STATISTICS}
    network = timm.create_model("efficientnet_lite0", pretrained=False)
    norms = [path for path, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)]
    assert set(normalisation_tensors(network)) == {f"{path}.{name}" for path in norms for name in AFFINE | STATISTICS}


def test_a_parameter_that_another_kind_of_layer_uses_stays_shared() -> None:
    network = nn.Sequential(nn.BatchNorm1d(4), nn.LayerNorm(4))
    network[1].weight = network[0].weight
    assert "0.weight" not in normalisation_tensors(network)
    assert {"0.bias", "0.running_mean"} <= set(normalisation_tensors(network))


IMAGES = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def two_tasks() -> MultiHeadModel:
    """A small network with batch norms that has learned a and, from there with norms of its own, b."""
    torch.manual_seed(0)
    model = MultiHeadModel(ConvNet(3, 2, width=4, depth=2, norm=True), "", IMAGES[:2])
    model.add_head("a", 2)
    assert model.own_normalisation() == 2 * 5
    model.add_head("b", 3)
    disturb(model)
    return model.eval()


def disturb(model: MultiHeadModel) -> None:
    """What learning does to the norms in use: other values, other statistics."""
    with torch.no_grad():
        for parameter in model.own_parameters().values():
            parameter.add_(torch.rand_like(parameter))
    model.train()
    model.network(IMAGES * 3 + 1) if not model.tasks else model(IMAGES * 3 + 1, model.tasks[-1:])
    model.eval()


def test_what_is_a_tasks_own_is_not_shared_any_more() -> None:
    model = MultiHeadModel(ConvNet(3, 2, width=4, depth=2, norm=True), "", IMAGES[:2])
    before = {*model.shared_parameters(), *model.shared_buffers()}
    assert any("norm" in name for name in before) and not model.own_parameters()
    model.own_normalisation()
    shared, buffers = model.shared_parameters(), model.shared_buffers()
    assert set(shared) == {name for name in before if "norm" not in name} and buffers == {}
    assert set(model.own_parameters()) == {f"features.norm{n}.{name}" for n in (1, 2) for name in AFFINE}
    assert {*shared, *model.own.names} == before
    assert model.own_normalisation() == 10  # asked for twice, it changes nothing


def test_old_answers_stay_bit_for_bit_when_a_new_task_learns_its_norms() -> None:
    torch.manual_seed(0)
    model = MultiHeadModel(ConvNet(3, 2, width=4, depth=2, norm=True), "", IMAGES[:2]).eval()
    model.add_head("a", 2)
    with torch.inference_mode():
        (before,) = model(IMAGES, ("a",))
    model.own_normalisation()
    model.add_head("b", 3)
    disturb(model)
    with torch.inference_mode():
        assert torch.equal(model(IMAGES, ("a",))[0], before)
        control = copy.deepcopy(model)
        control.own.begin(control.network, (), ())  # what the network holds, for all: b's norms
        assert not torch.allclose(control(IMAGES, ("a",))[0], before)


def test_a_new_task_starts_from_the_newest() -> None:
    model = two_tasks()
    own = {name: tensor.clone() for name, tensor in model.own_tensors()["b"].items()}
    model.use("a")
    model.add_head("c", 2)
    assert list(model.own.tasks) == ["a", "b", "c"]
    for task in ("b", "c"):
        assert all(torch.equal(tensor, own[name]) for name, tensor in model.own_tensors()[task].items())
    disturb(model)
    assert all(torch.equal(tensor, own[name]) for name, tensor in model.own_tensors()["b"].items())
    assert not torch.equal(model.own_tensors()["c"]["features.norm1.weight"], own["features.norm1.weight"])


@pytest.mark.parametrize("used", ["a", "b"])
def test_several_tasks_answer_each_by_its_own_norms(used: str) -> None:
    model = two_tasks()
    alone = []
    for task in ("a", "b"):
        model.use(task)
        alone.append(model(IMAGES, (task,))[0])
    model.use(used)
    assert all(torch.equal(x, y) for x, y in zip(model(IMAGES, ("a", "b")), alone, strict=True))
    b, a = model(IMAGES, ("b", "a"))
    assert torch.equal(a, alone[0]) and torch.equal(b, alone[1])


def test_train_mode_moves_the_norms_in_use_only() -> None:
    model = two_tasks().train()
    before = {task: {n: t.clone() for n, t in own.items()} for task, own in model.own_tensors().items()}
    modes = [module.training for module in model.modules()]
    answers, _ = model(IMAGES + 5, ("a", "b"))
    assert [module.training for module in model.modules()] == modes
    after = model.own_tensors()
    assert all(torch.equal(before["a"][name], tensor) for name, tensor in after["a"].items())
    assert not torch.equal(before["b"]["features.norm1.running_mean"], after["b"]["features.norm1.running_mean"])
    answers.sum().backward()  # a's norms are constants here, b's took no part
    assert all(parameter.grad is None for parameter in model.own_parameters().values())
    assert model.network.features.conv1.weight.grad is not None


def test_switching_there_and_back_changes_nothing() -> None:
    model = two_tasks()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for task in ("a", "b", "a", "b"):
        model.use(task)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_loading_brings_every_tasks_norms_and_the_newest_into_use() -> None:
    source = two_tasks()
    source.add_head("c", 2)  # equal to b: one pass for both
    target = MultiHeadModel(ConvNet(3, 2, width=4, depth=2, norm=True), "", IMAGES[:2]).eval()
    for task, classes in (("a", 2), ("b", 3), ("c", 2)):
        target.add_head(task, classes)
    target.load(source.shared_parameters(), source.shared_buffers(), source.head_tensors(), source.own_tensors())
    assert target.own.passes(("a", "b", "c")) == [("a",), ("b", "c")]
    assert len(target.network.state_dict()) == len(source.network.state_dict())
    for name, tensor in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], tensor), name
    for one, other in zip(source(IMAGES, source.tasks), target(IMAGES, source.tasks), strict=True):
        assert torch.equal(one, other)


def test_it_follows_the_model_to_another_precision() -> None:
    model = copy.deepcopy(two_tasks()).double()
    for answer, exact in zip(two_tasks()(IMAGES, ("a", "b")), model(IMAGES.double(), ("a", "b")), strict=True):
        assert exact.dtype == torch.float64
        torch.testing.assert_close(answer, exact.float(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("tasks", [("a",), ("b",), ("a", "b")])
def test_importance_is_that_of_each_tasks_own_answers(tasks: tuple[str, ...]) -> None:
    """The definition is computed from networks that hold one task's norms each, one image at a time."""
    model = two_tasks().double()
    images = IMAGES.double()
    found = estimated(model, images.split(2), tasks)
    networks = {task: copy.deepcopy(model) for task in tasks}
    for task, network in networks.items():
        network.use(task)
        assert network.own.passes((task,)) == [(task,)]
    expected: dict[str, Tensor] = {}
    for image in images.split(1):
        gradients: dict[str, Tensor] = {}
        for task, network in networks.items():
            shared = network.shared_parameters()
            value = network(image.repeat(2, 1, 1, 1), (task,))[0][0].square().sum()
            for name, gradient in zip(shared, torch.autograd.grad(value, list(shared.values())), strict=True):
                gradients[name] = gradients.get(name, torch.zeros_like(gradient)) + gradient
        for name, gradient in gradients.items():
            expected[name] = expected.get(name, torch.zeros_like(gradient)) + gradient.abs() / len(images)
    assert set(expected) == set(model.shared_parameters()) and not any("norm" in name for name in expected)
    assert_exact(found, expected)
    assert_exact(found, definition(model, images, tasks))
    assert not found.plan.fallback


def test_a_network_without_running_statistics_shares_all() -> None:
    model = MultiHeadModel(AfterTheClassifier(), "", torch.zeros(2, 3, 8, 8))
    names = set(model.shared_parameters())
    assert model.own_normalisation() == 0
    model.add_head("new", 2)
    assert set(model.shared_parameters()) == names and model.own_tensors() == {}
