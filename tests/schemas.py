"""The schemas of docs/schemas, and whether the JSON of a command is what they say."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from mascli.cli import command as commands_share
from mascli.config import Common, RunConfig
from mascli.errors import GateError
from mascli.reports.export import to_json
from mascli.reports.report import Report

FOLDER = Path(__file__).parents[1] / "docs" / "schemas"
SHARED = "definitions"
PAIR = "inspect-checkpoints"
SCHEMAS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))
}


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    """Every part of a schema that names the keys of an object."""
    if isinstance(schema, dict):
        if "properties" in schema:
            yield schema
        for member in schema.values():
            yield from objects(member)
    elif isinstance(schema, list):
        for member in schema:
            yield from objects(member)


def closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema, with no key but those that it names: a key that is added has to be added there too."""
    strict: dict[str, Any] = json.loads(json.dumps(schema))
    for part in objects(strict):
        part.setdefault("additionalProperties", False)
    return strict


@cache
def validator(name: str, *, strict: bool = True) -> Draft202012Validator:
    """What checks JSON against docs/schemas/NAME.json; not `strict` is as readers should use it, open to new keys."""
    schemas = {key: closed(schema) if strict else schema for key, schema in SCHEMAS.items()}
    shared = Resource.from_contents(schemas[SHARED])
    registry: Registry[Any] = Registry().with_resource(f"{SHARED}.json", shared)
    return Draft202012Validator(schemas[name], registry=registry)


def problems(name: str, payload: Any, *, strict: bool = True) -> list[str]:
    """One line for each place where `payload` is not what the schema says."""
    found = validator(name, strict=strict).iter_errors(payload)
    return [f"{name}: {'/'.join(map(str, error.absolute_path)) or 'at its root'}: {error.message}" for error in found]


def name_of(command: str, payload: Mapping[str, Any]) -> str:
    """The schema of what `command` has printed: two of them print one of several things."""
    if command == "run" and "steps" in payload:
        return "run-dry-run"
    if command == "inspect":
        return {"omegas": "inspect-omegas", "checkpoints": PAIR, "weights": PAIR}.get(payload["kind"], command)
    return command


def check(command: str, text: str) -> None:
    """Fail where `text` is not the JSON that `command` is documented to print."""
    payload = json.loads(text)
    found = problems(name_of(command, payload), payload)
    assert not found, "\n".join(found)


def watched(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """From now on, note what commands deliver; what is returned checks it, given what they have printed.

    That is the result in whatever form it was asked for, what was printed as JSON, and the files of `--report` and
    `mascli run`.
    """
    delivered: list[tuple[Report, Common]] = []
    deliver = commands_share.deliver

    def noting(report: Report, settings: Common) -> None:
        try:
            deliver(report, settings)
        except GateError:
            delivered.append((report, settings))
            raise
        delivered.append((report, settings))

    def check_all(printed: str) -> None:
        for report, settings in delivered:
            files = [path for path in settings.report if path.suffix.lower() == ".json"]
            if isinstance(settings, RunConfig) and not settings.dry_run and settings.out is not None:
                files.append(settings.out / "result.json")
            texts = [to_json(report), *(path.read_text(encoding="utf-8") for path in files)]
            texts += [printed] if settings.format == "json" else []
            for text in texts:
                check(report.command, text)
        delivered.clear()

    monkeypatch.setattr(commands_share, "deliver", noting)
    return check_all
