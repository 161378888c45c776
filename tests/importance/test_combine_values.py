"""The values of combined omegas against the plain formula, in memory and from files."""

from __future__ import annotations

import tracemalloc
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
import pytest
import stored
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mascli.errors import CheckpointError, NumericsError
from mascli.files.tensor_file import read_header
from mascli.importance import combine_values
from mascli.importance.combine import Combination
from mascli.importance.combine_values import CombinedValues, Operand, file_operand
from mascli.importance.statistics import statistics

ADDED = stored.omega()
LARGEST = stored.omega(combine="max")


def in_memory(tensors: list[dict[str, np.ndarray]], factors: list[float], largest: bool = False) -> CombinedValues:
    combination = Combination(LARGEST if largest else ADDED, tuple(factors))
    operands = [Operand(f"file {number}", values.__getitem__) for number, values in enumerate(tensors)]
    return CombinedValues(combination, operands, {name: values.shape for name, values in tensors[0].items()})


def one(*arrays: np.ndarray, factors: list[float], largest: bool = False) -> np.ndarray:
    """The combination of single tensors."""
    return in_memory([{"w": np.asarray(array, np.float32)} for array in arrays], factors, largest).tensor("w")


def formula(tensors: list[np.ndarray], factors: list[float], largest: bool) -> np.ndarray:
    weighted = [factor * values.astype(np.float64) for factor, values in zip(factors, tensors, strict=True)]
    return (np.max(weighted, axis=0) if largest else sum(weighted, np.zeros(()))).astype(np.float32)


@given(data=st.data(), largest=st.booleans(), block=st.integers(1, 9))
def test_values_are_those_of_the_formula_in_blocks_of_any_size(data: st.DataObject, largest: bool, block: int) -> None:
    shape = data.draw(arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    count = data.draw(st.integers(1, 3))
    elements = st.floats(0, 1e6, width=32)
    tensors = [data.draw(arrays.arrays(np.float32, shape, elements=elements)) for _ in range(count)]
    factors = data.draw(st.lists(st.floats(0, 100), min_size=count, max_size=count))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(combine_values, "BLOCK", block)
        found = one(*tensors, factors=factors, largest=largest)
        described = in_memory([{"w": tensor} for tensor in tensors], factors, largest).statistics()
    assert found.dtype == np.float32
    assert np.array_equal(found, formula(tensors, factors, largest))
    expected = statistics([found])
    assert astuple(described) == pytest.approx(astuple(expected), rel=1e-12, nan_ok=True)
    assert repr(replace(described, mean=0)) == repr(replace(expected, mean=0))


def test_values_are_added_in_float64() -> None:
    found = one(np.array([1.0, 2.0**-24]), np.array([0.0, 1.0]), np.array([0.0, 2.0**-24]), factors=[1, 1, 1])
    assert found.tolist() == [1.0, 1.0 + 2.0**-23]  # float32 sums would give 1.0


@pytest.mark.parametrize("largest", [False, True])
def test_a_zero_has_no_sign(largest: bool) -> None:
    found = one(np.array([-0.0, -0.0]), np.array([0.0, -0.0]), factors=[1, 1], largest=largest)
    assert found.tobytes() == bytes(8)


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("factor", [0.0, 1.0])
def test_values_that_cannot_be_are_one_line(value: float, factor: float) -> None:
    with pytest.raises(CheckpointError, match="file 1: the importance of w is negative or not finite"):
        one(np.ones(2), np.array([0.0, value]), factors=[1.0, factor])


@pytest.mark.parametrize(("factors", "largest"), [([1, 1], False), ([1e300, 0], False), ([2, 0], True)])
def test_a_value_beyond_float32_is_one_line(factors: list[float], largest: bool) -> None:
    large = np.array([3e38])
    with pytest.raises(NumericsError, match="w is too large"):
        one(large, large, factors=factors, largest=largest)
    assert one(large, large, factors=[1, 1], largest=True).tolist() == np.float32(large).tolist()


def test_files_are_read_as_they_are_needed_and_each_sweep_is_told(tmp_path: Path) -> None:
    tensors = {"w": [[1.0, 2.0]], "e": np.zeros(0), "s": 3.0}
    headers = [read_header(stored.write(tmp_path / name, tensors)) for name in ("one", "other")]
    told: list[int] = []
    shapes = {name: info.shape for name, info in headers[0].tensors.items()}
    values = CombinedValues(
        Combination(ADDED, (0.25, 0.5)), [file_operand(header, shapes) for header in headers], shapes, told.append
    )
    assert values.statistics().maximum == 2.25
    assert told == [1] * 6
    sources = values.sources()
    assert {name: (source.dtype, source.shape) for name, source in sources.items()} == {
        "w": ("F32", (1, 2)),
        "e": ("F32", (0,)),
        "s": ("F32", ()),
    }
    assert told == [1] * 6
    assert np.frombuffer(sources["w"].read(), np.float32).tolist() == [0.75, 1.5]
    assert np.frombuffer(sources["s"].read(), np.float32).tolist() == [2.25]
    assert bytes(sources["e"].read()) == b""
    assert told == [1] * 9


def test_only_one_tensor_and_a_few_blocks_are_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(combine_values, "BLOCK", 1 << 12)
    size, tensors = 1 << 19, 8
    values = {f"w{number}": np.ones(size, np.float32) for number in range(tensors)}
    headers = [read_header(stored.write(tmp_path / name, values)) for name in ("one", "other")]
    del values
    shapes = {name: info.shape for name, info in headers[0].tensors.items()}
    combined = CombinedValues(
        Combination(ADDED, (1.0, 1.0)),
        [file_operand(header, shapes) for header in headers],
        shapes,
    )
    tracemalloc.start()
    try:
        combined.statistics()
        for source in combined.sources().values():
            source.read()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * 4 * size  # all tensors of one file: 8 * 4 * size
