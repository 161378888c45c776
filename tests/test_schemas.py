"""docs/schemas says what each command prints as JSON; the fixture `run` checks every result against it."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sample_comparisons as pairs
import sample_results as sample
from commands import Run
from jsonschema import Draft202012Validator
from schemas import FOLDER, SCHEMAS, SHARED, name_of, objects, problems

from mascli.reports import init as reports_of_init
from mascli.reports.average import average_report
from mascli.reports.change import change_report
from mascli.reports.comparison import comparison_report
from mascli.reports.demo import demo_report
from mascli.reports.estimate import estimate_report
from mascli.reports.evaluate import evaluate_report
from mascli.reports.export import to_json
from mascli.reports.export_task import export_report
from mascli.reports.inspect_file import inspect_report
from mascli.reports.merge import merge_report
from mascli.reports.page import PageResult, page_report
from mascli.reports.report import Report, plain
from mascli.reports.run import run_report, steps_report
from mascli.reports.train_task import train_task_report

REPORTS: dict[str, Report] = {
    "init": reports_of_init.init_report(sample.INIT),
    "estimate": estimate_report(sample.ESTIMATE),
    "train-task": train_task_report(sample.TRAIN),
    "evaluate": evaluate_report(sample.EVALUATE),
    "merge": merge_report(sample.MERGE),
    "average": average_report(sample.AVERAGE),
    "export": export_report(sample.EXPORT),
    "inspect an omega": inspect_report(sample.INSPECT_OMEGA),
    "inspect a checkpoint": inspect_report(sample.INSPECT_CHECKPOINT),
    "inspect tensors": inspect_report(sample.INSPECT_TENSORS),
    "inspect two omegas": comparison_report(pairs.INSPECT_OMEGAS),
    "inspect two checkpoints": change_report(pairs.INSPECT_CHECKPOINTS),
    "report": page_report(PageResult("page.html", "out", "run", ("a", "b"), ("mas, lambda 1",), (0, 1), 12)),
    "run": run_report(sample.RUN),
    "result.json of run": run_report(sample.RUN, timed=False),
    "run --dry-run": steps_report(sample.STEPS),
    "demo": demo_report(sample.DEMO),
}
PAGE = (FOLDER.parent / "json.md").read_text(encoding="utf-8")
EACH = pytest.mark.parametrize("name", REPORTS)
EACH_SCHEMA = pytest.mark.parametrize("name", SCHEMAS)


def found(name: str) -> tuple[str, Any]:
    """The name of a report's schema, and its JSON."""
    payload = json.loads(to_json(REPORTS[name]))
    return name_of(REPORTS[name].command, payload), payload


def shortened(name: str) -> tuple[str, Any]:
    """The same with three members of each list at most, to be changed in many places."""

    def cut(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: cut(member) for key, member in value.items()}
        return [cut(member) for member in value[:3]] if isinstance(value, list) else value

    schema, payload = found(name)
    return schema, cut(payload)


@EACH_SCHEMA
def test_schemas_are_schemas(name: str) -> None:
    Draft202012Validator.check_schema(SCHEMAS[name])
    assert SCHEMAS[name]["$schema"] == Draft202012Validator.META_SCHEMA["$id"]


@EACH_SCHEMA
def test_every_key_has_a_description(name: str) -> None:
    shared = SCHEMAS[SHARED]["$defs"]
    for part in objects(SCHEMAS[name]):
        for key, value in part["properties"].items():
            told = value.get("description") or shared[value["$ref"].rsplit("/")[-1]].get("description")
            assert told, key


@EACH_SCHEMA
def test_nothing_that_is_shared_is_forgotten(name: str) -> None:
    text = json.dumps(SCHEMAS[name])
    own = set(re.findall(r'"#/\$defs/(\w+)"', text))
    assert own <= set(SCHEMAS[name].get("$defs", {}))
    if name != SHARED:
        assert own == set(SCHEMAS[name].get("$defs", {}))
        assert set(re.findall(r"definitions\.json#/\$defs/(\w+)", text)) <= set(SCHEMAS[SHARED]["$defs"])


def test_every_command_has_a_schema() -> None:
    from mascli.cli.app import app

    commands = {command.name for command in app.registered_commands}
    assert commands | {"run-dry-run", "inspect-omegas", "inspect-checkpoints", SHARED} == set(SCHEMAS)
    assert {found(name)[0] for name in REPORTS} == set(SCHEMAS) - {SHARED}


@EACH
def test_what_is_printed_is_what_the_schema_says(name: str) -> None:
    schema, payload = found(name)
    assert problems(schema, payload) == []
    assert problems(schema, payload, strict=False) == []


def places(payload: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where in `payload` there are objects whose keys are fixed; of a list, the first member."""
    if isinstance(payload, dict) and not (set(at[-1:]) & BY_NAME or at[-2:] == ("seconds", "methods")):
        yield at
        for key, member in payload.items():
            yield from places(member, (*at, key))
    elif isinstance(payload, list) and payload:
        yield from places(payload[0], (*at, 0))


def changed(payload: Any, at: tuple[Any, ...], key: str, *value: Any) -> Any:
    """A copy of `payload` with another value of one key of the object at `at`; without the key, if none is given."""
    other = copy.deepcopy(payload)
    part = other
    for step in at:
        part = part[step]
    if value:
        part[key] = value[0]
    else:
        del part[key]
    return other


# objects with the users' own names for keys
BY_NAME = {
    "rules",
    "fallback",
    "activations",
    "arguments",
    "settings",
    "result",
    "heads",
    "aliases",
    "owned",
    "shapes",
    "histograms",
    "dtypes",
    "parts",
    "exported",
}
# what `run` prints where it is asked for, and leaves out of result.json
MAY_LACK = {
    ("run", "out"),
    ("run", "seconds"),
    *(("run", f"forgetting_{name}") for name in ("max", "max_final", "all")),
}


def part_of(payload: Any, at: tuple[Any, ...]) -> Any:
    for step in at:
        payload = payload[step]
    return payload


@EACH
def test_a_new_key_has_to_be_added_here_and_breaks_no_reader(name: str) -> None:
    schema, payload = shortened(name)
    for at in places(payload):
        surprised = changed(payload, at, "surprise", 1)
        assert problems(schema, surprised) != [], at
        assert problems(schema, surprised, strict=False) == [], at


@EACH
def test_a_key_that_lacks_is_noticed(name: str) -> None:
    schema, payload = shortened(name)
    for at in places(payload):
        for key in part_of(payload, at):
            lacking = problems(schema, changed(payload, at, key), strict=False)
            assert bool(lacking) != ((schema, key) in MAY_LACK), (*at, key)


@EACH
def test_a_value_of_another_kind_is_noticed(name: str) -> None:
    schema, payload = shortened(name)
    for at in places(payload):
        for key in set(part_of(payload, at)) - BY_NAME:
            assert problems(schema, changed(payload, at, key, {"nothing": [None]}), strict=False) != [], (*at, key)


NAMES = {
    "run-dry-run": "run --dry-run",
    "inspect-omegas": "inspect OMEGA OMEGA",
    "inspect-checkpoints": "inspect CHECKPOINT CHECKPOINT",
}
ROWS = {
    "`statistics`": ("merge", "statistics"),
    "`reliability`": ("estimate", "reliability"),
    "`verified`": ("estimate", "verified"),
    "`layers` of `estimate`": ("estimate", "layers"),
    "`layers` of `inspect`": ("inspect", "layers"),
    "`epochs`": ("train-task", "epochs"),
    "`drift`": ("train-task", "drift"),
    "`lambda_search`": ("train-task", "lambda_search"),
    "`trials`": ("train-task", "lambda_search", "trials"),
    "`tasks` of `evaluate`": ("evaluate", "tasks"),
    "`logits`": ("export", "logits"),
    "`gates`": ("evaluate", "gates"),
    "`histogram`": ("inspect", "histogram"),
    "`methods` of `run`": ("run", "methods"),
    "figures of `methods` of `run`": ("run", "methods", "forgetting"),
    "`seeds` of `run`": ("run", "methods", "seeds"),
    "`per_class` of `evaluate`": ("evaluate", "tasks", "per_class"),
    "`confusion` of `evaluate`": ("evaluate", "tasks", "confusion"),
    "`top`": ("inspect", "top"),
    "`map`": ("inspect", "map"),
    "layers of `inspect OMEGA OMEGA`": ("inspect-omegas", "layers"),
    "`images` of `inspect OMEGA OMEGA`": ("inspect-omegas", "images"),
    "`scatter`": ("inspect-omegas", "scatter"),
    "`first_left_out`": ("inspect-omegas", "first_left_out"),
    "layers of `inspect CHECKPOINT CHECKPOINT`": ("inspect-checkpoints", "layers"),
    "`weighed`": ("inspect-checkpoints", "layers", "weighed"),
    "`heads` of `inspect CHECKPOINT CHECKPOINT`": ("inspect-checkpoints", "heads"),
    "`buffers`": ("inspect-checkpoints", "buffers"),
    **{f"`{NAMES.get(name, name)}`": (name,) for name in SCHEMAS if name != SHARED},
}


def keys_of(name: str, *path: str) -> set[str]:
    """The keys of a part of a schema that is reached by these keys, through lists, references and what may be null."""

    def resolved(home: dict[str, Any], part: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        if "properties" in part:
            return home, part
        if "items" in part:
            return resolved(home, part["items"])
        if "anyOf" in part:
            return resolved(home, part["anyOf"][0])
        file, _, pointer = part["$ref"].partition("#/$defs/")
        home = SCHEMAS[SHARED] if file else home
        return resolved(home, home["$defs"][pointer])

    home, part = resolved(SCHEMAS[name], SCHEMAS[name])
    for key in path:
        home, part = resolved(home, part["properties"][key])
    return set(part["properties"])


@pytest.mark.parametrize("row", ROWS)
def test_the_page_and_the_schemas_name_the_same_keys(row: str) -> None:
    (line,) = [line for line in PAGE.splitlines() if line.startswith(f"| {row} |")]
    cell = re.sub(r"\([^)]*\)", "", line.split("|")[2])  # what stands in brackets explains
    assert set(re.findall(r"`(\w+)`", cell)) == keys_of(*ROWS[row])


def test_a_command_that_prints_something_else_is_caught(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fixture `run` looks at every result, whatever the form it was asked for."""
    words = ["init", "--model", "mascli:mlp", "--image-size", "4", "-o"]
    for form in ("json", "table", "csv"):
        assert run(*words, tmp_path / f"{form}.st", "--format", form, "--report", tmp_path / f"{form}.json")[0] == 0
    monkeypatch.setattr(reports_of_init, "plain", lambda result: {**plain(result), "parameters": "many", "more": 1})
    for form in ("json", "table", "csv"):
        with pytest.raises(AssertionError, match=r"init: parameters: 'many' is not of type 'integer'") as caught:
            run(*words, tmp_path / f"{form}2.st", "--format", form)
        assert "'more' was unexpected" in str(caught.value)
