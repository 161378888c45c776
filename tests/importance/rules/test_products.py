"""Sum over images of |g^T a|, by single products, blocks and chunks."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from judge import assert_close
from torch import Tensor

from mascli.importance.reduction import ABS, SQUARE, Pointwise
from mascli.importance.rules import products as module
from mascli.importance.rules.products import products, sum_of_products


def one_by_one(g: Tensor, a: Tensor, square: bool) -> Tensor:
    total = torch.zeros(g.shape[2], a.shape[2], dtype=g.dtype)
    for one, other in zip(g, a, strict=True):
        gradient = torch.einsum("to,ti->oi", one, other)
        total += gradient**2 if square else gradient.abs()
    return total


def pair(count: int, positions: int, rows: int, columns: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(count, positions, rows).double(), torch.randn(count, positions, columns).double()


@pytest.mark.parametrize("small", [0, 20, 1 << 14])
@pytest.mark.parametrize("block", [1, 17, 1 << 22])
@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(1, 5),
    positions=st.integers(1, 4),
    rows=st.integers(1, 9),
    columns=st.integers(1, 9),
    turned=st.booleans(),
)
def test_any_sizes(small: int, block: int, count: int, positions: int, rows: int, columns: int, turned: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SMALL_NUMBERS", small)
        patch.setattr(module, "BLOCK_NUMBERS", block)
        g, a = pair(count, positions, rows, columns)
        if turned:  # as maps give them: positions last in memory
            g, a = (tensor.transpose(1, 2).contiguous().transpose(1, 2) for tensor in (g, a))
        before = g.clone(), a.clone()
        for reduction in (ABS, SQUARE):
            assert reduction.pointwise is not None
            assert_close(sum_of_products(g, a, reduction.pointwise), one_by_one(g, a, reduction is SQUARE))
        assert torch.equal(g, before[0]) and torch.equal(a, before[1])


def test_products_of_each_image() -> None:
    g, a = pair(3, 4, 5, 6)
    assert_close(products(g, a), torch.einsum("nto,nti->noi", g, a))


@pytest.mark.parametrize("small", [0, 1 << 14])
def test_wrong_sums_are_told_apart(small: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SMALL_NUMBERS", small)
    g, a = pair(4, 3, 5, 6)
    pointwise: Pointwise = Tensor.abs_
    right = sum_of_products(g, a, pointwise)
    wrong = {
        "over positions after the absolute value": one_by_one(g.abs(), a.abs(), False),
        "over images before the absolute value": torch.einsum("nto,nti->oi", g, a).abs(),
        "another reduction": one_by_one(g, a, True),
        "without the last image": one_by_one(g[:-1], a[:-1], False),
    }
    assert {name for name, sums in wrong.items() if float((sums - right).abs().max()) <= 1e-3} == set()
