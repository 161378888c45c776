"""Limits on accuracies: from flags and files to numbers, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mascli.config import EvaluateConfig, resolve
from mascli.config.command_line import command_line
from mascli.config.limits import Limits, limit_problems, limits_of
from mascli.config.yaml_file import to_yaml
from mascli.errors import UsageError

NEEDED = {"checkpoint": "a.st", "data": ["d"], "baseline": ["b.st"]}


def told(name: str, values: list[str]) -> str:
    with pytest.raises(UsageError) as caught:
        resolve(EvaluateConfig, {**NEEDED, name: values}, None)
    return str(caught.value)


def test_a_tasks_own_limit_beats_that_of_all() -> None:
    limits = limits_of(("90", "birds=75.5"))
    assert limits == Limits(90, {"birds": 75.5})
    assert limits.of("birds") == 75.5 and limits.of("flowers") == 90
    assert limits_of(("birds=0",)).of("flowers") is None and limits_of(()).of("birds") is None


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("min_accuracy", "101", "--min-accuracy must be 0 to 100 (percent), not 101"),
        ("min_accuracy", "birds=-1", "--min-accuracy birds must be 0 to 100 (percent), not -1"),
        ("min_accuracy", "nan", "--min-accuracy must be 0 to 100 (percent), not nan"),
        ("min_accuracy", "inf", "--min-accuracy must be 0 to 100 (percent), not inf"),
        ("min_accuracy", "many", "--min-accuracy: expected a number, or TASK=NUMBER, not 'many'"),
        ("min_accuracy", "birds=", "--min-accuracy: expected a number, or TASK=NUMBER, not 'birds='"),
        ("min_accuracy", "=90", "--min-accuracy: expected a number, or TASK=NUMBER, not '=90'"),
        ("min_accuracy", "90%", "not '90%'"),
        ("max_forgetting", "birds=101", "--max-forgetting birds must be -100 to 100 (percentage points), not 101"),
    ],
)
def test_a_limit_that_means_nothing_is_told(name: str, value: str, message: str) -> None:
    assert message in told(name, [value])


def test_two_limits_for_the_same_are_told() -> None:
    found = told("min_accuracy", ["1", "birds=2", "birds=3", "4"])
    assert "--min-accuracy birds is given twice" in found and "--min-accuracy is given twice" in found
    assert limit_problems("min_accuracy", "--min-accuracy", ("1", "birds=2")) == []


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("80", ("80",)),
        ("80.5", ("80.5",)),
        ("1e-3", ("1e-3",)),
        ("birds=90", ("birds=90",)),
        ("[80, birds=90]", ("80", "birds=90")),
        ("{birds: 90, cars: 80.5}", ("birds=90", "cars=80.5")),
        ("[80, {birds: 90}]", ("80", "birds=90")),
        ("[]", ()),
        ("null", ()),
    ],
)
def test_a_file_may_hold_a_number_a_table_or_a_list(tmp_path: Path, written: str, expected: tuple[str, ...]) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(f"checkpoint: a.st\ndata: d\nbaseline: b.st\nmin-accuracy: {written}\n")
    config = resolve(EvaluateConfig, {}, file)
    assert config.min_accuracy == expected
    file.write_text(to_yaml(config))
    assert resolve(EvaluateConfig, {}, file) == config
    assert command_line(config).count("--min-accuracy") == len(expected)


@pytest.mark.parametrize(
    "written", ["true", "{birds: null}", "[null]", "2020-01-01", "9" * 30, "{birds: [1]}", "{1: x}"]
)
def test_a_file_with_something_else_is_told(tmp_path: Path, written: str) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(f"checkpoint: a.st\ndata: d\nmin-accuracy: {written}\n")
    with pytest.raises(UsageError, match="min-accuracy"):
        resolve(EvaluateConfig, {}, file)


def test_a_flag_replaces_what_the_file_says(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("checkpoint: a.st\ndata: d\nmin-accuracy: {birds: 90}\n")
    flags: dict[str, Any] = {"min_accuracy": ["50"]}
    assert resolve(EvaluateConfig, flags, file).min_accuracy == ("50",)
