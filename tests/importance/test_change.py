"""What changed between two files: numbers that can be checked by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stored

from mascli.files.tensor_file import Header, array_source, read_header, write_tensor_file
from mascli.importance import change
from mascli.importance.change import Changes, Weighed, changed_tensors, changes

NAN, INF = math.nan, math.inf


def written(path: Path, values: Mapping[str, Any]) -> Header:
    arrays = {name: np.asarray(value, getattr(value, "dtype", np.float32)) for name, value in values.items()}
    sources = {name: array_source(array) for name, array in arrays.items()}
    write_tensor_file(path, sources, {}, overwrite=True)
    return read_header(path)


def between(
    folder: Path, before: Mapping[str, Any], after: Mapping[str, Any], omega: Mapping[str, Any] | None = None
) -> Changes:
    weights = None if omega is None else read_header(stored.write(folder / "omega", omega))
    names = {name: name for name in before}
    return changes(written(folder / "a", before), written(folder / "b", after), names, weights)


@pytest.mark.parametrize("block", [1, 1 << 17])
def test_numbers_made_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(change, "BLOCK", block)
    found = between(
        tmp_path,
        {"a.w": [3.0, -4.0], "a.b": [0.0], "b.w": [2.0, 2.0]},
        {"a.w": [3.0, -4.5], "a.b": [-0.0], "b.w": [2.0, 4.0]},
        {"a.w": [1.0, 2.0], "b.w": [0.0, 1.0]},
    )
    a, b = found.layers
    assert (a.name, a.parameters, a.changed, a.largest, a.not_finite) == ("a", 3, 1, 0.5, 0)
    assert (a.relative_l2, a.relative_l1) == (0.1, 0.5 / 7)
    assert a.weighed == Weighed(importance=0.75, on_changed=2 / 3, moved=1.0 / 11.0, moved_share=1 / 3)
    assert b.weighed == Weighed(importance=0.25, on_changed=1.0, moved=1.0, moved_share=2 / 3)
    overall = found.overall
    assert (overall.parameters, overall.changed, overall.largest) == (5, 2, 2.0)
    assert overall.relative_l2 == pytest.approx(math.sqrt(4.25 / 33), abs=1e-15)
    assert overall.weighed == Weighed(importance=1.0, on_changed=0.75, moved=3.0 / 13.0, moved_share=1.0)
    assert found.odd == 0


def test_the_same_file_twice_has_no_change(tmp_path: Path) -> None:
    values = {"a.w": np.random.default_rng(0).normal(0, 1, 1000).astype(np.float32), "b.w": np.zeros(3, np.float32)}
    found = between(tmp_path, values, values, {"a.w": np.ones(1000), "b.w": np.ones(3)})
    for part in (found.overall, *found.layers):
        assert (part.changed, part.relative_l2, part.relative_l1, part.largest) == (0, 0.0, 0.0, 0.0)
        assert part.weighed is not None
        assert (part.weighed.on_changed, part.weighed.moved, part.weighed.moved_share) == (0.0, 0.0, None)


def test_without_an_omega_nothing_is_weighed(tmp_path: Path) -> None:
    found = between(tmp_path, {"a.w": [1.0]}, {"a.w": [2.0]})
    assert (found.overall.weighed, found.overall.relative_l2, found.layers[0].weighed) == (None, 1.0, None)


def test_what_an_omega_lacks_has_importance_zero(tmp_path: Path) -> None:
    found = between(tmp_path, {"a.w": [1.0], "b.w": [1.0]}, {"a.w": [2.0], "b.w": [1.5]}, {"b.w": [1.0]})
    assert found.layers[0].weighed == Weighed(0.0, None, None, 0.0)
    assert found.overall.weighed == Weighed(1.0, 1.0, 0.5, 1.0)


def test_what_was_zero_has_no_relative_change(tmp_path: Path) -> None:
    (layer,) = between(tmp_path, {"a.w": [0.0]}, {"a.w": [2.0]}, {"a.w": [1.0]}).layers
    assert (layer.relative_l2, layer.relative_l1, layer.largest) == (None, None, 2.0)
    assert layer.weighed == Weighed(1.0, 1.0, None, 1.0)


def test_values_that_are_not_finite_are_counted_and_left_out(tmp_path: Path) -> None:
    before, after = [1.0, NAN, INF, 2.0, 5.0], [1.0, NAN, INF, -INF, 6.0]
    (layer,) = between(tmp_path, {"a.w": before}, {"a.w": after}, {"a.w": [1.0, 1.0, 1.0, 1.0, 2.0]}).layers
    assert (layer.parameters, layer.not_finite, layer.changed, layer.largest) == (5, 3, 1, 1.0)
    assert layer.weighed == Weighed(1.0, 2 / 3, 2 / 11, 1.0)


def test_importance_that_cannot_be_counts_as_none(tmp_path: Path) -> None:
    found = between(tmp_path, {"a.w": [1.0, 1.0, 1.0]}, {"a.w": [2.0, 2.0, 2.0]}, {"a.w": [NAN, -1.0, 1.0]})
    assert found.odd == 2
    assert found.overall.weighed == Weighed(1.0, 1.0, 1.0, 1.0)


@pytest.mark.parametrize("dtype", ["float16", "float64", "int64", "bool", "complex64"])
def test_numbers_of_any_kind(tmp_path: Path, dtype: str) -> None:
    before, after = np.array([1, 0], dtype), np.array([1, 1], dtype)
    (layer,) = between(tmp_path, {"a.w": before}, {"a.w": after}).layers
    assert (layer.changed, layer.largest, layer.relative_l2) == (1, 1.0, 1.0)


def test_numbers_whose_squares_are_too_large(tmp_path: Path) -> None:
    (layer,) = between(tmp_path, {"a.w": np.array([1e300])}, {"a.w": np.array([2e300])}).layers
    assert (layer.relative_l1, layer.largest) == (1.0, 1e300)


def test_tensors_that_differ(tmp_path: Path) -> None:
    before = {"a": [1.0, NAN], "b": [1.0], "c": [1.0, 2.0]}
    first, second = written(tmp_path / "a", before), written(tmp_path / "b", {**before, "b": [2.0], "c": [[1.0, 2.0]]})
    assert changed_tensors(first, second, {name: name for name in before}) == ("b", "c")
