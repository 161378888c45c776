"""Tables hold the numbers that they are given, exactly, and colour says the same as the number."""

from __future__ import annotations

import math
import re

import pytest
from html_page import ReadPage

from mascli.pages.content import Cell, Column, DataTable, Matrix
from mascli.pages.tables import data_table, matrix_table


def matrix(*rows: tuple[float, ...], lowest: float = 0.0) -> str:
    names = tuple(f"t{number}" for number in range(len(rows)))
    cells = tuple((name, tuple(Cell(f"{v:.2f}", v) for v in row)) for name, row in zip(names, rows, strict=True))
    ends = tuple(Cell("", None) for _ in rows)
    return matrix_table(
        Matrix(
            "m", "after", tuple((name, "n=1") for name in names), cells, ("mean", ends), ("lost", ends), lowest, 100.0
        )
    )


def test_a_table_keeps_text_and_exact_values() -> None:
    third = 1 / 3
    table = DataTable("t", (Column("a"), Column("b", "number")), ((Cell("<x>"), Cell("0.33", third)),))
    read = ReadPage(data_table(table))
    assert (read.problems, read.tables[0].head) == ([], ["a", "b"])
    assert read.tables[0].rows == [[("<x>", None), ("0.33", repr(third))]]


@pytest.mark.parametrize(("value", "written"), [(math.inf, "Infinity"), (-math.inf, "-Infinity"), (math.nan, "NaN")])
def test_numbers_that_are_none_are_written_as_a_script_reads_them(value: float, written: str) -> None:
    made = data_table(DataTable("t", (Column("a", "bar"),), ((Cell("x", value),),)))
    assert f'data-value="{written}"' in made and ReadPage(made).problems == []


def test_the_higher_the_darker() -> None:
    made = matrix((100.0,), (0.0, 50.0), lowest=0.0)
    assert re.findall(r'heat h(\d+)" data-value="([\d.]+)"', made) == [("20", "100.0"), ("0", "0.0"), ("10", "50.0")]


def test_a_matrix_of_one_value_has_one_colour() -> None:
    assert re.findall(r"heat h(\d+)", matrix((100.0,), (100.0, 100.0), lowest=100.0)) == ["20"] * 3


def test_what_was_not_learned_yet_is_empty() -> None:
    (table,) = ReadPage(matrix((1.0,), (2.0, 3.0))).tables
    assert [[text for text, _ in row[1:3]] for row in table.rows[:2]] == [["1.00", ""], ["2.00", "3.00"]]


def test_bars_and_ranges_are_as_long_as_their_numbers() -> None:
    bars = data_table(DataTable("t", (Column("a", "bar"),), ((Cell("25 %", 0.25),), (Cell("?", math.nan),))))
    assert re.findall(r'<rect width="([\d.]+)" height="8" class="part">', bars) == ["25", "0"]
    ranges = data_table(
        DataTable("t", (Column("a", "range"),), ((Cell("1", 1.0, -2.0, 4.0),), (Cell("-4", -4.0),), (Cell("0", 0.0),)))
    )
    assert re.findall(r'cx="([\d.]+)"', ranges) == ["61.5", "4", "50"]
    assert re.findall(r'x1="([\d.]+)" x2="([\d.]+)" y1="7" y2="7" class="interval"', ranges) == [("27", "96")]
    assert ranges.count('class="stem"') == 2
