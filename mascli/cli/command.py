"""What all commands share: from flags and a file to a configuration, and from a result to the user."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from typer.core import TyperCommand, TyperOption

from mascli.cli.options import fields_in_order, hints_of, parameter_of
from mascli.config import Common, flag_of, reports_of, resolve
from mascli.errors import GateError, NumericsError, UsageError
from mascli.models.model_code import model_code
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


class Command(TyperCommand):
    """A command that takes an option of one value once, and whose help shows what it needs without brackets.

    A file of settings may give what is needed as well; only what can be left out has brackets.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse as usual, but let no value silently take the place of an earlier one.

        Raises:
            UsageError: naming every option of one value that is given more than once.
        """
        words = list(args)  # parsing consumes them
        rest = super().parse_args(ctx, args)
        _, _, given = self.make_parser(ctx).parse_args(args=words)
        single = [p for p in given if isinstance(p, TyperOption) and not (p.multiple or p.is_flag)]
        repeated = dict.fromkeys(p.name or "" for p in single if single.count(p) > 1)
        if repeated:
            raise UsageError("\n".join(f"{flag_of(name)} is given twice" for name in repeated))
        return rest

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """`[OPTIONS]` and the positionals."""
        pieces = super().collect_usage_pieces(ctx)
        kept = {self.options_metavar, *(parameter.metavar for parameter in self.params)}
        return [piece if piece in kept else piece.strip("[]") for piece in pieces]


def command(name: str, kind: type[C], work: Work[C]) -> Callable[..., None]:
    """The function that typer runs for `work`: one parameter a field of its configuration `kind`."""

    def run(config: str | None, show_config: bool, **flags: Any) -> None:
        settings = resolve(kind, flags, Path(config) if config is not None else None, complete=not show_config)
        if show_config:
            from mascli.config.yaml_file import to_yaml

            typer.echo(to_yaml(settings), nl=False)
            return
        from mascli.cli.console import TerminalObserver

        observer = TerminalObserver(quiet=settings.quiet, verbose=settings.verbose)
        with redirect_stdout(sys.stderr), model_code():  # a model may print, and standard output is for the result
            report = work(settings, observer)
        deliver(report, settings)

    hints = hints_of(kind)
    annotations = {field.name: parameter_of(name, field, hints[field.name]) for field in fields_in_order(kind)}
    parameters = [_parameter(field, hint, None) for field, hint in annotations.items()]
    parameters += [_parameter("config", _CONFIG, None), _parameter("show_config", _SHOW, False)]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what typer reads
    run.__doc__ = work.__doc__
    return run


def deliver(report: Report, settings: Common) -> None:
    """Write the files that `--report` and `-o` ask for, print the result, and stop at a limit that it does not meet.

    Raises:
        GateError: one line a limit, after everything is written.
        NumericsError: the same for what could not be learned.
    """
    from mascli.cli.console import show
    from mascli.files.atomic import write_text
    from mascli.reports.export import document

    for path in reports_of(settings):
        write_text(path, document(report, path, settings.ascii_), overwrite=settings.overwrite)
    show(report, settings.format, ascii_only=settings.ascii_)
    if report.unmet:
        raise GateError("\n".join(report.unmet))
    if report.failed:
        raise NumericsError("\n".join(report.failed))


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
