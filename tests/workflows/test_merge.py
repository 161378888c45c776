"""`mascli merge` on files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stored
from safetensors.numpy import load_file

from mascli.config import MergeConfig
from mascli.errors import CheckpointError, NumericsError, UsageError
from mascli.files.records_json import foreign_metadata, omega_record
from mascli.files.tensor_file import read_header
from mascli.importance.combine import Rule
from mascli.importance.combine_values import CombinedValues
from mascli.observer import Observer
from mascli.records import OmegaRecord, Statistics
from mascli.reports.export import document
from mascli.reports.merge import merge_report
from mascli.reports.render import text
from mascli.workflows.merge import merge


class Notes(Observer):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def parts(tmp_path: Path) -> tuple[Path, Path]:
    one = stored.omega(stored.contribution("a", "b", "c", mean_squared_norm=1.0))
    other = stored.omega(stored.contribution("d", mean_squared_norm=5.0))
    return (
        stored.write(tmp_path / "one.omega", {"l.w": [1.0, 0.0, 3.0], "l.b": [0.0]}, one, author="A", only="one"),
        stored.write(tmp_path / "other.omega", {"l.w": [5.0, 0.0, 1.0], "l.b": [4.0]}, other, author="B", more="other"),
    )


def test_pooled_parts_are_the_whole(tmp_path: Path, parts: tuple[Path, Path]) -> None:
    out = tmp_path / "all.omega"
    result = merge(MergeConfig(omegas=parts, combine="pool", out=out), Observer())
    assert {name: array.tolist() for name, array in load_file(out).items()} == {"l.w": [2.0, 0.0, 2.5], "l.b": [1.0]}
    whole = stored.contribution("a", "b", "c", "d", mean_squared_norm=2.0, statistics=result.statistics)
    header = read_header(out)
    assert omega_record(header) == stored.omega(whole)
    assert foreign_metadata(header) == {"author": "A", "only": "one", "more": "other"}
    assert (result.out, result.files, result.combine) == (str(out), tuple(map(str, parts)), "pool")
    assert (result.images, result.contributions, result.mean_squared_norm, result.notes) == (4, 1, 2.0, ())
    statistics = result.statistics
    assert (statistics.mean, statistics.median, statistics.maximum, statistics.zeros) == (1.375, 1.5, 2.5, 0.25)


def test_sums_add_up(tmp_path: Path, parts: tuple[Path, Path]) -> None:
    out = tmp_path / "both.omega"
    result = merge(MergeConfig(omegas=parts, combine="sum", out=out), Observer())
    assert {name: array.tolist() for name, array in load_file(out).items()} == {"l.w": [6.0, 0.0, 4.0], "l.b": [4.0]}
    record = omega_record(read_header(out))
    assert [part.images for part in record.contributions] == [3, 1]
    assert [part.statistics for part in record.contributions] == [stored.contribution().statistics] * 2
    assert (result.images, result.contributions, result.mean_squared_norm) == (4, 2, None)
    assert (result.factors, result.decay, result.normalized) == ((1.0, 1.0), None, False)
    statistics = result.statistics
    assert (statistics.mean, statistics.median, statistics.maximum, statistics.zeros) == (3.5, 4.0, 6.0, 0.25)


@pytest.mark.parametrize(
    ("options", "weight", "bias"),
    [
        ({"combine": "max"}, [5.0, 0.0, 3.0], [4.0]),
        ({"combine": "max", "weights": (4.0, 0.5)}, [4.0, 0.0, 12.0], [2.0]),
        ({"combine": "mean"}, [3.0, 0.0, 2.0], [2.0]),
        ({"combine": "mean", "weights": (3.0, 1.0)}, [2.0, 0.0, 2.5], [1.0]),
        ({"combine": "ema", "decay": 0.75}, [2.0, 0.0, 2.5], [1.0]),
        ({"combine": "ema"}, [3.0, 0.0, 2.0], [2.0]),
        ({"combine": "sum", "weights": (0.5, 2.0)}, [10.5, 0.0, 3.5], [8.0]),
        ({"combine": "sum", "normalize": True}, [2.0, 0.0, 3.2], [0.8]),
        ({"combine": "max", "normalize": True}, [1.0, 0.0, 3.0], [0.8]),
    ],
)
def test_each_rule(
    tmp_path: Path, parts: tuple[Path, Path], options: dict[str, Any], weight: list[float], bias: list[float]
) -> None:
    out = tmp_path / "both.omega"
    result = merge(MergeConfig(omegas=parts, out=out, **options), Observer())
    found = load_file(out)
    assert found["l.w"].tolist() == np.array(weight, np.float32).tolist()
    assert found["l.b"].tolist() == np.array(bias, np.float32).tolist()
    record = omega_record(read_header(out))
    assert record.combine == result.combine == options["combine"]
    assert record.reliability is None
    assert tuple(part.weight for part in record.contributions) == result.factors
    assert result.normalized == options.get("normalize", False)
    assert {part.normalized for part in record.contributions} == {result.normalized}
    assert result.decay == (options.get("decay", 0.5) if options["combine"] == "ema" else None)
    assert result.statistics.maximum == max(found["l.w"].max(), found["l.b"].max())


@pytest.mark.parametrize("last", ["sum", "max"])
def test_weights_in_the_file_give_its_values_also_after_several_merges(tmp_path: Path, last: Rule) -> None:
    random = np.random.default_rng(0)
    values = {name: {"l.w": random.random((3, 5), np.float32), "l.b": random.random(4, np.float32)} for name in "abcd"}
    files = {
        name: stored.write(tmp_path / name, tensors, stored.omega(stored.contribution(name, heads=(name,))))
        for name, tensors in values.items()
    }
    first, second = (last, last) if last == "max" else ("ema", "mean")
    one, two, out = (tmp_path / name for name in ("one", "two", "out"))
    merge(MergeConfig(omegas=(files["a"], files["b"]), combine=first, normalize=True, out=one), Observer())
    merge(MergeConfig(omegas=(files["c"], files["d"]), combine=second, weights=(1.0, 3.0), out=two), Observer())
    merge(MergeConfig(omegas=(one, two), combine=last, weights=(2.0, 0.7), out=out), Observer())
    contributions = omega_record(read_header(out)).contributions
    assert [part.heads for part in contributions] == [("a",), ("b",), ("c",), ("d",)]
    for name, found in load_file(out).items():
        terms = [part.weight * values[part.heads[0]][name].astype(np.float64) for part in contributions]
        expected = np.max(terms, axis=0) if last == "max" else np.sum(terms, axis=0)
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_one_file_can_be_weighed_alone(tmp_path: Path, parts: tuple[Path, Path]) -> None:
    merge(MergeConfig(omegas=parts[1:], combine="sum", normalize=True, out=tmp_path / "out"), Observer())
    assert load_file(tmp_path / "out")["l.w"].tolist() == np.array([1.0, 0.0, 0.2], np.float32).tolist()


def test_other_scales_are_told(tmp_path: Path, parts: tuple[Path, Path]) -> None:
    large = stored.omega(stored.contribution("e", heads=("birds",), shared_sha256="b", mean_squared_norm=100.0))
    third = stored.write(tmp_path / "third.omega", {"l.w": [1.0, 0.0, 3.0], "l.b": [0.0]}, large)
    observer = Notes()
    result = merge(MergeConfig(omegas=(*parts, third), combine="sum", out=tmp_path / "out"), observer)
    assert observer.lines[0].startswith("the estimates are of different scales, E|F|^2: ")
    assert result.notes == tuple(observer.lines)
    report = merge_report(result)
    assert "different scales" not in text(report, None).plain  # once is enough
    assert all("different scales" in document(report, Path(f"x.{form}")) for form in ("json", "md"))


def test_the_order_of_the_parts_does_not_matter(tmp_path: Path, parts: tuple[Path, Path]) -> None:
    for name, order in (("x", parts), ("y", parts[::-1])):
        for path in order:
            stored.write(path, load_file(path), omega_record(read_header(path)))  # without foreign metadata
        merge(MergeConfig(omegas=order, combine="pool", out=tmp_path / name), Observer())
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()


def test_an_input_can_be_overwritten(parts: tuple[Path, Path]) -> None:
    with pytest.raises(UsageError, match="--overwrite"):
        merge(MergeConfig(omegas=parts, combine="sum", out=parts[0]), Observer())
    merge(MergeConfig(omegas=parts, combine="sum", out=parts[0], overwrite=True), Observer())
    assert load_file(parts[0])["l.w"].tolist() == [6.0, 0.0, 4.0]


def test_what_cannot_be_combined_writes_nothing(tmp_path: Path, parts: tuple[Path, Path]) -> None:
    same_images = omega_record(read_header(parts[0]))
    shuffled = stored.write(tmp_path / "again.omega", {"l.w": [0.0, 1.0, 2.0], "l.b": [1.0]}, same_images)
    for config in (
        MergeConfig(omegas=(parts[0], shuffled), combine="pool", out=tmp_path / "out"),
        MergeConfig(omegas=(parts[0], shuffled), combine="sum", out=tmp_path / "out"),
    ):
        with pytest.raises(CheckpointError):
            merge(config, Observer())
    damaged = stored.omega(stored.contribution("z"))
    bad = stored.write(tmp_path / "bad.omega", {"l.w": np.full(3, np.nan), "l.b": [1.0]}, damaged)
    with pytest.raises(CheckpointError, match="not finite"):
        merge(MergeConfig(omegas=(parts[0], bad), combine="sum", out=tmp_path / "out"), Observer())
    silent = stored.write(tmp_path / "silent", {"l.w": np.zeros(3), "l.b": [0.0]}, silent_record())
    with pytest.raises(NumericsError, match="silent cannot be normalized"):
        merge(MergeConfig(omegas=(parts[0], silent), combine="max", normalize=True, out=tmp_path / "out"), Observer())
    assert {path.name for path in tmp_path.iterdir()} == {
        *(path.name for path in parts),
        "again.omega",
        "bad.omega",
        "silent",
    }


def silent_record() -> OmegaRecord:
    return stored.omega(stored.contribution("y", mean_squared_norm=0.0))


def test_a_file_that_changes_between_the_sweeps_leaves_nothing(
    tmp_path: Path, parts: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def then_damaged(self: CombinedValues) -> Statistics:
        found = sweeps(self)
        stored.write(parts[1], {"l.w": [1.0, -1.0, 0.0], "l.b": [4.0]}, omega_record(read_header(parts[1])))
        return found

    sweeps = CombinedValues.statistics
    monkeypatch.setattr(CombinedValues, "statistics", then_damaged)
    for path in parts:
        stored.write(path, load_file(path), omega_record(read_header(path)))  # of the same length without the rest
    with pytest.raises(CheckpointError, match="negative"):
        merge(MergeConfig(omegas=parts, combine="sum", out=tmp_path / "out"), Observer())
    assert set(tmp_path.iterdir()) == set(parts)
