"""Which folders a command reads: those of a new task, and of each task to evaluate. No torch."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mascli.config import EvaluateConfig, TrainTaskConfig
from mascli.data.folders import LabelledFolder, labelled_folder, task_folders
from mascli.errors import CheckpointError, DataError, UsageError, listed, printable
from mascli.records import TASK_NAME, Task
from mascli.workflows.estimating.settled import check_task


def training_folder(path: Path) -> LabelledFolder:
    """The labelled folder to learn from, which needs at least two classes.

    Raises:
        DataError: it has fewer, or a class without images.
    """
    folder = labelled_folder(path)
    if len(folder.classes) < 2:
        raise DataError(
            f"{printable(path)} has one class only ({printable(folder.classes[0])}); a task needs at least two class "
            "folders, PATH/CLASS/IMAGE"
        )
    return folder


def classes_to_learn(config: TrainTaskConfig, folder: LabelledFolder, tasks: Iterable[Task]) -> tuple[str, ...]:
    """The classes of a new task, in the order of its head's outputs: the folder's, or those of the head it uses.

    Args:
        tasks: those of the checkpoint.

    Raises:
        DataError: the head that `--head-of` names has other classes than the folder.
    """
    known = next((task.classes for task in tasks if task.name == config.head_of), None)
    if known is None:
        return folder.classes
    lacking = [name for name in known if name not in folder.classes]
    foreign = [name for name in folder.classes if name not in known]
    if lacking or foreign:
        found = [f"it lacks {listed(lacking)}"] * bool(lacking)
        found += [f"it has {listed(foreign)}, which the head does not know"] * bool(foreign)
        raise DataError(
            f"{printable(folder.root)} does not have the classes of {config.head_of}, whose head is to be used "
            f"({listed(known, most=20)}): {'; '.join(found)}"
        )
    return known


def data_arguments(data: Iterable[str]) -> list[tuple[str | None, Path]]:
    """Each `--data` argument as (task, folder): TASK=FOLDER, or a FOLDER alone with task None."""
    pairs: list[tuple[str | None, Path]] = []
    for text in data:
        task, equals, folder = text.partition("=")
        if equals and folder and TASK_NAME.fullmatch(task) and not Path(text).exists():
            pairs.append((task, Path(folder)))
        else:
            pairs.append((None, Path(text)))
    return pairs


def evaluation_folders(config: EvaluateConfig, names: tuple[str, ...]) -> dict[str, Path]:
    """Which folder each task is evaluated on, in the order of the checkpoint's tasks.

    Raises:
        UsageError: no folder, a task without a name or an unknown one, or one folder too many or too few.
        DataError: a data root without a folder for any task, or for one that `--task` names.
    """
    if not names:
        raise CheckpointError(f"{printable(config.checkpoint)} has no task yet; learn one with mascli train-task")
    for task in config.task:
        check_task(task, names, config.checkpoint)
    given = data_arguments(config.data)
    if bool(given) == (config.data_root is not None):
        raise UsageError("give either --data FOLDER (or TASK=FOLDER, repeatable) or --data-root ROOT")
    if config.data_root is not None:
        wanted = config.task or names
        found = task_folders(config.data_root, wanted)
        missing = [name for name in wanted if name not in found]
        if not found or (missing and config.task):
            raise DataError(
                f"{printable(config.data_root)} has no folder for {listed(missing)}; expected "
                "ROOT/TASK/test/CLASS/IMAGE, ROOT/TASK/val/CLASS/IMAGE or ROOT/TASK/CLASS/IMAGE"
            )
        return {name: found[name] for name in names if name in found}
    named = {task: folder for task, folder in given if task is not None}
    for task in named:
        check_task(task, names, config.checkpoint)
    unnamed = [folder for task, folder in given if task is None]
    if len(unnamed) > 1 or (unnamed and named) or len(named) + len(unnamed) < len(given):
        raise UsageError("with several --data, write each once as TASK=FOLDER")
    if unnamed and len(set(config.task)) > 1:
        raise UsageError("--data FOLDER is for one --task; with several, write each folder as --data TASK=FOLDER")
    if unnamed:
        return {(config.task or names)[-1]: unnamed[0]}
    missing = [task for task in config.task if task not in named]
    if missing:
        raise UsageError(f"--task {missing[0]} has no folder; give its images with --data {missing[0]}=FOLDER")
    return {name: named[name] for name in names if name in (config.task or named)}
