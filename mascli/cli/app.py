"""The command line: `main` runs one command and turns every way it can end into an exit code."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from mascli import __version__
from mascli.cli.average import average
from mascli.cli.command import Command, command
from mascli.cli.demo import demo
from mascli.cli.ending import STOPPED, exit_code_of, flush, say
from mascli.cli.estimate import estimate
from mascli.cli.evaluate import evaluate
from mascli.cli.export import export
from mascli.cli.init import init
from mascli.cli.inspect_file import inspect_file
from mascli.cli.merge import merge
from mascli.cli.report import report
from mascli.cli.run import run
from mascli.cli.train_task import train_task
from mascli.config import (
    AverageConfig,
    DemoConfig,
    EstimateConfig,
    EvaluateConfig,
    ExportConfig,
    InitConfig,
    InspectConfig,
    MergeConfig,
    ReportConfig,
    RunConfig,
    TrainTaskConfig,
)

app = typer.Typer(
    name="mascli",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"mascli {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _mascli(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version, and stop.")
    ] = False,
) -> None:
    """Fine-tune a vision model on something new without losing what it knows.

    Start with: mascli demo
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


app.command("init", cls=Command)(command("init", InitConfig, init))
app.command("estimate", cls=Command)(command("estimate", EstimateConfig, estimate))
app.command("train-task", cls=Command)(command("train-task", TrainTaskConfig, train_task))
app.command("evaluate", cls=Command)(command("evaluate", EvaluateConfig, evaluate))
app.command("inspect", cls=Command)(command("inspect", InspectConfig, inspect_file))
app.command("merge", cls=Command)(command("merge", MergeConfig, merge))
app.command("average", cls=Command)(command("average", AverageConfig, average))
app.command("export", cls=Command)(command("export", ExportConfig, export))
app.command("run", cls=Command)(command("run", RunConfig, run))
app.command("report", cls=Command)(command("report", ReportConfig, report))
app.command("demo", cls=Command)(command("demo", DemoConfig, demo))


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run `mascli` with `arguments` (default: those of the process) and exit."""
    if sys.stdout is None or sys.stderr is None:  # closed by whoever started the process
        nowhere = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        sys.stdout, sys.stderr = sys.stdout or nowhere, sys.stderr or nowhere
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a name must not be able to stop the output
    try:
        code = app(args=arguments, prog_name="mascli", standalone_mode=False) or 0
        if code == STOPPED:  # typer has swallowed the interrupt
            say("stopped")
    except BaseException as error:
        code = exit_code_of(error)
    code = flush(code)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is said and done
    sys.exit(code)
