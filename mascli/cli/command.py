"""What all commands share: from flags and a file to a configuration, and from a result to the user."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from mascli.cli.options import fields_in_order, hints_of, parameter_of
from mascli.config import Common, resolve
from mascli.errors import GateError
from mascli.observer import Observer

if TYPE_CHECKING:
    from mascli.reports.report import Report

C = TypeVar("C", bound=Common)
Work = Callable[[C, Observer], "Report"]

_CONFIG = Annotated[
    str | None,
    typer.Option("--config", metavar="FILE.yaml", help="Settings from a file, named like the flags; flags beat it."),
]
_SHOW = Annotated[bool, typer.Option("--show-config", help="Print the settings as YAML for --config, and stop.")]


def command(name: str, kind: type[C], work: Work[C]) -> Callable[..., None]:
    """The function that typer runs for `work`: one parameter a field of its configuration `kind`."""

    def run(config: str | None, show_config: bool, **flags: Any) -> None:
        settings = resolve(kind, flags, Path(config) if config is not None else None)
        if show_config:
            from mascli.config.yaml_file import to_yaml

            typer.echo(to_yaml(settings), nl=False)
            return
        from mascli.cli.console import TerminalObserver

        deliver(work(settings, TerminalObserver(quiet=settings.quiet, verbose=settings.verbose)), settings)

    hints = hints_of(kind)
    annotations = {field.name: parameter_of(name, field, hints[field.name]) for field in fields_in_order(kind)}
    parameters = [_parameter(field, hint, None) for field, hint in annotations.items()]
    parameters += [_parameter("config", _CONFIG, None), _parameter("show_config", _SHOW, False)]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what typer reads
    run.__doc__ = work.__doc__
    return run


def deliver(report: Report, settings: Common) -> None:
    """Write the files that `--report` asks for, print the result, and stop at a limit that it does not meet.

    Raises:
        GateError: one line a limit, after everything is written.
    """
    from mascli.cli.console import show
    from mascli.files.atomic import write_text
    from mascli.reports.export import document

    for path in settings.report:
        write_text(path, document(report, path), overwrite=settings.overwrite)
    show(report, settings.format)
    if report.unmet:
        raise GateError("\n".join(report.unmet))


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
