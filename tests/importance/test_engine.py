"""Importance by rules is importance by the definition: one image, one backward pass, abs, add."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from cases import NETWORKS, Chunked, FrozenTrunk, OverwrittenLater, Routed, TimeFirst
from hypothesis import given, settings
from hypothesis import strategies as st
from judge import EXACT, assert_exact, definition, errors, estimated, images, relative_l1, wrapped
from odd_functions import FUNCTIONS
from odd_layers import LAYERS
from odd_networks import ROW, network, quantised, rows, weights
from odd_structures import STRUCTURE
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mascli.errors import DataError, NumericsError, UnsupportedModelError
from mascli.importance.objective import Measure
from mascli.models.heads import MultiHeadModel

pytestmark = [
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel"),
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN"),
]

ALL = NETWORKS | FUNCTIONS | STRUCTURE | LAYERS

# What goes one image at a time, and the reason that the plan gives. `docs/rules.md` lists the same.
FALLING_BACK = {
    "one parameter in two inputs": "the rules do not give the reference's gradient here",
    "custom function of two outputs": "SumAndProductBackward has several outputs",
    "hook on a parameter": "the rules do not give the reference's gradient here",
    "an operation for each image": "the network runs other operations for other images",
    "images reordered": "the images are not told apart at ConvolutionBackward0",
    "embedding scaled by frequency": "the rules do not give the reference's gradient here",
}
# The library runs these in one operation of several outputs, in float32 alone.
FALLING_BACK_IN_FLOAT32 = {"lstm, last state"}


@pytest.mark.parametrize("name", ALL)
def test_every_network_equals_the_definition(name: str) -> None:
    torch.manual_seed(0)
    model, batch = wrapped(ALL[name]()), images(5)
    estimate = estimated(model, batch.split(3))
    expected = definition(model, batch)
    assert set(expected) == {n for n, _ in model.network.named_parameters() if not n.startswith(f"{model.classifier}.")}
    assert_exact(estimate, expected)
    assert set(estimate.plan.fallback.values()) == ({FALLING_BACK[name]} if name in FALLING_BACK else set())
    assert {name for name in estimate.plan.unused if expected[name].any()} == set()


@pytest.mark.parametrize("tasks", [("new",), ("base", "new")], ids=["new", "both"])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_head_equals_the_definition(name: str, tasks: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    model, batch = wrapped(NETWORKS[name]()), images(5)
    assert_exact(estimated(model, batch.split(2), tasks), definition(model, batch, tasks))


@pytest.mark.parametrize("name", ALL)
def test_float32_is_close_to_the_definition(name: str) -> None:
    torch.manual_seed(0)
    model, batch = wrapped(ALL[name](), torch.float32), images(5, torch.float32)
    estimate = estimated(model, batch.split(3))
    assert all(value.dtype == torch.float32 for value in estimate.omega.values())
    found = relative_l1(estimate.omega, definition(model, batch))
    assert {name: error for name, error in found.items() if not error <= 1e-4} == {}
    assert bool(estimate.plan.fallback) == (name in FALLING_BACK or name in FALLING_BACK_IN_FLOAT32)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["linear on positions", "conv", "batch norm", "group norm", "transformer"])
def test_half_precision_is_near_the_definition(name: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model, batch = wrapped(NETWORKS[name](), dtype), images(6, dtype)
    estimate = estimated(model, batch.split(3))
    found = relative_l1(estimate.omega, definition(model.double(), batch.double()))
    assert max(found.values()) <= 0.05
    assert not estimate.plan.fallback


def test_a_subclass_that_computes_something_else_is_not_mistaken() -> None:
    """Its operations tell what it does; its type would not."""
    estimate = estimated(wrapped(NETWORKS["subclass of linear"]()), [images(3)])
    assert estimate.plan.counts() == {"linear": 2}


def test_a_parameter_outside_the_pass_is_unused_and_has_no_importance() -> None:
    estimate = estimated(wrapped(NETWORKS["unused layer"]()), [images(3)])
    assert estimate.plan.unused == ("auxiliary.weight", "auxiliary.bias")
    assert not estimate.omega["auxiliary.weight"].any() and estimate.omega["used.weight"].all()


def test_one_linear_layer_has_the_closed_form() -> None:
    """For F = W x: Omega_ij = mean of |2 F_i x_j|, computed by hand."""
    model = wrapped(nn.Sequential(nn.Flatten(), nn.Linear(192, 6, bias=False), nn.Linear(6, 4)))
    batch = images(9)
    with torch.no_grad():
        model.head("base").weight.copy_(torch.eye(4, 6))
        model.head("base").bias.zero_()
    omega = estimated(model, batch.split(4)).omega["1.weight"]
    x = batch.flatten(1)
    outputs = x @ model.network.get_submodule("1").weight.T.detach()
    expected = torch.einsum("ni,nj->nij", 2 * outputs, x).abs().mean(0)
    expected[4:] = 0
    torch.testing.assert_close(omega, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", ALL)
def test_the_absolute_value_of_the_batch_is_told_apart(name: str) -> None:
    """Negative control: |sum over the batch of gradients| / N, as other implementations have it."""
    torch.manual_seed(0)
    model, batch = wrapped(ALL[name]()), images(8)
    parameters = {n: p for n, p in model.shared_parameters().items() if p.requires_grad}
    value = Measure().objective(model(batch, ("base",)), None).sum()
    gradients = torch.autograd.grad(value, list(parameters.values()), allow_unused=True)
    wrong = {n: torch.zeros_like(p) for n, p in model.shared_parameters().items()}
    wrong |= {n: g.abs() / 8 for n, g in zip(parameters, gradients, strict=True) if g is not None}
    assert max(errors(wrong, definition(model, batch)).values()) > 1e6 * EXACT


@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4), order_seed=st.integers(0, 99))
def test_batch_size_and_order_do_not_matter(sizes: list[int], order_seed: int) -> None:
    torch.manual_seed(0)
    model, batch = wrapped(NETWORKS["batch norm"]()), images(sum(sizes))
    shuffled = batch[torch.randperm(len(batch), generator=torch.Generator().manual_seed(order_seed))]
    estimate = estimated(model, shuffled.split(sizes))
    assert estimate.images == sum(sizes)
    assert_exact(estimate, definition(model, batch))


@pytest.mark.parametrize("name", ["batch norm", "bare parameter", "transformer", "unused layer"])
def test_the_model_is_left_as_it_was(name: str) -> None:
    model = wrapped(NETWORKS[name]())
    model.train()
    modes = {name: module.training for name, module in model.named_modules()}
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    estimated(model, [images(4)])
    assert {name: module.training for name, module in model.named_modules()} == modes
    after = model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks or module._backward_hooks for module in model.modules())


class Counting(nn.Module):
    """Counts its calls, in eval mode too."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.body, self.head = nn.Linear(192, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.head(self.body(x.flatten(1)))


def test_a_model_that_changes_itself_is_refused() -> None:
    with pytest.raises(NumericsError, match="changed the model"):
        estimated(wrapped(Counting()), [images(3)])
    clipping = network(lambda net, x: net.table(quantised(x)).mean(1), table=lambda: nn.Embedding(10, 6, max_norm=0.1))
    with pytest.raises(NumericsError, match="changed the model"):
        estimated(wrapped(clipping()), [images(3)])


class OverwrittenFirst(nn.Module):
    """Overwrites the input of its first layer, but only in batches of more than four images."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(192, 6), nn.Linear(6, 4)

    def forward(self, images: Tensor) -> Tensor:
        x = images.flatten(1) * 1.0
        y = self.body(x)
        if len(x) > 4:
            x.zero_()
        return self.head(y.tanh())


class SortedImages(nn.Module):
    """A layer that gets the images as they come, and again by brightness."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(192, 192), nn.Linear(192, 4)

    def forward(self, images: Tensor) -> Tensor:
        order = images.mean((1, 2, 3)).argsort(stable=True)
        x = torch.tanh(self.body(images.flatten(1)))
        return self.head(torch.tanh(self.body(x[order]))[order.argsort()])


class SortedRows(nn.Module):
    """A layer that gets the rows of all images, bright ones last."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(24, 6), nn.Linear(6, 4)

    def forward(self, images: Tensor) -> Tensor:
        x = rows(images).flatten(0, 1)
        order = (x.mean(1) > 0.5).long().argsort(stable=True)
        return self.head(torch.tanh(self.body(x[order]))[order.argsort()].unflatten(0, (-1, 8)).mean(1))


@pytest.mark.parametrize(
    "kind",
    [
        *(Routed, Chunked, OverwrittenLater, OverwrittenFirst, TimeFirst, FrozenTrunk),
    ],
)
@pytest.mark.parametrize("count", [5, 8, 9])
def test_what_happens_in_later_batches_only_is_noticed(kind: Callable[[], nn.Module], count: int) -> None:
    """The first batch is blank: nothing of what goes wrong later can be seen in it."""
    torch.manual_seed(0)
    model = wrapped(kind())
    later = images(count)
    later[0] += 20
    batches = [torch.zeros(2, 3, 8, 8, dtype=torch.float64), later, images(3)]
    assert_exact(estimated(model, batches), definition(model, torch.cat(batches)))


@pytest.mark.parametrize("kind", [SortedImages, SortedRows])
def test_an_order_that_later_batches_have_is_noticed(kind: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    model = wrapped(kind())
    batches = [torch.zeros(2, 3, 8, 8, dtype=torch.float64), 3 * images(5)]  # the trial's noise is brighter, and last
    assert_exact(estimated(model, batches), definition(model, torch.cat(batches)))


def test_what_later_images_use_is_not_called_unused() -> None:
    model = wrapped(Routed())
    estimate = estimated(model, [torch.zeros(2, 3, 8, 8, dtype=torch.float64), images(3) + 20])
    assert estimate.omega["experts.1.weight"].any()
    assert "experts.1.weight" not in estimate.plan.unused


class Forgetful(torch.autograd.Function):
    """x w^2, whose backward pass can run once: it lets go of what it keeps."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.kept = (x, weight)
        return x * weight**2

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        (x, weight), ctx.kept = ctx.kept, None
        return gradient * weight**2, (2 * gradient * x * weight).sum_to_size(weight.shape)


CRASHES: dict[str, Callable[[], nn.Module]] = {
    "every shared parameter frozen": network(
        lambda net, x: net.row(rows(x)).mean(1), row=lambda: nn.Linear(24, 6).requires_grad_(False)
    ),
    "sparse gradients": network(
        lambda net, x: net.table(quantised(x)).mean(1), table=lambda: nn.Embedding(10, 6, sparse=True)
    ),
    "a backward pass that runs once": network(
        lambda net, x: Forgetful.apply(net.row(rows(x)), net.gain).mean(1), **ROW, gain=weights(6)
    ),
}


@pytest.mark.parametrize("name", CRASHES)
def test_what_rules_cannot_run_is_exact_or_refused(name: str) -> None:
    torch.manual_seed(0)
    model, batch = wrapped(CRASHES[name]()), images(5)
    with contextlib.suppress(UnsupportedModelError):
        estimate = estimated(model, batch.split(3))
        assert_exact(estimate, {name: value.to_dense() for name, value in definition(model, batch).items()})


def test_a_complex_parameter_is_refused() -> None:
    make = network(
        lambda net, x: (rows(x).to(net.w.dtype) @ net.w).abs().mean(1),
        w=lambda: nn.Parameter(torch.randn(24, 6, dtype=torch.cfloat)),
    )
    model = MultiHeadModel(make(), "head", torch.zeros(2, 3, 8, 8))
    model.import_head("base")
    with pytest.raises(UnsupportedModelError, match="parameter w is complex"):
        estimated(model, [images(3, torch.float32)])


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad=True")
def test_what_cannot_be_measured_is_refused() -> None:
    reentrant = network(
        lambda net, x: checkpoint(net.second, net.first(x), use_reentrant=True).mean((2, 3)),
        first=lambda: nn.Conv2d(3, 5, 3),
        second=lambda: nn.Conv2d(5, 6, 3),
    )
    refused: dict[str, Callable[[], nn.Module]] = {
        "layer 2 is a batch norm without running statistics": lambda: nn.Sequential(
            nn.Flatten(), nn.Linear(192, 6), nn.BatchNorm1d(6, track_running_stats=False), nn.Linear(6, 4)
        ),
        "depends on the other images": network(
            lambda net, x: (net.row(rows(x)) - net.row(rows(x)).mean(0)).mean(1), **ROW
        ),
        "random, also in eval mode": network(
            lambda net, x: nn.functional.dropout(net.row(rows(x)), 0.5).mean(1), **ROW
        ),
        "cannot be differentiated": reentrant,
    }
    for reason, make in refused.items():
        torch.manual_seed(0)
        with pytest.raises(UnsupportedModelError, match=reason) as caught:
            estimated(wrapped(make()), [images(3)])
        assert "\n" not in str(caught.value)


def test_no_image_and_numbers_that_overflow_are_told() -> None:
    model = wrapped(NETWORKS["conv"](), torch.float32)
    with pytest.raises(DataError, match="no image"):
        estimated(model, [])
    with torch.no_grad():
        model.head("base").weight.fill_(1e30)
    with pytest.raises(NumericsError, match="not finite"):
        estimated(model, [images(2, torch.float32)])
