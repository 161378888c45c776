"""Matrix products: on vectors, sequences and maps, images anywhere in the rows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from judge import assert_close, each_alone, visit_of
from torch import Tensor, nn

from mascli.importance.layout import Layout
from mascli.importance.reduction import ABS, SQUARE
from mascli.importance.rules import RULES

LINEAR, PRODUCT = RULES["AddmmBackward0"], RULES["MmBackward0"]


@torch.enable_grad()
def seen(x: Tensor, matrix: Tensor, bias: Tensor | None, layout: Layout) -> tuple[Any, Tensor, list[Tensor]]:
    """The rule's part of x [rows, in] @ matrix [in, out] + bias, the gradient there, and the parameters by slot."""
    output = x @ matrix if bias is None else torch.addmm(bias, x, matrix)
    gradient = torch.randn(output.shape, generator=torch.Generator().manual_seed(2)).to(output)
    parameters = [matrix] if bias is None else [bias, matrix]
    visit = visit_of(output, gradient, parameters, layout)
    rule = PRODUCT if bias is None else LINEAR
    assert rule.takes(visit.node, visit.slots, layout)
    return rule.see(visit), gradient, parameters


@settings(max_examples=80, deadline=None)
@given(
    count=st.integers(1, 4),
    before=st.integers(1, 3),
    after=st.integers(1, 3),
    inputs=st.integers(1, 9),
    outputs=st.integers(1, 9),
    bias=st.booleans(),
)
@torch.no_grad()
def test_any_product_of_rows(count: int, before: int, after: int, inputs: int, outputs: int, bias: bool) -> None:
    torch.manual_seed(0)
    every = torch.randn(before, count, after, inputs, dtype=torch.float64)
    matrix = torch.randn(inputs, outputs, dtype=torch.float64, requires_grad=True)
    vector = torch.randn(outputs, dtype=torch.float64, requires_grad=True) if bias else None
    part, gradient, parameters = seen(every.flatten(0, 2), matrix, vector, Layout(0, before, after))
    by_image = gradient.view(before, count, after, outputs).transpose(0, 1)
    alone = each_alone(
        lambda x: x @ matrix + (0 if vector is None else vector), every.transpose(0, 1), by_image, parameters
    )
    for slot, gradients in zip(part.visit.slots, alone, strict=True):
        assert_close(part.per_image(slice(0, count))[slot], gradients)
        assert_close(part.per_image(slice(count - 1, count))[slot], gradients[-1:])
        for reduction in (ABS, SQUARE):
            assert reduction.pointwise is not None
            expected = reduction.of(gradients.clone(), torch.ones(())).sum(0)
            assert_close(part.sum_over_images(reduction.pointwise)[slot], expected)


@torch.no_grad()
def test_the_outer_product_of_sums_is_told_apart() -> None:
    """Negative control: right for one position, too large for more."""
    torch.manual_seed(0)
    x, matrix = torch.randn(12, 5).double(), torch.randn(5, 3, requires_grad=True, dtype=torch.float64)
    part, gradient, _ = seen(x, matrix, None, Layout(0, 1, 4))
    right = part.sum_over_images(Tensor.abs_)[1]
    assert float(((x.abs().t() @ gradient.abs()) / right).mean()) > 1.3
    part, gradient, _ = seen(x, matrix, None, Layout(0))
    assert_close(part.sum_over_images(Tensor.abs_)[1], x.abs().t() @ gradient.abs())


@torch.no_grad()
def test_a_wrong_layout_is_told_apart() -> None:
    torch.manual_seed(0)
    x, matrix = torch.randn(12, 5).double(), torch.randn(5, 3, requires_grad=True, dtype=torch.float64)
    sums = [
        seen(x, matrix, None, Layout(0, *each))[0].sum_over_images(Tensor.abs_)[1] for each in ((1, 4), (4, 1), (2, 2))
    ]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert float((sums[one] - sums[other]).abs().max()) > 0.01


def test_only_the_parts_that_are_asked_for_are_computed() -> None:
    for frozen, slots in (("weight", (0,)), ("bias", (2,))):
        layer = nn.Linear(4, 3)
        layer.get_parameter(frozen).requires_grad_(False)
        free = [parameter for parameter in layer.parameters() if parameter.requires_grad]
        output = layer(torch.randn(6, 4, requires_grad=True))
        visit = visit_of(output, torch.randn(6, 3), [*free, layer.weight.t()])
        node = output.grad_fn
        assert node is not None
        found = LINEAR.see(type(visit)(node, slots, (tuple(free[0].shape),), visit.gradient, Layout(0)))
        with torch.no_grad():
            assert found.sum_over_images(Tensor.abs_).keys() == set(slots)
            assert found.per_image(slice(0, 2)).keys() == set(slots)


@pytest.mark.parametrize(
    ("product", "rule", "slots"),
    [
        (lambda x, w, b: torch.addmm(b, x, w, alpha=2), LINEAR, (0, 2)),
        (lambda x, w, b: torch.addmm(b, x, w, beta=0.5), LINEAR, (0, 2)),
        (lambda x, w, b: torch.addmm(b, w.t(), x.t()), LINEAR, (0, 1)),
        (lambda x, w, b: w.t() @ x.t(), PRODUCT, (0,)),
    ],
)
def test_what_the_rules_leave_to_others(product: Any, rule: Any, slots: tuple[int, ...]) -> None:
    x, w, b = (torch.randn(5, 5, requires_grad=True) for _ in range(3))
    node = product(x, w, b).grad_fn
    assert not rule.takes(node, slots, Layout(0))


def test_images_in_another_dimension_are_left_to_others() -> None:
    x, w, b = (torch.randn(5, 5, requires_grad=True) for _ in range(3))
    assert not LINEAR.takes(torch.addmm(b, x, w).grad_fn, (0, 2), Layout(1))
    assert not PRODUCT.takes((x @ w).grad_fn, (1,), Layout(1))
    assert LINEAR.takes(torch.addmm(b, x, w).grad_fn, (0, 2), Layout(0))
    assert PRODUCT.takes((x @ w).grad_fn, (1,), Layout(0))
