"""What can be told to be wrong with `--plot` before any work is done."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from mascli.errors import printable
from mascli.files.atomic import output_problem

INSTALL = "--plot needs matplotlib, which is not installed; install it with: pip install 'mascli[plot]'"


def plot_problems(
    plot: Path | None, *, overwrite: bool, inputs: Iterable[Path | None] = (), made: Path | None = None
) -> list[str]:
    """Why the picture that `--plot` names cannot be drawn or written, one line each; none without `--plot`.

    `inputs` are the files that the command reads, `made` a folder that it makes before it draws.
    """
    if plot is None:
        return []
    problems = [] if find_spec("matplotlib") is not None else [INSTALL]
    is_made = made is not None and not made.exists() and plot.parent.resolve() == made.resolve()
    problem = None if is_made else output_problem(plot, overwrite)
    if problem:
        problems.append(f"--plot: {problem}")
    if any(given is not None and plot.resolve() == given.resolve() for given in inputs):
        problems.append(f"--plot: {printable(plot)} is an input of this command; choose another name")
    return problems
