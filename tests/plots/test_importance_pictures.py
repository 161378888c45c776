"""The pictures of importance: every number given is where it should be in the figure."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
from matplotlib.axes import Axes

from mascli.importance.density import Density
from mascli.importance.statistics import Histogram
from mascli.plots.filter_map import draw_filter_map, row_length
from mascli.plots.importance_histogram import draw_histogram
from mascli.plots.importance_picture import FilterMap, change_picture, omega_picture, scatter_picture
from mascli.plots.importance_scatter import axis_edges, draw_scatter
from mascli.plots.layer_bars import LayerPart, draw_layer_bars, largest
from mascli.plots.picture import Picture, rendered
from mascli.plots.style import (
    decades,
    new_figure,
    number_text,
    percent_decimals,
    percent_text,
    power_text,
    shortened,
    styled,
)


@pytest.fixture
def axes() -> Iterator[Axes]:
    with styled():
        yield new_figure(6, 4).subplots()


def bars_of(axes: Axes) -> list[tuple[float, float, float]]:
    """Left end, width and height of each bar."""
    return [(bar.get_x(), bar.get_width(), bar.get_height()) for bar in axes.patches]


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def ticks(labels: list[object]) -> list[str]:
    return [label.get_text() for label in labels]  # type: ignore[attr-defined]


def test_bars_stand_over_the_logarithms_of_their_edges_and_zeros_apart(axes: Axes) -> None:
    draw_histogram(axes, Histogram(500, 0, 0, (1e-3, 1e-2, 1e-1), (10, 3)), "all")
    first, second, zeros = bars_of(axes)
    assert first == pytest.approx((-3, 1, 10)) and second == pytest.approx((-2, 1, 3))
    assert zeros[2] == 500 and zeros[0] + zeros[1] < -3
    assert axes.get_yscale() == "log" and axes.get_ylim()[0] < 1
    assert ticks(axes.get_xticklabels()) == ["0", "10⁻³", "10⁻²", "10⁻¹"]


def test_what_is_negative_or_not_finite_has_bars_of_its_own(axes: Axes) -> None:
    draw_histogram(axes, Histogram(1, 2, 3, (1.0, 1.0), (4,)), "all")
    assert sorted(height for _, _, height in bars_of(axes)) == [1, 2, 3, 4]
    assert ticks(axes.get_xticklabels())[:3] == ["0", "below\n0", "not\nfinite"]
    places = [left for left, _, _ in bars_of(axes)]
    assert len(set(places)) == 4


def test_bars_of_what_is_not_there_are_not_drawn(axes: Axes) -> None:
    draw_histogram(axes, Histogram(0, 0, 0, (1.0, 10.0), (4,)), "all")
    assert [height for _, _, height in bars_of(axes)] == [4]


def test_no_values_are_said(axes: Axes) -> None:
    draw_histogram(axes, Histogram(0, 0, 0, (), ()), "all")
    assert texts(axes) == ["no values"]


def test_the_largest_layers_come_first_and_the_rest_is_summed() -> None:
    layers = [LayerPart(f"l{number}", number / 10, 0.2) for number in (1, 4, 2, 3)] + [LayerPart("nan", math.nan, 0.2)]
    bars = largest(layers, 3)
    assert [(bar.name, bar.is_rest) for bar in bars] == [("l4", False), ("l3", False), ("3 other layers", True)]
    assert bars[2].size == pytest.approx(30) and bars[2].parameters == pytest.approx(0.6)
    assert [bar.name for bar in largest(layers, 3, summed=False)] == ["l4", "l3", "l2"]
    assert len(largest(layers, 5)) == 5 and not any(bar.is_rest for bar in largest(layers, 5))


def test_bars_are_as_wide_as_their_parts_and_say_them(axes: Axes) -> None:
    bars = (LayerPart("conv1", 0.75, 0.1), LayerPart("a" * 99, 0.0004, 0.9), LayerPart("odd", None, None))
    draw_layer_bars(axes, bars, "by layer", "part (%)")
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([75, 0.04, 0])
    assert texts(axes) == ["75.0 %", "<0.1 %", "unknown"]
    names = ticks(axes.get_yticklabels())
    assert names[0] == "conv1" and len(names[1]) == 36 and "…" in names[1]
    assert list(axes.lines[0].get_xdata()) == pytest.approx([10, 90])


def test_small_bars_say_as_many_digits_as_their_axis(axes: Axes) -> None:
    bars = (LayerPart("conv1", 0.00046), LayerPart("fc", 0.0000231), LayerPart("norm", 1e-9))
    draw_layer_bars(axes, bars, "by layer", "part (%)")
    assert texts(axes) == ["0.046 %", "0.002 %", "<0.001 %"]
    with styled():
        assert "conv1 0.046 %, fc 0.002 %" in change_picture("a", bars, [], ()).description
    assert [percent_decimals(largest) for largest in (1.0, 0.01, 0.009, 0.0, 1e-30)] == [1, 1, 2, 1, 9]


def test_counts_of_a_scatter_lie_between_the_logarithms_of_their_edges(axes: Axes) -> None:
    density = Density((1e-2, 1e-1, 1.0), (1.0, 10.0), ((7, 1, 0), (2, 0, 5)))
    draw_scatter(axes, density, ("a.omega", "b.omega"), "")
    (mesh,) = axes.collections
    counts = np.ma.filled(mesh.get_array(), 0)
    assert counts.tolist() == [[7, 0, 1, 0], [0, 0, 0, 0], [2, 0, 0, 5]]  # behind zeros is a gap
    assert axis_edges(density.first_edges)[2:] == pytest.approx([-2, -1, 0])
    assert axis_edges(density.first_edges)[1] < -2
    assert ticks(axes.get_xticklabels()) == ["0", "10⁻²", "10⁻¹", "10⁰"]
    assert axes.get_xlabel() == "importance in a.omega" and axes.get_ylabel() == "importance in b.omega"


def test_the_line_of_equal_importance_is_where_both_axes_have_values(axes: Axes) -> None:
    draw_scatter(axes, Density((1e-2, 1.0), (1e-1, 10.0), ((1, 1), (1, 1))), ("a", "b"), "")
    (line,) = axes.lines
    assert list(line.get_xdata()) == pytest.approx([-1, 0]) == list(line.get_ydata())


@pytest.mark.parametrize("density", [Density((), (), ((0,),)), Density((), (1.0, 2.0), ((3,), (1,)))])
def test_a_scatter_of_zeros_can_be_drawn(density: Density) -> None:
    def draw() -> Picture:
        return scatter_picture("two", ("a", "b"), density, (("Pearson", "none"),))

    assert rendered(draw, "png")


def test_filters_fill_the_map_row_by_row(axes: Axes) -> None:
    draw_filter_map(axes, [1.0, 0.0, math.nan, 100.0, *[10.0] * 5], "conv1")
    cells = axes.images[0].get_array()
    assert cells.shape == (2, 8) == (2, row_length(9))
    assert cells[0, :4].tolist() == [1.0, 1.0, None, 100.0]  # zero has the colour of the smallest
    assert cells[1, 0] == 10.0 and cells[1, 1:].mask.all()
    assert list(axes.lines[0].get_xdata()) == [2] and list(axes.lines[0].get_ydata()) == [0]
    assert ticks(axes.get_yticklabels()) == ["0", "8"]


def test_a_filter_without_a_value_is_a_cross(axes: Axes) -> None:
    draw_filter_map(axes, [1.0, None, 0.0, None], "conv1")
    assert list(axes.lines[0].get_xdata()) == [1, 3]
    assert axes.images[0].get_array().mask[0, :4].tolist() == [False, True, False, True]


@pytest.mark.parametrize("importance", [(), (0.0,), (math.nan,), (3.0, 3.0), (1e-45,), tuple(range(5000))])
def test_any_layer_has_a_map(importance: tuple[float, ...]) -> None:
    layers = [LayerPart("fc", 1.0, 1.0)]
    histogram = Histogram(0, 0, 0, (1.0, 10.0), (4,))
    assert rendered(lambda: omega_picture("o", histogram, layers, FilterMap("fc", importance)), "png")


def test_the_description_says_what_matters_most() -> None:
    layers = [LayerPart(f"layer{number}", number / 15, 0.2) for number in range(6)]
    with styled():
        picture = omega_picture("importance", Histogram(1234, 0, 0, (1.0, 10.0), (4,)), layers)
    assert "Exactly 0: 1,234 parameters" in picture.description
    assert "layer5 33.3 %, layer4 26.7 %" in picture.description and "layer0" not in picture.description


def test_change_is_drawn_plain_and_weighed() -> None:
    plain = [LayerPart("conv1", 0.5), LayerPart("fc", 0.25)]
    with styled():
        both = change_picture("from a to b", plain, [LayerPart("conv1", 0.1, 0.5), LayerPart("fc", 0.9, 0.5)], ())
        alone = change_picture("from a to b", plain, [], (("changed", "3 of 4"),))
    left, right = both.figure.axes
    assert [bar.get_width() for bar in left.patches] == [50, 25]
    assert [bar.get_width() for bar in right.patches] == [90, 10] and ticks(right.get_yticklabels()) == ["fc", "conv1"]
    assert len(alone.figure.axes) == 1 and "changed: 3 of 4" in alone.description


def test_pictures_with_many_layers_or_none_can_be_drawn() -> None:
    many = [LayerPart(f"block{number}.{'deep.' * 30}conv", 1 / 200, 1 / 200) for number in range(200)]
    assert rendered(lambda: omega_picture("o", Histogram(0, 0, 0, (), ()), []), "svg")
    assert rendered(lambda: omega_picture("o" * 300, Histogram(0, 1, 0, (1.0, 2.0), (4,)), many), "svg")
    assert rendered(lambda: change_picture("o", many, many, ()), "svg")


def test_texts_of_numbers() -> None:
    assert [percent_text(share) for share in (0, 0.0001, 0.5, 1)] == ["0.0 %", "<0.1 %", "50.0 %", "100.0 %"]
    assert power_text(-12) == "10⁻¹²"
    assert [number_text(value) for value in (0, 0.25, 1234, 2e-7, 1.5e6)] == ["0", "0.25", "1,234", "2×10⁻⁷", "1.5×10⁶"]
    assert number_text(math.inf) == "inf"
    assert decades(-2.5, 1.2) == ([-2, -1, 0, 1], ["10⁻²", "10⁻¹", "10⁰", "10¹"])
    assert decades(0.1, 0.2)[1] == ["1.26", "1.58"]
    assert len(decades(-45, 38)[0]) <= 8
    assert shortened("layer1.conv1", 20) == "layer1.conv1" and shortened("a" * 10 + "b" * 30, 10) == "aaa…bbbbbb"
