"""Any convolution, by any way of computing it: the weight gradient of each image alone."""

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
from mascli.importance.rules import RULES, convolution
from mascli.importance.rules.cost import cheapest_way, possible_ways

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
RULE = RULES["ConvolutionBackward0"]
PLAIN = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@st.composite
def sizes(draw: st.DrawFn, dims: int, least: int, most: int) -> tuple[int, ...]:
    return draw(st.tuples(*[st.integers(least, most)] * dims))


@st.composite
def plain_convolutions(draw: st.DrawFn) -> tuple[nn.Module, Tensor]:
    """A convolution of 1, 2 or 3 dimensions with any options, and images for it."""
    dims = draw(st.integers(1, 3))
    groups, each = draw(st.sampled_from([1, 1, 2, 3])), draw(st.integers(1, 2))
    padding = draw(st.one_of(sizes(dims, 0, 2), st.sampled_from(["same", "valid"])))
    layer = PLAIN[dims - 1](
        groups * each,
        groups * draw(st.integers(1, 3)),
        draw(sizes(dims, 1, 3)),
        1 if padding == "same" else draw(sizes(dims, 1, 3)),
        padding,
        draw(sizes(dims, 1, 2)),
        groups,
        bias=draw(st.booleans()),
        padding_mode=draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"])),
    )
    return layer, torch.randn(draw(st.integers(1, 4)), groups * each, *draw(sizes(dims, 5, 17 - 4 * dims)))


@st.composite
def transposed_convolutions(draw: st.DrawFn) -> tuple[nn.Module, Tensor]:
    dims = draw(st.integers(1, 3))
    groups, each, stride = draw(st.sampled_from([1, 2])), draw(st.integers(1, 2)), draw(sizes(dims, 1, 3))
    layer = TRANSPOSED[dims - 1](
        groups * each,
        groups * draw(st.integers(1, 3)),
        draw(sizes(dims, 1, 3)),
        stride,
        0,
        tuple(draw(st.integers(0, step - 1)) for step in stride),
        groups,
        draw(st.booleans()),
        draw(sizes(dims, 1, 2)),
    )
    return layer, torch.randn(draw(st.integers(1, 4)), groups * each, *draw(sizes(dims, 2, 6)))


@torch.enable_grad()
def seen(layer: Callable[[Tensor], Tensor], x: Tensor, parameters: list[Tensor], layout: Layout | None = None) -> Any:
    """What the rule has of a layer, and the gradient at its output."""
    output = layer(x)
    node = output.grad_fn
    while node.name() != "ConvolutionBackward0":  # a layer of one dimension may squeeze its output
        node = node.next_functions[0][0]
    gradient = torch.randn(output.shape, generator=torch.Generator().manual_seed(2)).to(output)
    visit = visit_of(output, gradient, parameters, layout)
    assert RULE.takes(visit.node, visit.slots, visit.layout)
    return RULE.see(visit), gradient


@torch.no_grad()  # as in a backward pass
def check_every_way(layer: nn.Module, x: Tensor) -> set[str]:
    """Every possible way gives what one image after the other gives; and the rule as it is, as well."""
    parameters = list(layer.parameters())
    part, gradient = seen(layer, x, parameters)
    alone = each_alone(layer, x, gradient, parameters)
    for slot, gradients in zip(part.visit.slots, alone, strict=True):
        assert_close(part.per_image(slice(0, len(x)))[slot], gradients)
        assert_close(part.per_image(slice(len(x) - 1, len(x)))[slot], gradients[-1:])
    for reduction in (ABS, SQUARE):
        assert reduction.pointwise is not None
        sums = part.sum_over_images(reduction.pointwise)
        for slot, gradients in zip(part.visit.slots, alone, strict=True):
            assert_close(sums[slot], reduction.of(gradients.clone(), torch.ones(())).sum(0))
        for way in possible_ways(part.described()):
            expected = reduction.of(alone[0].clone(), torch.ones(())).sum(0)
            assert_close(part.sum_of_weights(way, reduction.pointwise), expected)
    assert cheapest_way(part.described()) in possible_ways(part.described())
    return set(possible_ways(part.described()))


@settings(max_examples=120, deadline=None)
@given(drawn=plain_convolutions())
def test_any_convolution_by_every_way(drawn: tuple[nn.Module, Tensor]) -> None:
    layer, x = drawn
    try:
        layer.double()(x.double())
    except RuntimeError:  # more is reflected than there is
        assume(False)
    check_every_way(layer.double(), x.double())


@settings(max_examples=60, deadline=None)
@given(drawn=transposed_convolutions())
def test_any_transposed_convolution(drawn: tuple[nn.Module, Tensor]) -> None:
    layer, x = drawn
    try:
        layer.double()(x.double())
    except RuntimeError:  # nothing is left of the map
        assume(False)
    assert check_every_way(layer.double(), x.double()) == {"alone"}


@pytest.mark.parametrize(
    ("layer", "shape", "ways"),
    [
        (lambda: nn.Conv2d(4, 6, 1), (3, 4, 5, 7), {"alone", "together", "patches", "products"}),
        (lambda: nn.Conv2d(4, 6, 1), (3, 4, 1, 1), {"alone", "together", "patches", "products"}),
        (lambda: nn.Conv2d(4, 6, 1, stride=2), (3, 4, 5, 7), {"alone", "together", "patches"}),
        (lambda: nn.Conv2d(4, 6, 1, padding=1), (3, 4, 5, 7), {"alone", "together", "patches"}),
        (lambda: nn.Conv2d(4, 6, (3, 2), (2, 1), (1, 2), (1, 2)), (3, 4, 5, 7), {"alone", "together", "patches"}),
        (lambda: nn.Conv2d(4, 6, 3), (3, 4, 3, 3), {"alone", "together", "patches"}),
        (lambda: nn.Conv2d(4, 6, 3, groups=2), (3, 4, 5, 7), {"alone", "together"}),
        (lambda: nn.Conv2d(4, 4, 3, groups=4), (3, 4, 5, 7), {"alone", "together"}),
        (lambda: nn.Conv1d(4, 6, 1), (3, 4, 9), {"alone", "together", "products"}),
        (lambda: nn.Conv3d(4, 6, 2), (3, 4, 3, 4, 5), {"alone", "together"}),
        (lambda: nn.ConvTranspose2d(4, 6, 1), (3, 4, 5, 7), {"alone"}),
    ],
)
def test_the_ways_of_a_layer(layer: Callable[[], nn.Module], shape: tuple[int, ...], ways: set[str]) -> None:
    torch.manual_seed(0)
    assert check_every_way(layer().double(), torch.randn(shape).double()) == ways


@pytest.mark.parametrize("chunk", [1, 100, 1000])
def test_images_in_several_chunks(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolution, "CHUNK_NUMBERS", chunk)
    torch.manual_seed(0)
    check_every_way(nn.Conv2d(4, 6, 3).double(), torch.randn(7, 4, 5, 6).double())


@pytest.mark.parametrize("kernel", [1, 2])
@torch.no_grad()
def test_several_maps_an_image(kernel: int) -> None:
    """Three windows an image: their gradients are added before the absolute value."""
    torch.manual_seed(0)
    layer, x = nn.Conv2d(2, 3, kernel).double(), torch.randn(12, 2, 4, 5).double()
    for layout, groups in (
        (Layout(0, 1, 3), torch.arange(12).view(4, 3)),
        (Layout(0, 3, 1), torch.arange(12).view(3, 4).t()),
        (Layout(0, 3, 2), torch.arange(12).view(3, 2, 2).transpose(0, 1).flatten(1)),
    ):
        part, gradient = seen(layer, x, list(layer.parameters()), layout)
        each = each_alone(layer, x, gradient, list(layer.parameters()))
        expected = [gradients[groups].sum(1) for gradients in each]
        for slot, gradients in zip(part.visit.slots, expected, strict=True):
            assert_close(part.per_image(slice(0, len(groups)))[slot], gradients)
        for way in possible_ways(part.described()):
            assert_close(part.sum_of_weights(way, Tensor.abs_), expected[0].abs().sum(0))
        wrong = each[0].abs().sum(0)  # negative control: the absolute value of each window
        assert float((wrong - expected[0].abs().sum(0)).abs().max()) > 0.1


@torch.no_grad()
def test_a_bias_alone_and_a_weight_alone() -> None:
    torch.manual_seed(0)
    for frozen in ("weight", "bias"):
        layer, x = nn.Conv2d(2, 3, 2).double(), torch.randn(4, 2, 4, 5).double()
        layer.get_parameter(frozen).requires_grad_(False)
        free = [parameter for parameter in layer.parameters() if parameter.requires_grad]
        part, gradient = seen(layer, x.requires_grad_(), free)
        (slot,) = part.visit.slots
        (alone,) = each_alone(layer, x, gradient, free)
        assert_close(part.sum_over_images(Tensor.abs_)[slot], alone.abs().sum(0))


def test_a_parameter_as_the_image_has_no_rule() -> None:
    template, kernels = torch.randn(1, 2, 5, 5, requires_grad=True), torch.randn(3, 2, 2, 2, requires_grad=True)
    node = nn.functional.conv2d(template, kernels).grad_fn
    assert not RULE.takes(node, (0,), Layout(1))
    assert not RULE.takes(node, (0, 1), Layout(0))
    assert not RULE.takes(node, (1,), Layout(1))
    assert RULE.takes(node, (1,), Layout(0))


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", ["alone", "together", "patches", "products"])
def test_every_way_within_a_whole_network(
    name: str, memory: torch.memory_format, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    kernel = 1 if name == "products" else 3
    network = nn.Sequential(
        nn.Conv2d(3, 5, kernel), nn.Tanh(), nn.Conv2d(5, 4, kernel), nn.Tanh(), nn.Flatten(), nn.LazyLinear(4)
    )
    model, batch = wrapped(network).to(memory_format=memory), images(5).contiguous(memory_format=memory)
    used: list[str] = []

    def forced(layer: Any) -> str:
        used.append(name)
        return name

    monkeypatch.setattr("mascli.importance.rules.cost.cheapest_way", forced)
    estimate = estimated(model, batch.split(3))
    assert_exact(estimate, definition(model, batch))
    assert used
    assert estimate.plan.counts() == {"convolution": 4}


def test_a_gradient_of_the_whole_batch_is_told_apart() -> None:
    torch.manual_seed(0)
    layer, x = nn.Conv2d(3, 4, 3).double(), torch.randn(6, 3, 6, 6).double()
    part, gradient = seen(layer, x, list(layer.parameters()))
    (wrong,) = torch.autograd.grad(layer(x), layer.weight, gradient)
    with torch.no_grad():
        right = part.sum_over_images(Tensor.abs_)[part.visit.slots[0]]
    assert float((wrong.abs() - right).abs().max()) > 0.1 * float(right.max())
    assert prod(right.shape) == layer.weight.numel()
