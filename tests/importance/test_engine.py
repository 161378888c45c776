"""Importance by rules is importance by the definition: one image, one backward pass, abs, add."""

from __future__ import annotations

import pytest
import torch
from cases import NETWORKS, Chunked, FrozenTrunk, OverwrittenLater, Routed, TimeFirst
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from mascli.errors import DataError, NumericsError, UnsupportedModelError
from mascli.importance.engine import estimate_importance
from mascli.importance.objective import squared_l2
from mascli.importance.reference import reference_sums
from mascli.importance.rules import RULES
from mascli.models.heads import MultiHeadModel

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")


def wrapped(network: nn.Module, dtype: torch.dtype = torch.float64) -> MultiHeadModel:
    model = MultiHeadModel(network, "", torch.zeros(2, 3, 8, 8))
    model.import_head("base")
    model.add_head("new", 5)
    return model.to(dtype).eval()


def images(count: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(1)).to(dtype)


def reference(model: MultiHeadModel, batch: Tensor, tasks: tuple[str, ...]) -> dict[str, Tensor]:
    sums, _ = reference_sums(model, batch, tasks, squared_l2)
    return {name: total / len(batch) for name, total in sums.items()}


@pytest.mark.parametrize("tasks", [("base",), ("new",), ("base", "new")], ids=["base", "new", "both"])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_equals_the_reference(name: str, tasks: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    model, batch = wrapped(NETWORKS[name]()), images(5)
    omega = estimate_importance(model, batch.split(2), tasks, squared_l2).omega
    expected = reference(model, batch, tasks)
    assert set(expected) == {n for n, _ in model.network.named_parameters() if not n.startswith(f"{model.classifier}.")}
    for parameter, value in expected.items():
        error = (omega[parameter] - value).abs().max()
        assert error <= 1e-10 * value.abs().max(), parameter


@pytest.mark.parametrize("name", NETWORKS)
def test_float32_is_close_to_the_reference(name: str) -> None:
    torch.manual_seed(0)
    model, batch = wrapped(NETWORKS[name](), torch.float32), images(5, torch.float32)
    omega = estimate_importance(model, batch.split(3), ("base",), squared_l2).omega
    for parameter, value in reference(model, batch, ("base",)).items():
        assert omega[parameter].dtype == torch.float32
        assert (omega[parameter] - value).abs().sum() <= 1e-4 * value.sum(), parameter


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("bare parameter", "has no rule"),
        ("subclass of linear", "Scaled has no rule"),
        ("tied weights", "tied"),
        ("transformer", "has no rule"),
        ("group norm", "GroupNorm has no rule"),
    ],
)
def test_what_has_no_rule_falls_back_and_says_why(name: str, reason: str) -> None:
    model = wrapped(NETWORKS[name]())
    plan = estimate_importance(model, [images(2)], ("base",), squared_l2).plan
    assert any(reason in text for text in plan.fallback.values()), plan.fallback
    assert plan.counts().keys() <= {"one image at a time", "unused"}


def test_what_has_rules_does_not_fall_back() -> None:
    for name in set(NETWORKS) - {"bare parameter", "subclass of linear", "tied weights", "transformer"}:
        if name not in ("transposed convolution", "group norm"):
            plan = estimate_importance(wrapped(NETWORKS[name]()), [images(2)], ("base",), squared_l2).plan
            assert not plan.fallback, name


def test_a_wrong_rule_is_found_out_and_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(type(RULES[nn.Conv2d])):  # type: ignore[misc]
        def absolute_sum(self, module: nn.Module, inputs: Tensor, gradient: Tensor) -> dict[str, Tensor]:
            return {name: 1.1 * part for name, part in super().absolute_sum(module, inputs, gradient).items()}

    monkeypatch.setitem(RULES, nn.Conv2d, Wrong())
    model, batch = wrapped(NETWORKS["conv"]()), images(3)
    estimate = estimate_importance(model, [batch], ("base",), squared_l2)
    assert set(estimate.plan.fallback) == {"0.weight", "0.bias"}
    assert torch.equal(estimate.omega["0.weight"], reference(model, batch, ("base",))["0.weight"])


def test_a_parameter_outside_the_pass_is_unused_and_has_no_importance() -> None:
    estimate = estimate_importance(wrapped(NETWORKS["unused layer"]()), [images(3)], ("base",), squared_l2)
    assert estimate.plan.unused == ("auxiliary.weight", "auxiliary.bias")
    assert not estimate.omega["auxiliary.weight"].any() and estimate.omega["used.weight"].all()


def test_one_linear_layer_has_the_closed_form() -> None:
    """For F = W x: Omega_ij = mean of |2 F_i x_j|, computed by hand."""
    model = wrapped(nn.Sequential(nn.Flatten(), nn.Linear(192, 6, bias=False), nn.Linear(6, 4)))
    batch = images(9)
    with torch.no_grad():
        model.head("base").weight.copy_(torch.eye(4, 6))
        model.head("base").bias.zero_()
    omega = estimate_importance(model, batch.split(4), ("base",), squared_l2).omega["1.weight"]
    x = batch.flatten(1)
    outputs = x @ model.network.get_submodule("1").weight.T.detach()
    expected = torch.einsum("ni,nj->nij", 2 * outputs, x).abs().mean(0)
    expected[4:] = 0
    torch.testing.assert_close(omega, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", ["linear on vectors", "conv", "batch norm"])
def test_the_absolute_value_of_the_batch_is_told_apart(name: str) -> None:
    """Negative control: |sum over the batch of gradients| / N, as other implementations have it."""
    torch.manual_seed(0)
    model, batch = wrapped(NETWORKS[name]()), images(8)
    parameters = model.shared_parameters()
    gradients = torch.autograd.grad(squared_l2(model(batch, ("base",))).sum(), list(parameters.values()))
    expected = reference(model, batch, ("base",))
    wrong = dict(zip(parameters, gradients, strict=True))
    largest = max(float((wrong[n].abs() / 8 - value).abs().max() / value.max()) for n, value in expected.items())
    assert largest > 0.1


@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4), order_seed=st.integers(0, 99))
def test_batch_size_and_order_do_not_matter(sizes: list[int], order_seed: int) -> None:
    torch.manual_seed(0)
    model, batch = wrapped(NETWORKS["batch norm"]()), images(sum(sizes))
    shuffled = batch[torch.randperm(len(batch), generator=torch.Generator().manual_seed(order_seed))]
    omega = estimate_importance(model, shuffled.split(sizes), ("base",), squared_l2)
    assert omega.images == sum(sizes)
    for name, value in reference(model, batch, ("base",)).items():
        torch.testing.assert_close(omega.omega[name], value, rtol=1e-9, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_convolution_is_exact(data: st.DataObject) -> None:
    groups = data.draw(st.sampled_from([1, 2, 3]))
    mode = data.draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"]))
    kernel = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    dilation = data.draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    padding = data.draw(st.one_of(st.tuples(st.integers(0, 2), st.integers(0, 2)), st.sampled_from(["same", "valid"])))
    stride = (1, 1) if padding == "same" else data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    conv = nn.Conv2d(
        6,
        6,
        kernel,
        stride,
        padding,
        dilation,
        groups,
        bias=data.draw(st.booleans()),
        padding_mode=mode,
    )
    height, width = data.draw(st.tuples(st.integers(5, 24), st.integers(5, 24)))  # on both sides of 256 positions
    count = data.draw(st.integers(1, 4))
    network = nn.Sequential(
        nn.Conv2d(3, 6, 1), conv, nn.Tanh(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 4)
    )
    model = MultiHeadModel(network, "", torch.zeros(2, 3, height, width))
    model.import_head("base")
    model.double().eval()
    batch = torch.randn(count, 3, height, width, dtype=torch.float64)
    estimate = estimate_importance(model, [batch], ("base",), squared_l2)
    assert not estimate.plan.fallback
    for name, value in reference(model, batch, ("base",)).items():
        assert (estimate.omega[name] - value).abs().max() <= 1e-10 * value.max()


def test_the_model_is_left_as_it_was() -> None:
    model = wrapped(NETWORKS["batch norm"]())
    model.train()
    modes = {name: module.training for name, module in model.named_modules()}
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    estimate_importance(model, [images(4)], ("base",), squared_l2)
    assert {name: module.training for name, module in model.named_modules()} == modes
    after = model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


def test_a_model_that_changes_itself_is_refused() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))
            self.body = nn.Linear(192, 4)
            self.head = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return self.head(self.body(x.flatten(1)))

    with pytest.raises(NumericsError, match="changed the model"):
        estimate_importance(wrapped(Counting()), [images(3)], ("base",), squared_l2)


@pytest.mark.parametrize("kind", [Routed, Chunked, OverwrittenLater, TimeFirst, FrozenTrunk])
@pytest.mark.parametrize("count", [2, 8, 9])
def test_what_happens_in_later_batches_only_is_noticed(kind: type[nn.Module], count: int) -> None:
    """The first batch is blank: nothing of what goes wrong later can be seen in it."""
    torch.manual_seed(0)
    model = wrapped(kind())
    later = images(count)
    later[0] += 20
    batches = [torch.zeros(2, 3, 8, 8, dtype=torch.float64), later, images(3)]
    estimate = estimate_importance(model, batches, ("base",), squared_l2)
    expected = reference(model, torch.cat(batches), ("base",))
    for name, value in expected.items():
        assert (estimate.omega[name] - value).abs().max() <= 1e-10 * value.max(), name
        assert value.any() or name in estimate.plan.unused


def test_answers_that_are_random_in_eval_mode_are_refused() -> None:
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(192, 6)
            self.head = nn.Linear(6, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(nn.functional.dropout(self.body(x.flatten(1)), 0.5))

    with pytest.raises(UnsupportedModelError, match="random, also in eval mode"):
        estimate_importance(wrapped(Noisy()), [images(3)], ("base",), squared_l2)


def test_batch_norm_without_running_statistics_is_refused_by_name() -> None:
    norm = nn.BatchNorm1d(6, track_running_stats=False)
    model = wrapped(nn.Sequential(nn.Flatten(), nn.Linear(192, 6), norm, nn.Linear(6, 4)))
    with pytest.raises(UnsupportedModelError, match="layer 2 is a batch norm without running statistics"):
        estimate_importance(model, [images(3)], ("base",), squared_l2)


def test_a_network_that_mixes_images_is_refused() -> None:
    class Mixing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(192, 6)
            self.head = nn.Linear(6, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = self.body(x.flatten(1))
            return self.head(x - x.mean(0))

    with pytest.raises(UnsupportedModelError, match="depends on the other images"):
        estimate_importance(wrapped(Mixing()), [images(3)], ("base",), squared_l2)


def test_no_image_and_numbers_that_overflow_are_told() -> None:
    model = wrapped(NETWORKS["conv"](), torch.float32)
    with pytest.raises(DataError, match="no image"):
        estimate_importance(model, [], ("base",), squared_l2)
    with torch.no_grad():
        model.head("base").weight.fill_(1e30)
    with pytest.raises(NumericsError, match="not finite"):
        estimate_importance(model, [images(2, torch.float32)], ("base",), squared_l2)
