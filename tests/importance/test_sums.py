"""Every way of measuring gives what its slow and obvious form gives, for any batch size and order."""

from __future__ import annotations

import hashlib

import pytest
import torch
from cases import NETWORKS
from torch import Tensor, nn

from mascli.errors import UnsupportedModelError
from mascli.importance.engine import Estimate, estimate_importance
from mascli.importance.images import Images
from mascli.importance.labels import uniform_numbers
from mascli.importance.methods import measure_named
from mascli.importance.objective import Measure
from mascli.importance.sums import planned, slow_sums_of, sums_of
from mascli.models.heads import MultiHeadModel

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")

TASKS = ("base", "new")
WAYS = [
    ("squared-l2", "square"),
    ("squared-l2", "taylor"),
    ("squared-l2", "batch"),
    ("l1", "abs"),
    ("l2", "batch"),
    ("each-output", "abs"),
    ("each-output", "square"),
    ("entropy", "taylor"),
    ("log-likelihood", "square"),
    ("local", "abs"),
]


def wrapped(network: nn.Module) -> MultiHeadModel:
    model = MultiHeadModel(network, "", torch.zeros(2, 3, 8, 8))
    model.import_head("base")
    model.add_head("new", 5)
    return model.double().eval()


def made(name: str) -> MultiHeadModel:
    torch.manual_seed(0)
    return wrapped(NETWORKS[name]())


def images(count: int) -> Images:
    pixels = torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(1)).double()
    digests = [hashlib.sha256(image.numpy().tobytes()).digest() for image in pixels]
    return Images(pixels, uniform_numbers(0, digests, TASKS))


def agree(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = 1e-10) -> bool:
    floor = 1e-6 * max(float(value.abs().max()) for value in expected.values())
    return all(
        float((found.get(name, torch.zeros_like(value)) - value).abs().max())
        <= tolerance * max(float(value.max()), floor)
        for name, value in expected.items()
    )


@pytest.mark.parametrize(("objective", "reduction"), WAYS)
@pytest.mark.parametrize("name", NETWORKS)
def test_the_fast_way_is_the_slow_way(name: str, objective: str, reduction: str) -> None:
    model, batch, measure = made(name), images(5), measure_named(objective, reduction)
    plan = planned(model, batch, TASKS, measure)
    found, norms = sums_of(plan, model, batch, TASKS, measure)
    expected, same = slow_sums_of(plan, model, batch, TASKS, measure)
    assert not plan.fallback
    assert any(value.any() for value in expected.values())
    assert agree(found, expected)
    torch.testing.assert_close(norms, same)


@pytest.mark.parametrize(("objective", "reduction"), [way for way in WAYS if way[1] != "batch"])
@pytest.mark.parametrize("name", ["batch norm", "transformer"])
def test_batch_size_and_order_do_not_matter(name: str, objective: str, reduction: str) -> None:
    model, batch, measure = made(name), images(7), measure_named(objective, reduction)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(3))
    shuffled = Images(batch.pixels[order], batch.given[order])  # type: ignore[index]
    together = estimate_importance(model, [batch], TASKS, measure)
    apart = estimate_importance(model, shuffled.split(3), TASKS, measure)  # the last one alone
    assert agree(apart.omega, together.omega, 1e-9)
    assert apart.mean_value == pytest.approx(together.mean_value)


@pytest.mark.parametrize(("objective", "reduction"), WAYS)
def test_the_mean_value_is_that_of_the_squared_norm_whatever_is_measured(objective: str, reduction: str) -> None:
    model, batch = made("conv"), images(4)
    estimate: Estimate = estimate_importance(model, [batch], TASKS, measure_named(objective, reduction))
    outputs = torch.cat(model(batch.pixels, TASKS), 1).detach()
    assert estimate.mean_value == pytest.approx(float(outputs.square().sum(1).mean()))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("squared-l2", "abs"), ("squared-l2", "batch")),
        (("squared-l2", "abs"), ("l2", "abs")),
        (("each-output", "abs"), ("l1", "abs")),
        (("squared-l2", "abs"), ("local", "abs")),
        (("entropy", "taylor"), ("entropy", "abs")),
    ],
)
def test_different_ways_are_told_apart(one: tuple[str, str], other: tuple[str, str]) -> None:
    """Negative control: what agrees above would not if one way were taken for another."""
    model, batch = made("conv"), images(5)
    omegas = [estimate_importance(model, [batch], TASKS, measure_named(*way)).omega for way in (one, other)]
    assert not agree(*omegas, 0.05)


def test_labels_that_were_drawn_with_another_seed_give_another_omega() -> None:
    model, batch, measure = made("conv"), images(5), measure_named("log-likelihood", "square")
    other = Images(batch.pixels, uniform_numbers(1, [bytes(32)] * 5, TASKS))
    assert not agree(*(estimate_importance(model, [it], TASKS, measure).omega for it in (batch, other)), 0.05)


def test_two_parameters_that_are_added_up_first_do_not_share_a_gradient() -> None:
    """Autograd gives both the same tensor, and a square in place would be taken twice."""

    class Added(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Parameter(torch.randn(192)), nn.Parameter(torch.randn(192))
            self.head = nn.Linear(192, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.head((x.flatten(1) + (self.a + self.b)).tanh())

    torch.manual_seed(0)
    model, batch = wrapped(Added()), images(4)
    for reduction in ("abs", "square", "taylor"):
        measure = measure_named("squared-l2", reduction)
        plan = planned(model, batch, TASKS, measure)
        assert not plan.fallback
        assert agree(
            sums_of(plan, model, batch, TASKS, measure)[0], slow_sums_of(plan, model, batch, TASKS, measure)[0]
        )


def test_each_output_of_one_linear_layer_has_the_closed_form() -> None:
    """F = V W x: dF_o / dW_ij = V_oi x_j, whose norm over o is |V_.i| |x_j|."""
    model = wrapped(nn.Sequential(nn.Flatten(), nn.Linear(192, 6, bias=False), nn.Linear(6, 4, bias=False)))
    batch = images(9)
    omega = estimate_importance(model, batch.split(4), ("base",), measure_named("each-output", "abs")).omega["1.weight"]
    v = model.head("base").weight.detach().norm(dim=0)  # type: ignore[operator, union-attr]
    expected = v[:, None] * batch.pixels.flatten(1).abs().mean(0)
    torch.testing.assert_close(omega, expected, rtol=1e-12, atol=0)


def test_each_output_of_many_parameters_goes_in_small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch, measure = made("used twice"), images(5), measure_named("each-output", "abs")
    plan = planned(model, batch, TASKS, measure)
    whole, _ = sums_of(plan, model, batch, TASKS, measure)
    numbers = sum(parameter.numel() for parameter in model.shared_parameters().values())
    monkeypatch.setattr("mascli.importance.each_output.SQUARES", 2 * numbers)
    parts, norms = sums_of(plan, model, batch, TASKS, measure)
    assert agree(parts, whole) and len(norms) == 5


def test_taylor_of_one_linear_layer_has_the_closed_form() -> None:
    """max(0, g t + (g t)^2 / 2) of each image with g_ij = 2 F_i x_j, and not of the mean gradient."""
    model = wrapped(nn.Sequential(nn.Flatten(), nn.Linear(192, 4, bias=False), nn.Linear(4, 4, bias=False)))
    with torch.no_grad():
        model.head("base").weight.copy_(torch.eye(4))  # type: ignore[operator, union-attr]
    batch = images(6)
    omega = estimate_importance(model, [batch], ("base",), measure_named("squared-l2", "taylor")).omega["1.weight"]
    weight, x = model.shared_parameters()["1.weight"].detach(), batch.pixels.flatten(1)
    change = 2 * torch.einsum("ni,nj->nij", x @ weight.T, x) * weight
    torch.testing.assert_close(omega, (change + change**2 / 2).clamp(min=0).mean(0), rtol=1e-12, atol=1e-15)
    assert ((change + change**2 / 2) < 0).any()
    mean = change.mean(0)
    assert not torch.allclose(omega, (mean + mean**2 / 2).clamp(min=0), rtol=0.05)


@pytest.mark.parametrize("sizes", [[3, 3], [4, 1]])
def test_batch_is_the_absolute_gradient_of_each_batch_weighed_by_its_images(sizes: list[int]) -> None:
    model, measure = made("conv"), measure_named("squared-l2", "batch")
    parts = [Images(part) for part in images(sum(sizes)).pixels.split(sizes)]
    estimate = estimate_importance(model, parts, ("base",), measure)
    parameters = model.shared_parameters()
    expected = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    for part in parts:
        mean = Measure().objective(model(part.pixels, ("base",)), None).mean()
        for name, gradient in zip(parameters, torch.autograd.grad(mean, list(parameters.values())), strict=True):
            expected[name] += gradient.abs() * len(part) / sum(sizes)
    assert agree(estimate.omega, expected)
    assert estimate.plan.counts() == {"one gradient a batch": 2}


def test_batch_depends_on_the_batch_size_and_is_never_more_than_the_mean_of_absolute_values() -> None:
    model, batch = made("batch norm"), images(8)
    one, four, eight, exact = (
        estimate_importance(model, batch.split(size), TASKS, measure_named("squared-l2", reduction)).omega
        for size, reduction in ((1, "batch"), (4, "batch"), (8, "batch"), (8, "abs"))
    )
    assert agree(one, exact)
    assert not agree(four, eight, 0.05)
    assert all((four[name] <= exact[name] * (1 + 1e-9) + 1e-15).all() for name in exact)


def test_batch_leaves_unused_parameters_without_importance_and_refuses_random_answers() -> None:
    model, batch = made("unused layer"), images(4)
    estimate = estimate_importance(model, [batch], ("base",), measure_named("squared-l2", "batch"))
    assert estimate.plan.unused == ("auxiliary.weight", "auxiliary.bias")
    assert not estimate.omega["auxiliary.weight"].any() and estimate.omega["used.weight"].any()

    class Noisy(nn.Sequential):
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(nn.functional.dropout(input, 0.5))

    noisy = wrapped(Noisy(nn.Flatten(), nn.Linear(192, 6), nn.Linear(6, 4)))
    with pytest.raises(UnsupportedModelError, match="random"):
        estimate_importance(noisy, [batch], ("base",), measure_named("squared-l2", "batch"))
