"""Paths that are missing or taken: told together, and before anything is read or loaded."""

from __future__ import annotations

from pathlib import Path

from mascli.config import Common, DemoConfig, EvaluateConfig, InspectConfig, TrainTaskConfig
from mascli.errors import UsageError, printable
from mascli.files.atomic import output_problem
from mascli.workflows.pictures.plot_checks import plot_problems


def check_paths(config: Common, files: dict[str, Path | None], folders: dict[str, Path | None]) -> None:
    """Check that inputs exist, and that outputs are free and no inputs, also with `--overwrite`.

    Raises:
        UsageError: naming every problem, one a line.
    """
    problems = []
    for flag, path in files.items():
        if path is not None and not path.exists():
            problems.append(f"{printable(flag)}: there is no file {printable(path)}")
        elif path is not None and path.is_dir():
            problems.append(f"{printable(flag)}: {printable(path)} is a folder; a file is needed")
    for flag, path in folders.items():
        if path is not None and not path.exists():
            problems.append(f"{printable(flag)}: there is no folder {printable(path)}")
        elif path is not None and not path.is_dir():
            problems.append(f"{printable(flag)}: {printable(path)} is a file; a folder of images is needed")
    if not isinstance(config, EvaluateConfig | InspectConfig | DemoConfig):
        if config.out is None:
            problems.append("-o/--out is missing: say where the result goes")
        else:
            problem = output_problem(config.out, replaces(config))
            problems += [f"-o: {problem}"] if problem else []
    elif not isinstance(config, DemoConfig) and config.out is not None:
        problem = output_problem(config.out, config.overwrite)
        problems += [f"-o: {problem}"] if problem else []
    problems += report_problems(config)
    plot = config.plot if isinstance(config, EvaluateConfig | InspectConfig) else None
    problems += plot_problems(plot, overwrite=config.overwrite, inputs=files.values())
    collected = config.collect if isinstance(config, TrainTaskConfig) else None
    problem = output_problem(collected, replaces(config)) if collected is not None else None
    problems += [f"--collect: {problem}"] if problem else []
    outputs = [path for path in (*config.report, config.out, collected) if path is not None]
    if collected is not None and outputs.count(collected) > 1:
        problems.append(f"--collect: {printable(collected)} is named as another output too; choose another name")
    for path in outputs:
        if any(given is not None and path.resolve() == given.resolve() for given in files.values()):
            problems.append(f"-o: {printable(path)} is an input of this command; choose another name")
    if problems:
        raise UsageError("\n".join(problems))


def replaces(config: Common) -> bool:
    """Whether outputs that exist may be replaced: the user says so, or they are of the training that is gone on with.

    A training that is killed just after it has written a file leaves its unfinished work behind too.
    """
    from mascli.files.partial_file import partial_path  # which needs numpy

    resumed = isinstance(config, TrainTaskConfig) and config.resume and config.out is not None
    return config.overwrite or (resumed and config.out is not None and partial_path(config.out).exists())


def report_problems(config: Common) -> list[str]:
    """Why the files that `--report` names cannot be written, one line each."""
    problems = [output_problem(path, config.overwrite) for path in config.report]
    found = [f"--report: {problem}" for problem in problems if problem]
    outputs = [path.resolve() for path in (*config.report, *([config.out] if config.out else []))]
    if len(set(outputs)) < len(outputs):
        found.append("--report and -o: the same file is named twice")
    return found
