"""Which class is predicted and where the own class ranks, against the plainest way to say it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from mascli.evaluation.predict import NO_ANSWER, answers, predict, ranked
from mascli.models.heads import MultiHeadModel


def plain_rank(outputs: list[float], own: int) -> int:
    """The place of `own` when classes are sorted by output, the smaller number first where two are equal."""
    order = sorted(range(len(outputs)), key=lambda number: (-outputs[number], number))
    return order.index(own)


@given(
    st.integers(1, 8).flatmap(
        lambda classes: st.lists(
            st.lists(
                st.sampled_from([-math.inf, -1.0, 0.0, -0.0, 0.5, 2.0, math.inf]), min_size=classes, max_size=classes
            ),
            min_size=1,
            max_size=6,
        )
    ),
    st.data(),
)
def test_ranks_are_those_of_a_stable_sort(rows: list[list[float]], data: st.DataObject) -> None:
    labels = [data.draw(st.integers(0, len(row) - 1)) for row in rows]
    found = ranked(torch.tensor(rows), torch.tensor(labels))
    assert found.ranks.tolist() == [plain_rank(row, own) for row, own in zip(rows, labels, strict=True)]
    assert found.predicted.tolist() == [row.index(max(row)) for row in rows]
    assert found.correct.tolist() == [row.index(max(row)) == own for row, own in zip(rows, labels, strict=True)]


def test_what_is_predicted_is_argmax_as_ever() -> None:
    outputs = torch.randn(500, 40, generator=torch.Generator().manual_seed(0)).mul(4).round()  # many are equal
    labels = torch.arange(500) % 40
    found = ranked(outputs, labels)
    assert torch.equal(found.predicted, outputs.argmax(1))
    assert torch.equal(found.correct, outputs.argmax(1) == labels)


def test_among_equals_the_class_learned_first_comes_first() -> None:
    same = torch.zeros(8, 8)
    assert ranked(same, torch.arange(8)).ranks.tolist() == list(range(8))


def test_nan_is_no_answer() -> None:
    outputs = torch.tensor([[0.0, math.nan, 3.0], [math.nan] * 3, [0.0, 1.0, math.inf], [1.0, 0.0, -math.inf]])
    found = ranked(outputs, torch.tensor([2, 0, 2, 0]))
    assert found.predicted.tolist() == [NO_ANSWER, NO_ANSWER, 2, 0]
    assert found.ranks.tolist() == [3, 3, 0, 0]
    assert found.correct.tolist() == [False, False, True, True]


class Echo(nn.Module):
    """Its classifier gets the pixels as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))
        self.fc = nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(images.flatten(1) * self.scale)  # type: ignore[no-any-return]


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_batches_and_their_size_change_nothing(batch: int) -> None:
    torch.manual_seed(0)
    model = MultiHeadModel(Echo(), "fc", torch.zeros(2, 4, 1, 1))
    model.add_head("a", 6)
    images, labels, advanced = torch.randn(8, 4, 1, 1), torch.arange(8) % 6, []
    parts = list(zip(images.split(batch), labels.split(batch), strict=True))
    found = predict(model, "a", iter(parts), advanced.append)
    whole = answers(model, "a", [images])
    assert found.predicted.tolist() == whole.argmax(1).tolist()
    expected = [plain_rank(row, own) for row, own in zip(np.asarray(whole).tolist(), labels.tolist(), strict=True)]
    assert found.ranks.tolist() == expected
    assert sum(advanced) == 8


def test_no_image_has_no_answer() -> None:
    model = MultiHeadModel(Echo(), "fc", torch.zeros(2, 4, 1, 1))
    model.add_head("a", 3)
    found = predict(model, "a", [])
    assert found.predicted.shape == found.ranks.shape == found.correct.shape == (0,)
