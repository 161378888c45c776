"""Each objective is its formula, with the gradient it should have where formulas are not smooth."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mascli.importance.objective import OBJECTIVES, entropy, l1, l2, log_likelihood, squared_l2

HEADS = (torch.tensor([[3.0, -4.0], [0.0, 0.0]]).double(), torch.tensor([[12.0], [0.0]]).double())


@pytest.mark.parametrize(("objective", "expected"), [(squared_l2, [169.0, 0.0]), (l1, [19.0, 0.0]), (l2, [13.0, 0.0])])
def test_norms_are_of_the_concatenated_heads(objective: object, expected: list[float]) -> None:
    assert objective(HEADS, None).tolist() == expected  # type: ignore[operator]


@pytest.mark.parametrize("name", ["squared-l2", "l1", "l2", "entropy"])
def test_the_gradient_at_zero_is_zero_and_no_nan(name: str) -> None:
    outputs = torch.zeros(2, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(OBJECTIVES[name]([outputs], None).sum(), outputs)
    torch.testing.assert_close(gradient, torch.zeros(2, 3))


def test_entropy_is_its_formula_and_heads_add() -> None:
    one, other = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0)).double()

    def by_hand(outputs: Tensor) -> Tensor:
        p = outputs.exp() / outputs.exp().sum(1, keepdim=True)
        return -(p * p.log()).sum(1)

    torch.testing.assert_close(entropy([one, other], None), by_hand(one) + by_hand(other))
    torch.testing.assert_close(entropy([torch.zeros(1, 8)], None), torch.tensor([math.log(8)]))


def test_entropy_of_a_probability_that_underflows_is_finite_and_so_is_its_gradient() -> None:
    outputs = torch.tensor([[0.0, -1000.0, 5.0], [2000.0, 0.0, -3000.0]], requires_grad=True)
    value = entropy([outputs], None)
    (gradient,) = torch.autograd.grad(value.sum(), outputs)
    p = 1 / (1 + math.exp(5.0))
    torch.testing.assert_close(value, torch.tensor([-(p * math.log(p) + (1 - p) * math.log(1 - p)), 0.0]))
    assert gradient.isfinite().all() and gradient[0, 0] != 0


@pytest.mark.parametrize("name", ["entropy", "log-likelihood"])
def test_a_head_with_one_class_has_value_and_gradient_zero(name: str) -> None:
    outputs = torch.tensor([[3.0], [-1000.0]], requires_grad=True)
    value = OBJECTIVES[name]([outputs], torch.tensor([[0.999], [0.0]]).double())
    (gradient,) = torch.autograd.grad(value.sum(), outputs)
    assert not value.any() and not gradient.any()


def test_log_likelihood_of_given_labels_is_that_of_each_head_added() -> None:
    one, other = torch.randn(4, 3).double(), torch.randn(4, 5).double()
    labels = torch.tensor([[0, 4], [1, 3], [2, 2], [0, 0]])
    rows = range(4)
    expected = one.log_softmax(1)[rows, labels[:, 0]] + other.log_softmax(1)[rows, labels[:, 1]]
    torch.testing.assert_close(log_likelihood([one, other], labels), expected)


def test_a_drawn_label_is_where_the_cumulative_probability_exceeds_the_number() -> None:
    p = torch.tensor([[0.5, 0.25, 0.25]]).double().repeat(5, 1)
    numbers = torch.tensor([[0.0], [0.4999], [0.5001], [0.76], [1 - 2.0**-53]], dtype=torch.float64)
    drawn = log_likelihood([p.log()], numbers).exp()
    torch.testing.assert_close(drawn, torch.tensor([0.5, 0.5, 0.25, 0.25, 0.25]).double())
    one_sided = torch.tensor([[0.0, -2000.0]]).repeat(2, 1)  # the second class has probability 0
    assert log_likelihood([one_sided], numbers[[0, 4]]).tolist() == [0.0, 0.0]


def test_labels_are_drawn_as_often_as_they_are_probable() -> None:
    p = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)
    numbers = ((torch.arange(10_000).double() + 0.5) / 10_000)[:, None]
    values = log_likelihood([p.log().repeat(10_000, 1)], numbers).exp()
    assert [int((values - value).abs().lt(1e-9).sum()) for value in p] == [6000, 3000, 1000]


def test_a_drawn_label_is_a_constant_to_the_gradient() -> None:
    outputs = torch.tensor([[1.0, 2.0, 0.5]], requires_grad=True)
    drawn, given = torch.tensor([[0.5]]).double(), torch.tensor([[1]])
    gradients = [torch.autograd.grad(log_likelihood([outputs], it).sum(), outputs)[0] for it in (drawn, given)]
    assert torch.equal(*gradients)
    torch.testing.assert_close(gradients[1], torch.tensor([[0.0, 1.0, 0.0]]) - outputs.detach().softmax(1))
