"""Which settings of a way of measuring go together, and what each stands for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mascli.config import EstimateConfig, resolve
from mascli.config.methods import Chosen, chosen
from mascli.config.yaml_file import to_yaml
from mascli.errors import DataError, UsageError
from mascli.workflows.estimating.given_labels import check_classes, labels_by_folder

ENOUGH = {"checkpoint": "a", "data": "d"}


def settled(**flags: Any) -> EstimateConfig:
    return resolve(EstimateConfig, {**ENOUGH, **flags}, None)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({}, ("mas", "squared-l2", "abs")),
        ({"method": "mas"}, ("mas", "squared-l2", "abs")),
        ({"method": "mas-local"}, ("mas-local", "local", "abs")),
        ({"method": "ewc"}, ("ewc", "log-likelihood", "square")),
        ({"method": "anpyc"}, ("anpyc", "entropy", "taylor")),
        ({"method": "mas", "objective": "l1"}, ("mas", "l1", "abs")),
        ({"objective": "each-output"}, ("mas", "each-output", "abs")),
        ({"objective": "log-likelihood", "reduction": "square"}, ("ewc", "log-likelihood", "square")),
        ({"objective": "entropy", "reduction": "taylor"}, ("anpyc", "entropy", "taylor")),
        ({"objective": "entropy"}, ("custom", "entropy", "abs")),
        ({"reduction": "square"}, ("custom", "squared-l2", "square")),
        ({"reduction": "batch", "batch_size": "8"}, ("mas", "squared-l2", "batch")),
    ],
)
def test_what_the_names_stand_for(flags: dict[str, str], expected: tuple[str, str, str]) -> None:
    assert chosen(settled(**flags)) == Chosen(*expected)


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [
        ({"method": "ewc", "objective": "l1"}, "--objective l1 contradicts --method ewc (log-likelihood)"),
        ({"method": "ewc", "reduction": "abs"}, "--reduction abs contradicts --method ewc (square)"),
        ({"method": "mas", "reduction": "taylor"}, "--reduction taylor contradicts --method mas (one of abs, batch)"),
        ({"method": "mas-local", "objective": "squared-l2"}, "--objective squared-l2 contradicts --method mas-local"),
        ({"objective": "each-output", "reduction": "taylor"}, "--reduction taylor is not for --objective each-output"),
        ({"objective": "each-output", "reduction": "batch", "batch_size": "8"}, "--reduction batch is not for"),
        ({"reduction": "batch"}, "--reduction batch needs --batch-size"),
        ({"labels": "given"}, "--labels given is for --objective log-likelihood, not squared-l2"),
        ({"compat": "facil", "labels": "given"}, "--labels given is for --objective log-likelihood, not l2"),
        ({"compat": "facil", "method": "ewc"}, "--compat facil sets what is measured: leave out --method"),
        ({"compat": "official", "objective": "l1", "reduction": "abs"}, "--compat official sets what is measured"),
        ({"method": "mass"}, "--method: 'mass' is not one of mas, mas-local, ewc, anpyc"),
        ({"objective": "local"}, "--objective: 'local' is not one of"),
        ({"compat": "mammoth"}, "--compat: 'mammoth' is not one of official, avalanche, facil"),
    ],
)
def test_contradictions_are_one_line(flags: dict[str, str], wanted: str) -> None:
    with pytest.raises(UsageError) as caught:
        settled(**flags)
    assert [line for line in str(caught.value).splitlines() if not line.startswith(("CHECKPOINT", "--data", "-o"))] == [
        line for line in str(caught.value).splitlines() if line.startswith(wanted)
    ]


@pytest.mark.parametrize(
    ("flags", "objective", "batch_size", "combine", "all_tasks", "factor"),
    [
        ({"compat": "official"}, "squared-l2", 200, "sum", False, 1.0),
        ({"compat": "official", "previous": "p"}, "squared-l2", 200, "sum", False, 1.0),
        ({"compat": "avalanche", "previous": "p"}, "squared-l2", 200, "ema", False, 1.0),
        ({"compat": "avalanche"}, "squared-l2", 200, "sum", False, 1.0),
        ({"compat": "facil"}, "l2", 64, "sum", True, 0.25),
        ({"compat": "facil", "previous": "p"}, "l2", 64, "ema", True, 0.5),
        ({"compat": "facil", "task": "t", "batch_size": "9"}, "l2", 9, "sum", False, 0.25),
        ({"compat": "facil", "previous": "p", "combine": "sum"}, "l2", 64, "sum", True, 0.5),
    ],
)
def test_what_another_implementation_does(
    flags: dict[str, str], objective: str, batch_size: int, combine: str, all_tasks: bool, factor: float
) -> None:
    config = settled(**flags)
    assert chosen(config) == Chosen("mas", objective, "batch", flags["compat"], factor)
    assert (config.batch_size, config.combine, config.all_tasks, config.decay) == (batch_size, combine, all_tasks, 0.5)


@pytest.mark.parametrize("flags", [{"compat": "facil"}, {"method": "ewc", "labels": "given"}, {"objective": "l1"}])
def test_a_way_of_measuring_survives_the_file(flags: dict[str, str], tmp_path: Path) -> None:
    config, file = settled(**flags), tmp_path / "shown.yaml"
    file.write_text(to_yaml(config), encoding="utf-8")
    assert resolve(EstimateConfig, {}, file) == config


def test_labels_are_the_places_of_the_folders_names_in_each_task() -> None:
    root = Path("d")
    files = [root / "cat" / "1.png", root / "dog" / "deep" / "2.png", root / "cat" / "3.png"]
    classes = {"base": ("cow", "cat", "dog"), "new": ("dog", "cat")}
    assert labels_by_folder(root, files, classes) == [(1, 1), (2, 0), (1, 1)]


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        (["cat/1.png", "bird/2.png", "fish/3.png"], "folders bird, fish are no classes of task 'base' (cat, dog)"),
        (["cat/1.png", "2.png"], "1 of 2 images lie in no folder"),
    ],
)
def test_folders_that_are_no_classes_are_named(files: list[str], wanted: str) -> None:
    with pytest.raises(DataError) as caught:
        labels_by_folder(Path("d"), [Path("d") / file for file in files], {"base": ("cat", "dog")})
    assert wanted in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("folder", "wanted"),
    [
        ("dog", "no classes of task 'base' (cow, cat); measure one task alone with --task new, or use --labels drawn"),
        ("bird", "no classes of task 'base' (cow, cat); rename them, measure one task alone with --task, or use"),
    ],
)
def test_labels_of_one_of_several_tasks_are_for_that_task_alone(folder: str, wanted: str) -> None:
    with pytest.raises(DataError) as caught:
        labels_by_folder(Path("d"), [Path("d") / folder / "1.png"], {"base": ("cow", "cat"), "new": ("dog", "cat")})
    assert wanted in str(caught.value)


def test_one_class_has_no_entropy() -> None:
    classes = {"base": ("cat", "dog"), "lone": ("cat",)}
    for objective in ("entropy", "log-likelihood"):
        with pytest.raises(UsageError, match=f"--objective {objective} measures nothing for lone"):
            check_classes(objective, classes)
    check_classes("squared-l2", classes)
    check_classes("entropy", {"base": ("cat", "dog")})
