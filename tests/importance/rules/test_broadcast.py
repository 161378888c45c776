"""Parameters that are added to images or multiplied with them, broadcast over any of their dimensions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from judge import assert_close, visit_of
from torch import Tensor

from mascli.importance.layout import Layout
from mascli.importance.rules import RULES

OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "AddBackward0": torch.add,
    "MulBackward0": torch.mul,
}


@st.composite
def broadcasts(draw: st.DrawFn) -> tuple[tuple[int, ...], Layout, tuple[int, ...]]:
    """A shape with images in it, where they are, and the shape of a parameter that is broadcast to it."""
    before, count, after = draw(st.integers(1, 3)), draw(st.integers(1, 4)), draw(st.integers(1, 3))
    shape = draw(st.lists(st.integers(1, 4), max_size=3))
    dim = draw(st.integers(0, len(shape)))
    parameter = [size if draw(st.booleans()) else 1 for size in shape]
    parameter.insert(dim, 1)
    shape.insert(dim, before * count * after)
    while parameter and parameter[0] == 1 and draw(st.booleans()):
        parameter = parameter[1:]
    return tuple(shape), Layout(dim, before, after), tuple(parameter)


def masked(gradient: Tensor, layout: Layout, image: int) -> Tensor:
    """`gradient` at the part of one image, 0 elsewhere, by counting."""
    count = gradient.shape[layout.dim] // (layout.before * layout.after)
    index = torch.arange(gradient.shape[layout.dim]) // layout.after % count
    shape = [-1 if dim == layout.dim else 1 for dim in range(gradient.dim())]
    return gradient * (index == image).view(shape)


@torch.enable_grad()
def check(operation: str, function: Callable[[Tensor], Tensor], layout: Layout, parameter: Tensor) -> Any:
    output, rule = function(parameter), RULES[operation]
    gradient = torch.randn(output.shape, generator=torch.Generator().manual_seed(2)).to(output)
    untouched = gradient.clone()
    visit = visit_of(output, gradient, [parameter], layout)
    assert visit.node.name() == operation
    assert rule.takes(visit.node, visit.slots, layout)
    part = rule.see(visit)
    alone = torch.stack(
        [
            torch.autograd.grad(output, parameter, masked(gradient, layout, image), retain_graph=True)[0]
            for image in range(visit.images)
        ]
    )
    with torch.no_grad():
        (slot,) = visit.slots
        assert_close(part.per_image(slice(0, visit.images))[slot], alone)
        assert_close(part.per_image(slice(visit.images - 1, visit.images))[slot], alone[-1:])
        if not alone.is_complex():  # whose absolute value is taken of the real parameter behind them
            assert_close(part.sum_over_images(Tensor.abs_)[slot], alone.abs().sum(0))
    assert torch.equal(gradient, untouched)  # it is still needed further down
    return part, alone


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("operation", OPERATIONS)
@settings(max_examples=60, deadline=None)
@given(drawn=broadcasts())
def test_any_broadcast(operation: str, turned: bool, drawn: tuple[tuple[int, ...], Layout, tuple[int, ...]]) -> None:
    torch.manual_seed(0)
    shape, layout, small = drawn
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    parameter = torch.randn(small, dtype=torch.float64, requires_grad=True)
    function = OPERATIONS[operation]
    check(operation, lambda p: function(p, x) if turned else function(x, p), layout, parameter)


@settings(max_examples=40, deadline=None)
@given(drawn=broadcasts())
def test_any_expansion(drawn: tuple[tuple[int, ...], Layout, tuple[int, ...]]) -> None:
    torch.manual_seed(0)
    shape, layout, small = drawn
    parameter = torch.randn(small, dtype=torch.float64, requires_grad=True)
    check("ExpandBackward0", lambda p: p.expand(shape), layout, parameter)


def test_a_wrong_layout_is_told_apart() -> None:
    torch.manual_seed(0)
    x, parameter = torch.randn(6, 5).double(), torch.randn(5, requires_grad=True, dtype=torch.float64)
    sums = []
    for layout in (Layout(0), Layout(0, 2, 1), Layout(0, 1, 2)):
        part, _ = check("MulBackward0", lambda p: p * x, layout, parameter)
        with torch.no_grad():
            sums.append(part.sum_over_images(Tensor.abs_)[0])
    assert all(float((sums[a] - sums[b]).abs().max()) > 0.01 for a, b in ((0, 1), (0, 2), (1, 2)))


def test_what_the_rules_leave_to_others() -> None:
    x, p = torch.randn(3, 4, requires_grad=True), torch.randn(4, requires_grad=True)
    assert not RULES["AddBackward0"].takes(torch.add(x, p, alpha=2).grad_fn, (1,), Layout(0))
    assert RULES["AddBackward0"].takes(torch.add(x, p).grad_fn, (1,), Layout(0))
    assert not RULES["MulBackward0"].takes((x * p).grad_fn, (0, 1), Layout(0))
    assert "SubBackward0" not in RULES


def test_a_product_of_complex_numbers() -> None:
    x = torch.randn(3, 4, dtype=torch.cdouble)
    check("MulBackward0", lambda p: x * p, Layout(0), torch.randn(4, dtype=torch.cdouble, requires_grad=True))
