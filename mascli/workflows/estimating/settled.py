"""Settings that depend on the checkpoint: its tasks, its preprocessing, its learning rate. No torch."""

from __future__ import annotations

from pathlib import Path

from mascli.config import ModelOptions, TrainTaskConfig
from mascli.errors import UsageError, listed, printable
from mascli.models.spec import parse_model_spec
from mascli.records import CheckpointRecord, Preprocessing


def task_names(record: CheckpointRecord | None, options: ModelOptions) -> tuple[str, ...]:
    """The tasks of a checkpoint; plain weights have one, named by `--head-name`."""
    return record.task_names if record else (options.head_name,)


def class_lines(path: Path) -> tuple[str, ...]:
    """The class names in a file, one a line, without empty lines.

    Raises:
        UsageError: it cannot be read as text.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--classes {printable(path)}: cannot be read as UTF-8 text ({error})") from error
    return tuple(line.strip() for line in lines if line.strip())


def check_task(task: str, names: tuple[str, ...], checkpoint: Path) -> None:
    """Check that `task` is one of the checkpoint's.

    Raises:
        UsageError: it is not; the line names those that are.
    """
    if task not in names:
        known = ", ".join(names) or "none yet"
        raise UsageError(f"--task '{printable(task)}': {printable(checkpoint)} has no such task; it has {known}")


def learning_rate(config: TrainTaskConfig, *, has_tasks: bool) -> float:
    """The learning rate of shared parameters: as given, else 0.01 for a fresh model and 0.001 for one with tasks."""
    return (0.001 if has_tasks else 0.01) if config.lr is None else config.lr


def settled_preprocessing(record: CheckpointRecord, options: ModelOptions) -> Preprocessing:
    """The preprocessing of a checkpoint, after checking that no flag contradicts the file.

    Raises:
        UsageError: `--model`, `--classifier`, `--head-name`, `--classes` or an image flag that says
            something else, or code of the file's that the user has not agreed to run.
    """
    fixed = record.preprocessing
    given_and_fixed: list[tuple[object, object]] = [
        (None if options.image_size is None else (options.image_size * 2)[:2], fixed.size),
        (options.resize, fixed.resize),
        (options.channels, fixed.channels),
        (options.mean, fixed.mean),
        (options.std, fixed.std),
    ]
    if any(given not in (None, own) for given, own in given_and_fixed):
        raise UsageError(
            "the preprocessing is fixed by the checkpoint: leave out --image-size, --resize, --mean, --std, --channels"
        )
    if options.model is not None:
        asked = parse_model_spec(options.model, options.model_arg)
        if (asked.source, asked.name, asked.arguments or record.model.arguments) != (
            record.model.source,
            record.model.name,
            record.model.arguments,
        ):
            raise UsageError(f"--model {asked} contradicts the checkpoint, which is {record.model}: leave it out")
    if options.classifier is not None and options.classifier != record.model.classifier:
        raise UsageError(
            f"--classifier {printable(options.classifier)} contradicts the checkpoint, whose heads replace "
            f"{record.model.classifier}: leave it out"
        )
    if options.head_name not in (ModelOptions.head_name, *record.task_names):
        raise UsageError(
            f"--head-name {printable(options.head_name)} names the task of plain weights, and the checkpoint has "
            f"its own ({listed(record.task_names) or 'none yet'}): leave it out"
        )
    if options.classes is not None:
        raise UsageError("--classes names the classes of plain weights, and the checkpoint has its own: leave it out")
    if record.model.source == "python" and not options.trust_model_code and options.model is None:
        raise UsageError(
            f"the checkpoint asks to run the code {printable(str(record.model))}; if you trust it, give "
            "--trust-model-code"
        )
    return fixed
