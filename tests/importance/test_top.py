"""The most important parameters, filters and tensors against sorting everything."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import stored
from hypothesis import given
from hypothesis import strategies as st

from mascli.errors import UsageError
from mascli.files.header import Header, read_header
from mascli.importance import filters, top
from mascli.importance.filters import filter_sums, layer_map
from mascli.importance.top import most_important, not_ranked

VALUES = {
    "a.weight": [[[1.0, 5.0]], [[0.0, 2.0]], [[5.0, 0.5]]],
    "a.bias": [4.0, 0.0, 9.0],
    "b.weight": [[3.0, 3.0], [math.nan, 1.0]],
    "scale": 6.0,
    "none": np.zeros((0, 2)),
}


def header(folder: Path, values: dict[str, object] = VALUES) -> Header:
    return read_header(stored.write(folder / "x.omega", values))


def test_parameters_by_name_and_index(tmp_path: Path) -> None:
    found = most_important(header(tmp_path), list(VALUES), 5, "parameters", 40.0)
    assert [(one.rank, one.name, one.importance, one.share, one.parameters) for one in found] == [
        (1, "a.bias[2]", 9.0, 0.225, 1),
        (2, "scale", 6.0, 0.15, 1),
        (3, "a.weight[0,0,1]", 5.0, 0.125, 1),  # of equal ones the earlier
        (4, "a.weight[2,0,0]", 5.0, 0.125, 1),
        (5, "a.bias[0]", 4.0, 0.1, 1),
    ]


def test_filters_are_outputs_of_weights_and_what_is_not_finite_is_left_out(tmp_path: Path) -> None:
    found = most_important(header(tmp_path), list(VALUES), 10, "filters", 40.0)
    assert [(one.name, one.importance, one.parameters) for one in found] == [
        ("a.weight[0]", 6.0, 2),
        ("b.weight[0]", 6.0, 2),
        ("a.weight[2]", 5.5, 2),
        ("a.weight[1]", 2.0, 2),
    ]


@pytest.mark.parametrize(("by", "many"), [("parameters", 1), ("filters", 1), ("tensors", 1)])
def test_what_has_no_rank_is_counted(tmp_path: Path, by: top.Unit, many: int) -> None:
    assert not_ranked(header(tmp_path), list(VALUES), by) == many
    assert not_ranked(header(tmp_path), ["a.weight", "a.bias"], by) == 0


@pytest.mark.parametrize("block", [1, 4, 1000])
def test_a_filter_that_is_not_finite_is_not_one_of_zeros(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(filters, "BLOCK", block)
    values = [[0.0, 0.0], [math.nan, math.nan], [math.inf, 1.0], [2.0, 1.0]]
    assert layer_map(header(tmp_path, {"a.weight": values}), "a").importance == (0.0, None, None, 3.0)


def test_tensors(tmp_path: Path) -> None:
    found = most_important(header(tmp_path), list(VALUES), 3, "tensors", 0.0)
    assert [(one.name, one.importance, one.parameters, one.share) for one in found] == [
        ("a.weight", 13.5, 6, 0.0),
        ("a.bias", 13.0, 3, 0.0),
        ("b.weight", 7.0, 4, 0.0),
    ]


@given(
    values=st.lists(st.floats(-1, 4, width=32).map(lambda value: round(value * 2) / 2), min_size=1, max_size=60),
    most=st.integers(1, 12),
    size=st.integers(1, 7),
)
def test_blocks_make_no_difference(values: list[float], most: int, size: int) -> None:
    part = np.array(values, np.float32)
    best = top._Best(most)
    for start in range(0, part.size, size):
        best.add(part[start : start + size], 0, start)
    order = np.argsort(-part, kind="stable")[:most]
    assert [(value, index) for value, _, index in best.ranked()] == [(float(part[i]), int(i)) for i in order]


@pytest.mark.parametrize("block", [1, 4, 7, 1000])
def test_sums_of_filters_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    values = np.random.default_rng(0).random((5, 2, 3)).astype(np.float32)
    monkeypatch.setattr(filters, "BLOCK", block)
    parts = list(filter_sums(header(tmp_path, {"a.weight": values}), "a.weight"))
    assert [start for start, _ in parts] == np.cumsum([0, *(part.size for _, part in parts)])[:-1].tolist()
    sums = np.concatenate([part for _, part in parts])
    assert sums == pytest.approx(values.astype(np.float64).sum(axis=(1, 2)), rel=1e-12)
    assert sums != pytest.approx(values.astype(np.float64).sum(axis=(0, 2))[:1].repeat(5), rel=0.1)


def test_the_map_of_a_layer_is_that_of_its_weight(tmp_path: Path) -> None:
    file = header(tmp_path, {"a.weight": [[1.0, 2.0], [0.0, 0.0]], "a.other": np.ones((9, 9)), "b.bias": [1.0]})
    drawn = layer_map(file, "a")
    assert (drawn.layer, drawn.tensor, drawn.shape, drawn.importance) == ("a", "a.weight", (2, 2), (3.0, 0.0))
    assert layer_map(file, "a.other").importance == (9.0,) * 9


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("b", "--map b: it has no weight of two or more dimensions, so no filters; layers with some: a.1, a.2"),
        ("b.bias", "--map b.bias: it has no weight of two or more dimensions"),
        ("a.11", "--map a.11: there is no such layer; the nearest: a.1, a.2"),
        ("q\n", r"--map q\\n: there is no such layer; there are a.1, a.2"),
    ],
)
def test_a_layer_that_cannot_be_drawn(tmp_path: Path, layer: str, message: str) -> None:
    file = header(tmp_path, {"a.1.weight": [[1.0]], "a.2.weight": [[1.0]], "b.bias": [1.0]})
    with pytest.raises(UsageError, match=message):
        layer_map(file, layer)
