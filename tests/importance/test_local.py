"""mas-local: each layer's importance for its own output, against formulas and hooks on the layers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mascli.errors import UnsupportedModelError
from mascli.importance.engine import Estimate, estimate_importance
from mascli.importance.images import Images
from mascli.importance.local import activations
from mascli.importance.methods import measure_named
from mascli.importance.sums import planned, sums_of
from mascli.models.heads import MultiHeadModel

LOCAL = measure_named("local", "abs")


def wrapped(network: nn.Module) -> MultiHeadModel:
    model = MultiHeadModel(network, "", torch.zeros(2, 3, 8, 8))
    model.import_head("base")
    return model.double().eval()


def pixels(count: int = 5) -> Tensor:
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(1)).double()


def measured(model: MultiHeadModel, batch: Tensor, size: int = 3) -> Estimate:
    return estimate_importance(model, Images(batch).split(size), ("base",), LOCAL)


def by_layers(
    model: MultiHeadModel, batch: Tensor, follows: dict[str, Callable[[Tensor], Tensor]]
) -> dict[str, Tensor]:
    """For each layer its input and output are hooked; then one image, |sigma(layer(x))|^2, one backward, abs, add.

    `follows` says what sigma comes after which layer.
    """
    inputs: dict[str, Tensor] = {}
    handles = [
        model.network.get_submodule(name).register_forward_pre_hook(
            lambda layer, given, name=name: inputs.update({name: given[0].detach().clone()})  # type: ignore[misc]
        )
        for name in follows
    ]
    model(batch, ("base",))
    for handle in handles:
        handle.remove()
    found: dict[str, Tensor] = {}
    for name, sigma in follows.items():
        layer = model.network.get_submodule(name)
        for image in inputs[name].split(1):
            gradients = torch.autograd.grad(sigma(layer(image)).square().sum(), list(layer.parameters()))
            for (own, _), gradient in zip(layer.named_parameters(), gradients, strict=True):
                parameter = f"{name}.{own}"
                found[parameter] = found.get(parameter, torch.zeros(())) + gradient.abs() / len(batch)
    return found


def check(omega: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert omega.keys() == expected.keys()
    for name, value in expected.items():
        assert (omega[name] - value).abs().max() <= 1e-12 * value.max(), name
        assert value.any(), name


def same(z: Tensor) -> Tensor:
    return z


def test_a_linear_layer_with_relu_is_hebbian() -> None:
    """Omega_ij = mean of 2 y_i |x_j|, y = relu(W x)."""
    torch.manual_seed(0)
    model = wrapped(nn.Sequential(nn.Flatten(), nn.Linear(192, 6, bias=False), nn.ReLU(), nn.Linear(6, 4)))
    batch = pixels(9)
    x, weight = batch.flatten(1), model.shared_parameters()["1.weight"].detach()
    y = (x @ weight.T).relu()
    omega = measured(model, batch, 4).omega["1.weight"]
    torch.testing.assert_close(omega, 2 * torch.einsum("ni,nj->ij", y, x.abs()) / 9, rtol=1e-12, atol=0)


def test_a_network_of_one_layer_has_the_importance_of_the_global_method() -> None:
    model = wrapped(nn.Sequential(nn.Flatten(), nn.Linear(192, 4), nn.Tanh(), nn.Linear(4, 4, bias=False)))
    with torch.no_grad():
        model.head("base").weight.copy_(torch.eye(4))  # type: ignore[operator, union-attr]
    exact = estimate_importance(model, [Images(pixels())], ("base",), measure_named("squared-l2", "abs"))
    check(measured(model, pixels()).omega, exact.omega)
    with torch.no_grad():  # negative control: with a layer after it, the two differ
        model.head("base").weight.copy_(torch.tensor([[1.0, -2, 0, 3]] * 4))  # type: ignore[operator, union-attr]
    exact = estimate_importance(model, [Images(pixels())], ("base",), measure_named("squared-l2", "abs"))
    assert not torch.allclose(measured(model, pixels()).omega["1.weight"], exact.omega["1.weight"], rtol=0.1)


ACTIVATIONS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "relu": (nn.ReLU, "relu"),
    "relu in place": (lambda: nn.ReLU(inplace=True), "relu"),
    "gelu": (nn.GELU, "gelu"),
    "gelu tanh": (lambda: nn.GELU("tanh"), "gelu"),
    "silu": (nn.SiLU, "silu"),
    "silu in place": (lambda: nn.SiLU(inplace=True), "silu"),
    "hardswish": (nn.Hardswish, "hardswish"),
    "hardswish in place": (lambda: nn.Hardswish(inplace=True), "hardswish"),
    "hardsigmoid": (nn.Hardsigmoid, "hardsigmoid"),
    "relu6": (nn.ReLU6, "hardtanh"),
    "relu6 in place": (lambda: nn.ReLU6(inplace=True), "hardtanh"),
    "leaky relu": (nn.LeakyReLU, "leaky_relu"),
    "leaky relu in place": (lambda: nn.LeakyReLU(inplace=True), "leaky_relu"),
    "sigmoid": (nn.Sigmoid, "sigmoid"),
    "tanh": (nn.Tanh, "tanh"),
    "elu": (nn.ELU, "elu"),
    "elu in place": (lambda: nn.ELU(inplace=True), "elu"),
    "selu": (nn.SELU, "elu"),
    "celu": (nn.CELU, "celu"),
    "celu in place": (lambda: nn.CELU(inplace=True), "celu"),
    "softplus": (nn.Softplus, "softplus"),
    "mish": (nn.Mish, "mish"),
    "mish in place": (lambda: nn.Mish(inplace=True), "mish"),
    "log sigmoid": (nn.LogSigmoid, "log_sigmoid"),
    "threshold": (lambda: nn.Threshold(0.1, 0.2), "threshold"),
    "nothing": (nn.Identity, "identity"),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_activation_after_a_layer_belongs_to_it(name: str) -> None:
    make, word = ACTIVATIONS[name]
    torch.manual_seed(0)
    model = wrapped(nn.Sequential(nn.Conv2d(3, 4, 3), make(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 4)))
    batch = pixels()
    estimate = measured(model, batch)
    check(estimate.omega, by_layers(model, batch, {"0": make()}))
    assert activations(estimate.plan) == {"0.weight": word, "0.bias": word}


class Residual(nn.Module):
    """A norm whose output an addition overwrites, a layer on positions, and two consumers of one output."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.shortcut = nn.Conv2d(3, 6, 1)
        self.rows = nn.Linear(8, 8)
        self.layer_norm = nn.LayerNorm(8)
        self.gate = nn.Linear(8, 8)
        self.head = nn.Linear(6, 4)
        self.norm.running_mean.normal_()  # type: ignore[union-attr]

    def forward(self, images: Tensor) -> Tensor:
        x = self.norm(self.first(images))
        x += self.shortcut(images)
        x = F.gelu(self.rows(x.relu_()))
        gate = self.gate(self.layer_norm(x))
        x = x + gate * gate.sigmoid()
        return self.head(x.mean((2, 3)))


def test_what_is_overwritten_later_is_copied_and_several_consumers_mean_no_activation() -> None:
    torch.manual_seed(0)
    model, batch = wrapped(Residual()), pixels()
    estimate = measured(model, batch)
    follows = dict.fromkeys(("first", "norm", "shortcut", "layer_norm", "gate"), same) | {"rows": F.gelu}
    check(estimate.omega, by_layers(model, batch, follows))
    assert {name for name, word in activations(estimate.plan).items() if word == "gelu"} == {
        "rows.weight",
        "rows.bias",
    }


class OwnBias(nn.Module):
    """A linear layer that adds its bias by itself, as the library does for what is not contiguous."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 6)
        self.shift = nn.Parameter(torch.randn(6))
        self.scale = nn.Parameter(torch.rand(6))
        self.head = nn.Linear(6, 4)

    def forward(self, images: Tensor) -> Tensor:
        z = torch.matmul(images.flatten(2).transpose(1, 2), self.layer.weight.t()) + self.layer.bias
        return self.head(((z.relu() * self.scale).tanh() + self.shift).mean(1))


def test_a_bias_that_is_added_by_itself_is_a_part_of_its_layer() -> None:
    torch.manual_seed(0)
    model, batch = wrapped(OwnBias()), pixels()
    estimate = measured(model, batch)
    x = batch.flatten(2).transpose(1, 2)
    layer, scale, shift = model.network.layer, model.network.scale, model.network.shift
    expected: dict[str, Tensor] = dict.fromkeys(("scale", "shift", "layer.weight", "layer.bias"), torch.zeros(()))
    for image in x.split(1):
        first = layer(image).relu()  # type: ignore[operator]
        second = (first.detach() * scale).tanh()
        third = second.detach() + shift
        for y, names in ((first, ("layer.weight", "layer.bias")), (second, ("scale",)), (third, ("shift",))):
            parameters = [model.shared_parameters()[name] for name in names]
            for name, gradient in zip(names, torch.autograd.grad(y.square().sum(), parameters), strict=True):
                expected[name] = expected[name] + gradient.abs() / len(batch)
    check(estimate.omega, {name: expected[name] for name in estimate.omega})
    assert activations(estimate.plan) == {
        "layer.bias": "relu",
        "layer.weight": "relu",
        "scale": "tanh",
        "shift": "identity",
    }


class Token(nn.Module):
    """A class token before an attention layer: its copies are its own output."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 4)

    def forward(self, images: Tensor) -> Tensor:
        x = torch.cat([self.token.expand(len(images), -1, -1), images.flatten(1, 2)], 1)
        return self.head(self.attention(x, x, x, need_weights=False)[0][:, 0])


def test_a_bare_parameter_is_a_layer_and_so_are_both_of_attention() -> None:
    torch.manual_seed(0)
    model, batch = wrapped(Token()), pixels()
    estimate = measured(model, batch)
    torch.testing.assert_close(estimate.omega["token"], 2 * model.shared_parameters()["token"].detach().abs())
    x = torch.cat([model.network.token.expand(5, -1, -1), batch.flatten(1, 2)], 1).detach()  # type: ignore[operator, union-attr]
    weight, bias = (model.shared_parameters()[f"attention.in_proj_{kind}"] for kind in ("weight", "bias"))
    grads = [torch.autograd.grad(F.linear(one, weight, bias).square().sum(), [weight, bias]) for one in x]
    for name, index in (("attention.in_proj_weight", 0), ("attention.in_proj_bias", 1)):
        expected = torch.stack([gradient[index].abs() for gradient in grads]).mean(0)
        torch.testing.assert_close(estimate.omega[name], expected, rtol=1e-10, atol=1e-12)
    assert estimate.omega["attention.out_proj.weight"].all()
    assert set(activations(estimate.plan).values()) == {"identity"}


def test_a_parameter_used_twice_adds_its_uses_before_the_absolute_value() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(192, 192, bias=False)
            self.head = nn.Linear(192, 4)

        def forward(self, images: Tensor) -> Tensor:
            return self.head(self.layer(self.layer(images.flatten(1)).tanh()))

    torch.manual_seed(0)
    model, batch = wrapped(Twice()), pixels()
    weight = model.shared_parameters()["layer.weight"]
    expected = torch.zeros_like(weight)
    for x in batch.flatten(1).split(1):
        y = (x @ weight.t()).tanh()
        objective = y.square().sum() + (y.detach() @ weight.t()).square().sum()
        expected += torch.autograd.grad(objective, weight)[0].abs() / len(batch)
    estimate = measured(model, batch)
    check(estimate.omega, {"layer.weight": expected.detach()})
    assert activations(estimate.plan) == {"layer.weight": "tanh, identity"}


def test_no_backward_pass_of_the_network_is_run() -> None:
    class Watched(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            output = super().forward(input)
            if output.requires_grad:
                output.register_hook(lambda gradient: passed.append(1))
            return output

    passed: list[int] = []
    model = wrapped(nn.Sequential(nn.Flatten(), nn.Linear(192, 6), nn.Tanh(), Watched(6, 6), nn.Linear(6, 4)))
    batch, exact = Images(pixels()), measure_named("squared-l2", "abs")
    plan = planned(model, batch, ("base",), LOCAL)
    passed.clear()
    sums_of(plan, model, batch, ("base",), LOCAL)
    assert not passed
    sums_of(plan, model, batch, ("base",), exact)
    assert passed


def test_a_model_that_runs_otherwise_later_is_refused_and_not_measured_wrongly() -> None:
    class Routed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other = nn.Linear(192, 6), nn.Linear(192, 6)
            self.head = nn.Linear(6, 4)

        def forward(self, images: Tensor) -> Tensor:
            x = images.flatten(1)
            return self.head(self.one(x) + self.other(x).tanh() if len(x) > 4 else self.one(x).tanh())

    model = wrapped(Routed())
    with pytest.raises(UnsupportedModelError, match=r"mas-local cannot measure .*use --method mas"):
        measured(model, pixels(8), 8)


def test_an_output_that_nobody_kept_is_one_clear_line() -> None:
    class Lost(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(192, 6)
            self.head = nn.Linear(6, 4)

        def forward(self, images: Tensor) -> Tensor:
            z = self.layer(images.flatten(1))
            before = z + 1
            return self.head(before + z.relu_())

    with pytest.raises(UnsupportedModelError, match=r"cannot measure layer\..*overwritten.*use --method mas"):
        measured(wrapped(Lost()), pixels())
