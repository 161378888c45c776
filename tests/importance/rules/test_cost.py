"""The choice among the ways of a convolution: always a possible one, the same for the same layer."""

from __future__ import annotations

from dataclasses import fields, replace
from math import prod

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mascli.importance.rules.cost import (
    Convolution,
    Way,
    autotuned,
    by_fastest_way,
    cheapest_way,
    possible_ways,
)

SMALL = Convolution(images=4, weight=(8, 4, 3, 3), output=(7, 7), point=False, groups=1, rows=1, transposed=False)


@st.composite
def layers(draw: st.DrawFn) -> Convolution:
    dims, groups = draw(st.integers(1, 3)), draw(st.sampled_from([1, 1, 2, 32, 512]))
    return Convolution(
        images=draw(st.integers(1, 300)),
        weight=(
            groups * draw(st.integers(1, 600)),
            draw(st.integers(1, 600)),
            *draw(st.tuples(*[st.integers(1, 7)] * dims)),
        ),
        output=draw(st.tuples(*[st.integers(1, 120)] * dims)),
        point=draw(st.booleans()),
        groups=groups,
        rows=draw(st.sampled_from([1, 1, 4])),
        transposed=draw(st.booleans()),
    )


@given(layer=layers(), fused=st.booleans())
def test_the_way_is_possible_and_depends_on_the_layer_alone(layer: Convolution, fused: bool) -> None:
    layer = replace(layer, fused=fused)
    ways = possible_ways(layer)
    assert len(set(ways)) == len(ways)
    assert "alone" in ways
    assert cheapest_way(layer) in ways
    assert cheapest_way(replace(layer)) == cheapest_way(layer)


@given(layer=layers())
def test_ways_that_would_be_wrong_are_not_possible(layer: Convolution) -> None:
    ways = possible_ways(layer)
    if layer.transposed:
        assert ways == ("alone",)
    if layer.groups > 1 or len(layer.output) != 2:
        assert "patches" not in ways
    if layer.groups > 1 or not layer.point or prod(layer.weight[2:]) > 1:
        assert "products" not in ways
    if layer.rows > 1:
        assert "together" not in ways


def test_every_way_is_taken_by_some_layer() -> None:
    sizes = [(out, in_, k, k) for out in (8, 512) for in_ in (1, 4, 512) for k in (1, 3)]
    taken = {
        cheapest_way(replace(SMALL, weight=weight, output=output, point=weight[2] == 1))
        for weight in sizes
        for output in ((1, 1), (7, 7), (14, 14), (56, 56))
    }
    assert taken == {"products", "together", "patches", "alone"}


def test_all_that_the_choice_depends_on_is_in_the_layer() -> None:
    assert {field.name for field in fields(Convolution)} == {
        *("images", "weight", "output", "point", "groups", "rows", "transposed", "fused")
    }


def test_without_tuning_nothing_is_measured() -> None:
    asked: list[Way] = []

    def compute(way: Way) -> Tensor:
        asked.append(way)
        return torch.ones(1)

    for _ in range(2):
        by_fastest_way(SMALL, compute)
    assert asked == [cheapest_way(SMALL)] * 2


def test_tuning_measures_every_way_once_and_keeps_one(monkeypatch: pytest.MonkeyPatch) -> None:
    now, took = [0.0], {"alone": 3.0, "together": 2.0, "patches": 1.0}
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    asked: list[Way] = []

    def compute(way: Way) -> Tensor:
        asked.append(way)
        now[0] += took[way]
        return torch.full((1,), float(took[way]))

    with autotuned():
        for _ in range(3):
            assert by_fastest_way(SMALL, compute) == 1.0
        assert sorted(asked[:3]) == sorted(possible_ways(SMALL))
        assert asked[3:] == ["patches", "patches"]
        asked.clear()
        by_fastest_way(replace(SMALL, images=5), compute)  # another layer
        assert sorted(asked) == sorted(possible_ways(SMALL))
    asked.clear()
    by_fastest_way(SMALL, compute)
    assert asked == [cheapest_way(SMALL)]
