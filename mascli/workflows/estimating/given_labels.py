"""What the log-likelihood of an estimate needs of its images and heads. No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from mascli.errors import DataError, UsageError, listed, printable

NEEDS_TWO_CLASSES = ("entropy", "log-likelihood")


def labels_by_folder(root: Path, files: Sequence[Path], classes: Mapping[str, Sequence[str]]) -> list[tuple[int, ...]]:
    """For each image its label in each task: the place of its class folder's name among the task's classes.

    Args:
        files: images somewhere below `root`; the folder directly below it names the class.
        classes: the classes of each task that answers, in the order of its outputs.

    Raises:
        DataError: images outside class folders, or folders that are not named as a class.
    """
    names = [file.relative_to(root).parts for file in files]
    loose = sum(len(parts) == 1 for parts in names)
    if loose:
        raise DataError(
            f"{printable(root)}: --labels given needs each image in a folder named as its class, and {loose} "
            f"of {len(files)} images lie in no folder; use --labels drawn"
        )
    folders = Counter(parts[0] for parts in names)
    for task, known in classes.items():
        foreign = [name for name in folders if name not in known]
        if foreign:
            fitting = [name for name, its in classes.items() if folders.keys() <= set(its)]
            instead = f"measure one task alone with --task {fitting[0]}" if fitting else "rename them"
            if len(classes) > 1 and not fitting:
                instead += ", measure one task alone with --task"
            raise DataError(
                f"{printable(root)}: --labels given, but the folders {listed(foreign)} are no classes of task "
                f"'{printable(task)}' ({listed(known, most=20)}); {instead}, or use --labels drawn"
            )
    places = {task: {name: place for place, name in enumerate(known)} for task, known in classes.items()}
    return [tuple(places[task][parts[0]] for task in classes) for parts in names]


def check_classes(objective: str, classes: Mapping[str, Sequence[str]]) -> None:
    """Check that every head that answers has two classes, where the objective looks at a softmax.

    Raises:
        UsageError: a head has one class: its probability is 1, whatever the parameters.
    """
    alone = [task for task, names in classes.items() if len(names) < 2]
    if objective in NEEDS_TWO_CLASSES and alone:
        raise UsageError(
            f"--objective {objective} measures nothing for {listed(alone)}: with one class, its probability is always "
            "1; use --objective squared-l2, or another --task"
        )
