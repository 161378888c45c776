"""Every sample configuration is valid as it stands, complete, and commented."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

from mascli.config import Common, EstimateConfig, EvaluateConfig, ModelOptions, TrainTaskConfig, resolve
from mascli.typed import key_of

FOLDER = Path(__file__).parents[1] / "sample_configs"
KINDS: dict[str, type[Common]] = {
    "train-task.yaml": TrainTaskConfig,
    "estimate.yaml": EstimateConfig,
    "evaluate.yaml": EvaluateConfig,
}
# settings that another one of the same file stands for, or that are for plain weights
LEFT_OUT = {"val", "data", "task", "out", "order", "compat", "memory"} | {
    field.name for field in dataclasses.fields(ModelOptions)
}


def key(field_name: str) -> str:
    return key_of(field_name).replace("_", "-")


def test_every_sample_is_known_here() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(KINDS)


@pytest.mark.parametrize("name", KINDS)
def test_samples_are_valid(name: str) -> None:
    config = resolve(KINDS[name], {}, FOLDER / name)
    written = yaml.safe_load((FOLDER / name).read_text())
    settings = {key(field.name): getattr(config, field.name) for field in dataclasses.fields(config)}
    for name, value in written.items():
        expected = [Path(file) for file in value] if isinstance(value, list) else value
        got = settings[name]
        assert got == (tuple(expected) if isinstance(value, list) else type(got)(expected)), name


@pytest.mark.parametrize("name", KINDS)
def test_samples_name_every_setting_with_a_comment(name: str) -> None:
    text = (FOLDER / name).read_text()
    keys = {line.split(":")[0] for line in text.splitlines() if line and line[0].isalpha()}
    assert {key(field.name) for field in dataclasses.fields(KINDS[name])} - {key(field) for field in LEFT_OUT} <= keys
    for line in text.splitlines():
        assert not line or "#" in line, line
