"""What can be told of a sequence before torch is loaded: that its file makes sense, its folders are there and fit."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from mascli.config import RunConfig
from mascli.config.command_line import command_line
from mascli.config.sequence import TaskEntry, TaskSequence
from mascli.config.sequence_checks import sequence_of
from mascli.data.folders import labelled_folder, labels_for, list_images
from mascli.data.samples.digits import DIGIT_TASKS
from mascli.errors import CheckpointError, DataError, MascliError, UsageError, closest, listed, printable
from mascli.files.records_json import checkpoint_record
from mascli.files.tensor_file import output_problem, read_header
from mascli.models.spec import parse_model_spec
from mascli.reports.run import PlannedSteps, StepRow
from mascli.workflows.chosen_folders import training_folder
from mascli.workflows.estimating.settled import class_lines
from mascli.workflows.pictures.plot_checks import plot_problems
from mascli.workflows.sequences.done_steps import Content, Steps, made_files, outputs_of, read_by, with_resume
from mascli.workflows.sequences.sequence_steps import Plan, placed, plan

# A file that marks a folder as one that `mascli run` has made.
RUN_MARK = ".mascli-run"


def check_run(config: RunConfig) -> TaskSequence:
    """The sequence of `mascli run`, checked as far as can be without torch, every task with its own classes.

    Raises:
        UsageError: the file, the folder to write to, or names that do not fit.
        DataError: folders that cannot be learned from or tested on, one line each.
        CheckpointError: the checkpoint to start from is none.
    """
    sequence = dataclasses.replace(sequence_of(config))
    problems = _folder_problems(config)
    sequence = dataclasses.replace(
        sequence,
        seeds=sequence.seeds or (config.seed,),
        forgetting=tuple(dict.fromkeys((*sequence.forgetting, *config.forgetting))),
        tasks=_sample_tasks(sequence, problems) if sequence.samples else sequence.tasks,
    )
    known = known_tasks(sequence)
    if sequence.model:
        parse_model_spec(sequence.model["model"], sequence.model.get("model_arg", ()))
    for task in sequence.tasks[1:]:
        if task.name.lower() in (name.lower() for name in known):
            problems.append(f"task '{task.name}': the start knows it already, which only the first task may")
    if sequence.tasks[0].name in known:
        problems += [
            f"method {method.name}: si needs the first task to be learned in the sequence, but the start knows "
            f"'{sequence.tasks[0].name}' already; take another method, or a start without it"
            for method in sequence.methods
            if method.method == "si"
        ]
    if sequence.tasks[0].name.lower() == "start" and sequence.checkpoint is None and "weights" not in sequence.model:
        problems.append("task 'start': the file of that name holds the start itself; call the first task otherwise")
    problems += [*_removed_inputs(config, sequence), *_weight_problems(sequence)]
    if problems:
        raise UsageError("\n".join(problems))
    _check_folders(sequence, known)
    if sequence.heads == "one":
        _check_one_head(sequence, known)
    if sequence.tasks[0].name in known and any(method.method == "joint" for method in sequence.methods):
        _check_rehearsal(sequence)
    return sequence


def known_tasks(sequence: TaskSequence) -> tuple[str, ...]:
    """The tasks that the start of a sequence knows already."""
    if sequence.checkpoint is None:
        return (str(sequence.model.get("head_name", "base")),) if "weights" in sequence.model else ()
    record = checkpoint_record(read_header(sequence.checkpoint))
    if record is None:
        raise CheckpointError(
            f"{printable(sequence.checkpoint)} holds plain weights: give them as `weights`, beside the `model` they "
            "are for"
        )
    return record.task_names


def plan_of(config: RunConfig, sequence: TaskSequence) -> Plan:
    """All steps of the sequence, with the folders that they will have."""
    assert config.out is not None  # checked
    common: dict[str, Any] = {"device": config.device}
    if config.trust_model_code:
        common["trust_model_code"] = True
    return plan(placed(sequence, config.out), config.out, common, known_tasks(sequence))


def planned_steps(config: RunConfig, sequence: TaskSequence) -> PlannedSteps:
    """The steps of a sequence as commands, and which of them are done already."""
    assert config.out is not None  # checked
    steps = Steps(config.out / "steps", Content())
    planned = plan_of(config, sequence).steps
    made = steps.made(planned)
    rows: list[StepRow] = []
    others = set[Path]()  # files that will hold something else
    for step in planned:
        changes = steps.changes(step, made)
        depends = any(path in others for _, path in read_by(step))
        if changes or depends:
            others |= {*outputs_of(step)}
        done = steps.done(step) is not None and not depends
        rows.append(StepRow(step.name, command_line(with_resume(step.config)), done, changes))
    return PlannedSteps(str(config.out), tuple(rows))


def _folder_problems(config: RunConfig) -> list[str]:
    folder = config.out
    problems = [f"--report: {line}" for path in config.report if (line := output_problem(path, config.overwrite))]
    inputs = (config.sequence,)
    problems += plot_problems(config.plot, overwrite=config.overwrite, inputs=inputs, made=folder)
    if folder is None:
        return [*problems, "-o/--out is missing: name the folder for all files of the run"]
    if folder.exists() and not folder.is_dir():
        return [*problems, f"-o: {printable(folder)} is a file; a run needs a folder"]
    if folder.is_dir() and any(folder.iterdir()) and not (folder / RUN_MARK).is_file():
        problems.append(f"-o: {printable(folder)} is not empty and not of an earlier run; choose another folder")
    return problems


def _weight_problems(sequence: TaskSequence) -> list[str]:
    """Why `weights` are none, in a line, where they are a checkpoint that knows more than weights do."""
    weights = sequence.model.get("weights")
    try:
        if weights is None or checkpoint_record(read_header(weights)) is None:
            return []
    except CheckpointError:  # a PyTorch file
        return []
    return [f"weights: {printable(weights)} is a checkpoint: give it as `checkpoint`, without `model` and its settings"]


def _removed_inputs(config: RunConfig, sequence: TaskSequence) -> list[str]:
    """Why `--overwrite` would take away what the sequence starts from, one line each."""
    if not config.overwrite or config.out is None:
        return []
    made, folder = made_files(config.out), printable(config.out)
    given = (sequence.checkpoint, sequence.model.get("weights"), sequence.model.get("classes"))
    return [
        f"--overwrite: {printable(path)} is an input of this run, and was made by an earlier one in {folder}; choose "
        "another folder with -o"
        for path in given
        if path is not None and path.resolve() in made
    ]


def _sample_tasks(sequence: TaskSequence, problems: list[str]) -> tuple[TaskEntry, ...]:
    """Tasks of the bundled digits: those named, or all five, each with its digits."""
    tasks = []
    for task in sequence.tasks or [TaskEntry(name, None, None) for name in DIGIT_TASKS]:
        classes = task.classes or DIGIT_TASKS.get(task.name, ())
        digits = {digit for known in DIGIT_TASKS.values() for digit in known}
        if not classes or not digits.issuperset(classes):
            hint = closest(task.name, DIGIT_TASKS) or f"; there are {', '.join(DIGIT_TASKS)}"
            problems.append(f"task '{printable(task.name)}': no such digits{hint}, or give `classes` of 0 to 9")
        tasks.append(dataclasses.replace(task, classes=classes))
    return tuple(tasks)


def _check_folders(sequence: TaskSequence, known: tuple[str, ...]) -> None:
    """Check every folder that the tasks are read from, and tell all that is wrong."""
    problems = []
    for task in sequence.tasks:
        try:
            _check_task(task, None if task.name not in known else _first_classes(sequence) or ())
        except MascliError as problem:
            problems.append(f"task {task.name}: {problem}")
    if problems:
        raise DataError("\n".join(problems))


def _check_task(task: TaskEntry, known: tuple[str, ...] | None) -> None:
    """Check the folders of a task; `known` are the classes of one that the start knows, none if they are not told."""
    if task.estimate_data is not None:
        list_images(task.estimate_data)
    if task.data is None or task.test is None:
        return
    folders = [folder for folder in (task.test, task.val) if folder is not None]
    if task.classes:
        for folder in (task.data, *folders):
            for name in task.classes:
                list_images(folder / name)
    elif known is None or known:
        classes = training_folder(task.data).classes if known is None else known
        for folder in folders:
            labels_for(labelled_folder(folder, allow_empty=True), classes, task.name)


def _check_one_head(sequence: TaskSequence, known: tuple[str, ...]) -> None:
    """Check that all tasks have the classes of the first, whose head they are to use.

    Raises:
        DataError: one has others.
    """
    first, *others = sequence.tasks
    wanted = _first_classes(sequence) if first.name in known else _classes(first)
    for task in others if wanted is not None else ():
        found = _classes(task)
        if set(found) != set(wanted or ()):
            raise DataError(
                f"task {task.name}: heads: one needs the classes of {first.name} ({listed(wanted or (), 10)}) in every "
                f"task, and it has {listed(found, 10)}"
            )


def _check_rehearsal(sequence: TaskSequence) -> None:
    """Check that `joint` can learn along the first task, which the start knows: from images in its class folders.

    Raises:
        DataError: they lie otherwise.
    """
    first, classes = sequence.tasks[0], _first_classes(sequence)
    if first.data is None or first.classes:
        return
    try:
        folder = labelled_folder(first.data)
        labels_for(folder, classes or folder.classes, first.name)
    except DataError as problem:
        raise DataError(f"task {first.name}: method joint learns it along, from its `data`: {problem}") from problem


def _classes(task: TaskEntry) -> tuple[str, ...]:
    """The classes of a task that is learned in the sequence."""
    return task.classes or (training_folder(task.data).classes if task.data is not None else ())


def _first_classes(sequence: TaskSequence) -> tuple[str, ...] | None:
    """The classes of the first task, which the start knows; None of weights without names for them."""
    names = sequence.model.get("classes")
    if sequence.checkpoint is None and names is not None:
        return class_lines(names)
    record = checkpoint_record(read_header(sequence.checkpoint)) if sequence.checkpoint is not None else None
    tasks = record.tasks if record is not None else ()
    return next((task.classes for task in tasks if task.name == sequence.tasks[0].name), None)


def class_sources(task: TaskEntry) -> dict[str, Path]:
    """The folders that the chosen classes of a task are taken from, by the name of the part."""
    parts = {"train": task.data, "test": task.test, "val": task.val}
    return {part: path for part, path in parts.items() if path is not None}
