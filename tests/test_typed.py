"""Plain values become typed fields, and what does not fit is told, one line a problem."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mascli.typed import build, convert


@dataclass(frozen=True)
class Inner:
    share: float


@dataclass(frozen=True)
class Outer:
    name: str
    lambda_: float | None = None
    sizes: tuple[int, ...] = ()
    kind: Literal["a", "b"] = "a"
    inner: Inner | None = None
    table: dict[str, int] = field(default_factory=dict)
    path: Path | None = None
    free: Any = None


def built(values: dict[str, Any]) -> tuple[Outer | None, list[str]]:
    problems: list[str] = []
    return build(Outer, values, "file", problems), problems


def test_builds_every_kind_of_field() -> None:
    values = {
        "name": "n",
        "lambda": 3,
        "sizes": [1, 2.0],
        "kind": "b",
        "inner": {"share": "0.5"},
        "table": {"x": 1},
        "path": "a/b",
        "free": [1, {"y": None}],
    }
    outer, problems = built(values)
    assert problems == []
    assert outer == Outer("n", 3.0, (1, 2), "b", Inner(0.5), {"x": 1}, Path("a/b"), [1, {"y": None}])


def test_a_single_value_is_a_list_of_one() -> None:
    outer, problems = built({"name": "n", "sizes": 8})
    assert (outer, problems) == (Outer("n", sizes=(8,)), [])


def test_tells_all_problems_at_once() -> None:
    outer, problems = built({"lamda": 1, "sizes": ["x"], "kind": "c", "inner": 3, "table": {"x": "y"}, "path": ""})
    assert outer is None
    assert [problem.split(" ")[1] for problem in problems] == [
        "unknown",
        "name",
        "sizes:",
        "kind:",
        "inner:",
        "table.x:",
        "path:",
    ]
    assert "did you mean 'lambda'?" in problems[0]
    assert all("\n" not in problem for problem in problems)


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (int, True),
        (int, 1.5),
        (int, math.inf),
        (int, "1"),
        (float, True),
        (float, "x"),
        (float, 10**400),
        (int, -(10**400)),
        (bool, 1),
        (bool, "true"),
        (str, 1.5),
        (str, True),
        (Path, "a\0b"),
        (Path, 3),
        (dict[str, int], [1]),
        (dict[str, int], {1: 1}),
    ],
)
def test_refuses_what_only_looks_alike(hint: Any, value: Any) -> None:
    problems: list[str] = []
    convert(hint, value, "file: key", problems)
    assert len(problems) == 1
    assert problems[0].startswith("file: key: ")


def test_text_numbers_and_whole_numbers_as_names() -> None:
    problems: list[str] = []
    assert convert(float, "1e-3", "", problems) == 1e-3
    assert convert(str, 34, "", problems) == "34"
    assert math.isnan(convert(float, "nan", "", problems))
    assert problems == []


def test_a_name_cannot_break_a_line() -> None:
    assert "\n" not in built({"name": "n", "a\nb\x1b[31m": 1})[1][0]


_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["name", "lambda", "sizes", "kind", "inner", "table", "path"]), _PLAIN))
def test_either_builds_or_tells_why(values: dict[str, Any]) -> None:
    outer, problems = built(values)
    assert (outer is None) == bool(problems)
