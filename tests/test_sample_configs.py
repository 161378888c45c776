"""Every sample configuration is valid as it stands, complete, and commented."""

from __future__ import annotations

import dataclasses
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from mascli.config import (
    Common,
    EstimateConfig,
    EvaluateConfig,
    ModelOptions,
    RunConfig,
    TrainTaskConfig,
    resolve,
    sequence,
)
from mascli.config.sequence_checks import sequence_of
from mascli.errors import UsageError
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
LIMITS = {"min-accuracy": ("80",), "max-forgetting": ("flowers=1",)}


def key(field_name: str) -> str:
    return key_of(field_name).replace("_", "-")


SEQUENCES = ["digits.yaml", "sequence.yaml", "split-mnist.yaml"]


def test_every_sample_is_known_here() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {*KINDS, *SEQUENCES}


@pytest.mark.parametrize("name", SEQUENCES)
def test_sequences_are_valid_but_for_files_that_are_the_users(name: str) -> None:
    with suppress(UsageError):
        sequence_of(RunConfig(sequence=FOLDER / name))
        return
    assert name != "digits.yaml"
    with pytest.raises(UsageError) as caught:
        sequence_of(RunConfig(sequence=FOLDER / name))
    assert [line for line in str(caught.value).splitlines() if ": there is no f" not in line] == []


def test_the_template_of_a_sequence_names_every_key_with_a_comment() -> None:
    text = (FOLDER / "sequence.yaml").read_text()
    content = yaml.safe_load(text)
    task, method = content["tasks"][0], content["methods"][2]
    assert set(sequence._TASK_KEYS) == set(task) and {"decay", *method} == set(sequence._METHOD_KEYS)
    assert set(sequence._KEYS) - {"checkpoint", "samples", "root", "data", "test"} == set(content)
    mentioned = [f"`{key}:" in text for key in ("checkpoint", "samples", "root", "data", "test")]
    assert all(mentioned)
    assert set(content["training"]) == {key(field) for field in sequence.SHARED_TRAINING}
    estimating = set(content["estimating"]) | set(method["estimating"])
    assert estimating == {key(field) for field in sequence.SHARED_ESTIMATING} - {"memory"}
    assert [name for name in sequence.METHODS if name not in text] == []


@pytest.mark.parametrize("name", SEQUENCES)
def test_every_line_of_a_sequence_has_a_comment(name: str) -> None:
    for line in (FOLDER / name).read_text().splitlines():
        assert not line or "#" in line, line


@pytest.mark.parametrize("name", KINDS)
def test_samples_are_valid(name: str) -> None:
    config = resolve(KINDS[name], {}, FOLDER / name)
    written = yaml.safe_load((FOLDER / name).read_text())
    settings = {key(field.name): getattr(config, field.name) for field in dataclasses.fields(config)}
    for name, value in written.items():
        if name in LIMITS:  # numbers and tables of them are kept as the flag has them
            assert settings[name] == LIMITS[name], name
            continue
        if value is None:  # not given
            assert settings[name] is None, name
            continue
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
