"""Any norm: the gradient of its weight and bias for each image alone."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from judge import assert_close, assert_exact, definition, each_alone, estimated, images, visit_of, wrapped
from torch import Tensor, nn

from mascli.importance.layout import Layout
from mascli.importance.reduction import ABS, SQUARE
from mascli.importance.rules import RULES, any_operation

BATCH, LAYER, GROUP = (RULES[f"Native{name}NormBackward0"] for name in ("Batch", "Layer", "Group"))


def with_random_weights(norm: nn.Module) -> nn.Module:
    with torch.no_grad():
        for tensor in norm.parameters():
            tensor.normal_()
        for name, tensor in norm.named_buffers():
            if tensor.is_floating_point():
                tensor.uniform_(0.5, 2) if name.endswith("var") else tensor.normal_()
    return norm.double().eval()


@torch.enable_grad()
def seen(rule: Any, norm: nn.Module, x: Tensor, layout: Layout) -> tuple[Any, Tensor, list[Tensor]]:
    output, parameters = norm(x), list(norm.parameters())
    gradient = torch.randn(output.shape, generator=torch.Generator().manual_seed(2)).to(output)
    visit = visit_of(output, gradient, parameters, layout)
    assert rule.takes(visit.node, visit.slots, layout)
    return rule.see(visit), gradient, parameters


def check(part: Any, alone: list[Tensor]) -> None:
    count = len(alone[0])
    for slot, gradients in zip(part.visit.slots, alone, strict=True):
        assert_close(part.per_image(slice(0, count))[slot], gradients)
        assert_close(part.per_image(slice(count - 1, count))[slot], gradients[-1:])
        for reduction in (ABS, SQUARE):
            assert reduction.pointwise is not None
            expected = reduction.of(gradients.clone(), torch.ones(())).sum(0)
            assert_close(part.sum_over_images(reduction.pointwise)[slot], expected)


@settings(max_examples=60, deadline=None)
@given(
    dims=st.integers(0, 3),
    count=st.integers(1, 4),
    windows=st.integers(1, 3),
    channels=st.integers(1, 5),
    data=st.data(),
)
@torch.no_grad()
def test_any_batch_norm(dims: int, count: int, windows: int, channels: int, data: st.DataObject) -> None:
    torch.manual_seed(0)
    kind = {0: nn.BatchNorm1d, 1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[dims]
    norm = with_random_weights(kind(channels, eps=data.draw(st.sampled_from([1e-5, 0.1]))))
    size = data.draw(st.tuples(*[st.integers(1, 4)] * dims))
    every = torch.randn(count, windows, channels, *size, dtype=torch.float64)
    for layout, flat, back in (
        (Layout(0, 1, windows), every.flatten(0, 1), lambda g: g.unflatten(0, (count, windows))),
        (
            Layout(0, windows, 1),
            every.transpose(0, 1).flatten(0, 1),
            lambda g: g.unflatten(0, (windows, count)).transpose(0, 1),
        ),
    ):
        part, gradient, parameters = seen(BATCH, norm, flat, layout)
        check(part, each_alone(lambda x: norm(x[0])[None], every, back(gradient), parameters))


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 4),
    windows=st.integers(1, 3),
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    data=st.data(),
)
@torch.no_grad()
def test_any_layer_norm(count: int, windows: int, shape: list[int], data: st.DataObject) -> None:
    torch.manual_seed(0)
    last = shape[data.draw(st.integers(0, len(shape) - 1)) :]
    norm = with_random_weights(nn.LayerNorm(last, bias=data.draw(st.booleans())))
    every = torch.randn(count, windows, *shape, dtype=torch.float64)
    part, gradient, parameters = seen(LAYER, norm, every.flatten(0, 1), Layout(0, 1, windows))
    check(part, each_alone(norm, every, gradient.unflatten(0, (count, windows)), parameters))


@pytest.mark.parametrize("layout", [Layout(1), Layout(0, 5, 1)], ids=str)
@torch.no_grad()
def test_layer_norm_with_time_first(layout: Layout) -> None:
    torch.manual_seed(0)
    norm, x = with_random_weights(nn.LayerNorm(6)), torch.randn(5, 3, 6, dtype=torch.float64)
    part, gradient, parameters = seen(LAYER, norm, x if layout.dim else x.flatten(0, 1), layout)
    check(part, each_alone(norm, x.transpose(0, 1), gradient.view_as(x).transpose(0, 1), parameters))


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 4), windows=st.integers(1, 3), groups=st.integers(1, 3), each=st.integers(1, 3), data=st.data()
)
@torch.no_grad()
def test_any_group_norm(count: int, windows: int, groups: int, each: int, data: st.DataObject) -> None:
    torch.manual_seed(0)
    norm = with_random_weights(nn.GroupNorm(groups, groups * each))
    size = data.draw(st.lists(st.integers(1, 4), max_size=3))
    assume(each * prod(size) > 1)  # of one number there is no variance
    every = torch.randn(count, windows, groups * each, *size, dtype=torch.float64)
    part, gradient, parameters = seen(GROUP, norm, every.flatten(0, 1), Layout(0, 1, windows))
    by_image = gradient.unflatten(0, (count, windows))
    check(part, each_alone(lambda x: norm(x[0])[None], every, by_image, parameters))


def test_what_the_rules_leave_to_others() -> None:
    x, w, b = torch.randn(4, 6, 5), torch.randn(6, requires_grad=True), torch.randn(6, requires_grad=True)
    training = nn.functional.batch_norm(x, torch.zeros(6), torch.ones(6), w, b, training=True).grad_fn
    assert not BATCH.takes(training, (1, 2), Layout(0))
    running = nn.functional.batch_norm(x, torch.zeros(6), torch.ones(6), w, b).grad_fn
    assert BATCH.takes(running, (1, 2), Layout(0))
    assert not BATCH.takes(running, (1, 2), Layout(2))
    layer = nn.functional.layer_norm(x, (6, 5), torch.ones(6, 5, requires_grad=True)).grad_fn
    assert LAYER.takes(layer, (1,), Layout(0))
    assert not LAYER.takes(layer, (1,), Layout(1))
    group = nn.functional.group_norm(x, 3, w, b).grad_fn
    assert GROUP.takes(group, (1, 2), Layout(0, 1, 2))
    assert not GROUP.takes(group, (1, 2), Layout(0, 2, 1))
    assert not GROUP.takes(group, (1, 2), Layout(1))


class Between(nn.Module):
    """A norm of maps, or of a sequence, between a convolution and a linear head."""

    def __init__(self, norm: nn.Module, form: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 6, 3, bias=False), nn.Linear(6, 4)
        self.norm, self.form = with_random_weights(norm).float(), form

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.form(torch.tanh(self.conv(x)))).sin()
        return self.head(x.flatten(1)[:, :36].unflatten(1, (6, 6)).sum(2))


NORMS: dict[str, tuple[Callable[[], nn.Module], Callable[[Tensor], Tensor]]] = {
    **{
        f"batch norm {dims}d": (kind, form)
        for dims, kind, form in (
            (1, lambda: nn.BatchNorm1d(6), lambda x: x.flatten(2)),
            (2, lambda: nn.BatchNorm2d(6), lambda x: x),
            (3, lambda: nn.BatchNorm3d(6), lambda x: x.unsqueeze(3)),
        )
    },
    "batch norm without average of its own": (lambda: nn.BatchNorm2d(6, momentum=None), lambda x: x),
    "batch norm of vectors": (lambda: nn.BatchNorm1d(216), lambda x: x.flatten(1)),
    "synchronised batch norm": (lambda: nn.SyncBatchNorm(6), lambda x: x),
    "layer norm of maps": (lambda: nn.LayerNorm([6, 6, 6]), lambda x: x),
    "layer norm of rows, channels last": (lambda: nn.LayerNorm(6), lambda x: x.permute(0, 2, 3, 1)),
    "layer norm without bias": (lambda: nn.LayerNorm(6, bias=False), lambda x: x),
    "group norm": (lambda: nn.GroupNorm(3, 6), lambda x: x),
    "group norm of one group": (lambda: nn.GroupNorm(1, 6, eps=0.1), lambda x: x),
    "group norm of a sequence": (lambda: nn.GroupNorm(6, 6), lambda x: x.flatten(2)),
    "rms norm": (lambda: nn.RMSNorm([6, 6]), lambda x: x),
    "instance norm": (lambda: nn.InstanceNorm2d(6, affine=True), lambda x: x),
    "instance norm 1d": (lambda: nn.InstanceNorm1d(6, affine=True), lambda x: x.flatten(2)),
    "instance norm with statistics": (lambda: nn.InstanceNorm2d(6, affine=True, track_running_stats=True), lambda x: x),
}


@pytest.mark.parametrize("name", NORMS)
def test_every_norm_within_a_whole_network(name: str) -> None:
    torch.manual_seed(0)
    norm, form = NORMS[name]
    model, batch = wrapped(Between(norm(), form)), images(5)
    estimate = estimated(model, batch.split(3))
    assert not estimate.plan.fallback
    assert_exact(estimate, definition(model, batch))


@pytest.mark.parametrize("frozen", ["weight", "bias"])
@pytest.mark.parametrize("name", ["batch norm 2d", "layer norm of maps", "group norm"])
def test_norms_half_of_which_is_frozen(name: str, frozen: str) -> None:
    torch.manual_seed(0)
    norm, form = NORMS[name]
    model, batch = wrapped(Between(norm(), form)), images(5)
    model.shared_parameters()[f"norm.{frozen}"].requires_grad_(False)
    estimate = estimated(model, [batch])
    assert estimate.plan.unused == (f"norm.{frozen}",)
    assert "any operation" not in estimate.plan.counts()
    assert_exact(estimate, definition(model, batch))


def test_a_rule_of_another_norm_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: without the division by the standard deviation."""

    class Forgetful(type(LAYER)):  # type: ignore[misc]
        def see(self, visit: Any) -> Any:
            part = super().see(visit)
            part._seen[3] = torch.ones_like(part._seen[3])
            return part

    monkeypatch.setitem(RULES, "NativeLayerNormBackward0", Forgetful())
    norm, form = NORMS["layer norm of maps"]
    model, batch = wrapped(Between(norm(), form)), images(4)
    estimate = estimated(model, [batch])
    assert estimate.plan.counts()[any_operation.ANY_OPERATION.name] == 2
    assert_exact(estimate, definition(model, batch))
