"""`mascli merge` on files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import stored
from safetensors.numpy import load_file

from mascli.config import MergeConfig
from mascli.errors import CheckpointError, UsageError
from mascli.files.records_json import foreign_metadata, omega_record
from mascli.files.tensor_file import read_header
from mascli.observer import Observer
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
    assert result.statistics.maximum == 6.0


def test_other_scales_are_told(tmp_path: Path, parts: tuple[Path, Path]) -> None:
    large = stored.omega(stored.contribution("e", mean_squared_norm=100.0))
    third = stored.write(tmp_path / "third.omega", {"l.w": [1.0, 0.0, 3.0], "l.b": [0.0]}, large)
    observer = Notes()
    result = merge(MergeConfig(omegas=(*parts, third), combine="sum", out=tmp_path / "out"), observer)
    assert len(observer.lines) == 1
    assert result.notes == tuple(observer.lines)


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
    assert not (tmp_path / "out").exists()
