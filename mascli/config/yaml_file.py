"""Configuration files: a flat table in YAML, keys named like the long flags (`val-split` or `val_split`)."""

from __future__ import annotations

import dataclasses
import re
import typing
from pathlib import Path
from typing import Any

import yaml

from mascli.config.checks import missing_settings
from mascli.config.commands import Common
from mascli.errors import closest, printable
from mascli.typed import choices_of, key_of

COMMAND_LINE_ONLY = {
    "config": "a configuration file cannot name another",
    "show-config": "a question to ask on the command line",
    "trust-model-code": "consent to run code is given on the command line",
}


class _Loader(yaml.SafeLoader):
    """The safe loader, refusing what it would pass over: a key given twice, and references."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            name = str(key.value).replace("_", "-")
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"'{key.value}' is given twice", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "references (*) are not supported", mark)
        return super().compose_node(parent, index)


# A class or task may be called 010 or 1_000, which YAML would read as 8 and 1000: only plain decimals are numbers.
_INT = "tag:yaml.org,2002:int"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _INT]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_INT, re.compile(r"(?:0|-?[1-9][0-9]*)$"), list("-0123456789"))


def read_yaml(path: Path, kind: type[Common], problems: list[str]) -> dict[str, Any]:
    """The settings in the YAML file at `path` by field name; what is wrong is added to `problems`."""
    where = printable(path)
    content = load_table(path, f"--config {where}", problems)
    fields = {key_of(field.name).replace("_", "-"): field.name for field in dataclasses.fields(kind)}
    known = sorted(fields.keys() - COMMAND_LINE_ONLY.keys())
    values: dict[str, Any] = {}
    for key, value in content.items():
        name = str(key).replace("_", "-")
        if name in COMMAND_LINE_ONLY:
            problems.append(f"{where}: '{name}' is not a setting of a file: {COMMAND_LINE_ONLY[name]}")
        elif name not in known:
            problems.append(f"{where}: unknown key '{printable(str(key))}'{closest(name, known)}")
        elif value is not None:
            values[fields[name]] = value
    return values


def load_table(path: Path, where: str, problems: list[str]) -> dict[Any, Any]:
    """The keys and values of the YAML file at `path` as they stand; what is wrong is added to `problems`."""
    try:
        content = yaml.load(path.read_bytes(), Loader=_Loader)
    except OSError as error:
        problems.append(f"{where}: cannot be read ({error.strerror})")
        return {}
    except yaml.YAMLError as error:
        problems.append(f"{where}{_position(error)}")
        return {}
    except (ValueError, RecursionError) as error:
        problems.append(f"{where}: not usable as YAML ({printable(str(error))})")
        return {}
    if content is None:
        return {}
    if not isinstance(content, dict):
        problems.append(f"{where}: expected lines of 'key: value', not one {type(content).__name__}")
        return {}
    return content


def to_yaml(config: Common) -> str:
    """The settings as YAML that `--config` reads back to the same settings.

    Left out are settings that are not given and have no default, and `trust-model-code`, which
    only the command line may give. Required ones that are missing stand first, as comments.
    """
    hints = typing.get_type_hints(type(config))
    missing = missing_settings(config)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        name, value = key_of(field.name).replace("_", "-"), getattr(config, field.name)
        if value is None or name in COMMAND_LINE_ONLY or field.name in missing:
            continue
        if isinstance(value, tuple):
            value = [str(member) if isinstance(member, Path) else member for member in value]
        values[name] = str(value) if isinstance(value, Path) else value
    members = [member for value in values.values() for member in (value if isinstance(value, list) else [value])]
    readable = "".join(map(str, members)).isprintable()  # the writer leaves some line breaks as they are
    comments = "".join(_comment(name, hints[name]) for name in missing)
    return comments + yaml.safe_dump(
        values, sort_keys=False, allow_unicode=readable, default_flow_style=None, width=1_000_000
    )


def _comment(name: str, hint: Any) -> str:
    choices = choices_of(hint)
    return f"# {key_of(name).replace('_', '-')}: (required{': one of ' + ', '.join(choices) if choices else ''})\n"


def _position(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    reason = getattr(error, "problem", None) or str(error).splitlines()[0]
    return f"{f', line {mark.line + 1}' if mark else ''}: {printable(reason)}"
