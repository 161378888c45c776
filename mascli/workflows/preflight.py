"""What can be told to be wrong before torch is loaded: paths, headers, folders, names, bindings.

Paths that are missing or taken are usage errors and reported together. What files and folders hold
is checked after that, from headers and listings alone.
"""

from __future__ import annotations

from pathlib import Path

from mascli.config import (
    Common,
    DemoConfig,
    EstimateConfig,
    EvaluateConfig,
    ImageOptions,
    InitConfig,
    InspectConfig,
    MergeConfig,
    TrainTaskConfig,
)
from mascli.config.methods import chosen
from mascli.data.folders import labelled_folder, labels_for, list_images
from mascli.errors import CheckpointError, DataError, UsageError, listed, printable
from mascli.files.binding import check_binding
from mascli.files.partial_file import partial_path
from mascli.files.records_json import checkpoint_record, omega_record
from mascli.files.tensor_file import Header, output_problem, read_array, read_header
from mascli.models.spec import check_model_spec, parse_model_spec
from mascli.records import CheckpointRecord, task_name_problem
from mascli.workflows.chosen_folders import data_arguments, evaluation_folders, training_folder
from mascli.workflows.given_labels import check_classes, labels_by_folder
from mascli.workflows.settled import check_task, learning_rate, settled_preprocessing, task_names

# A file that marks a folder as one that a demo has made.
DEMO_MARK = ".mascli-demo"


def check_init(config: InitConfig) -> None:
    """Check `mascli init` before torch is loaded."""
    check_paths(config, {"--weights": config.weights, "--classes": config.classes}, {})
    if config.model is None:
        raise UsageError("--model is missing: name the architecture, as in --model torchvision:resnet18")
    parse_model_spec(config.model, config.model_arg)
    problem = task_name_problem(config.head_name)
    if problem:
        raise UsageError(f"--head-name '{printable(config.head_name)}': {problem}")


def check_estimate(config: EstimateConfig) -> None:
    """Check `mascli estimate` before torch is loaded."""
    check_paths(
        config,
        {"CHECKPOINT": config.checkpoint, "--previous": config.previous, "--classes": config.classes},
        {"--data": config.data},
    )
    unfinished = partial_path(config.out) if config.out is not None else None
    if unfinished is not None and unfinished.exists() and not (config.resume or config.overwrite):
        raise UsageError(
            f"{printable(unfinished)} holds an unfinished estimate: go on with --resume, or start anew with --overwrite"
        )
    record = _checkpoint(config.checkpoint, config)
    names = task_names(record, config)
    if not names:
        raise CheckpointError(
            f"{printable(config.checkpoint)} has no task yet, so it has no answers to measure; learn one with "
            "mascli train-task, or start from trained weights with mascli init --weights"
        )
    if config.task is not None:
        check_task(config.task, names, config.checkpoint)
    if config.previous is not None:
        _check_omega(config.previous, record, config.checkpoint)
    _check_method(config, record, names)


def _check_method(config: EstimateConfig, record: CheckpointRecord | None, names: tuple[str, ...]) -> None:
    """Check what the images and the heads must be like for what is measured."""
    files, objective = list_images(config.data).files, chosen(config).objective
    if record is None:  # plain weights: their classes are known once they are read
        return
    asked = (config.task,) if config.task is not None else names if config.all_tasks else names[-1:]
    classes = {task.name: task.classes for task in record.tasks if task.name in asked}
    check_classes(objective, classes)
    if config.labels == "given":
        labels_by_folder(config.data, files, classes)


def check_train_task(config: TrainTaskConfig) -> None:
    """Check `mascli train-task` before torch is loaded."""
    check_paths(
        config,
        {"CHECKPOINT": config.checkpoint, "--omega": config.omega, "--classes": config.classes},
        {"--data": config.data, "--val": config.val},
    )
    record = _checkpoint(config.checkpoint, config)
    problem = task_name_problem(config.task, task_names(record, config))
    if problem:
        raise UsageError(f"--task '{printable(config.task)}': {problem}")
    if config.omega is not None:
        header = _check_omega(config.omega, record, config.checkpoint)
        if config.lambda_ is None:
            raise UsageError(_missing_lambda(header, config, has_tasks=bool(task_names(record, config))))
    folder = training_folder(config.data)
    if config.val is not None:
        labels_for(labelled_folder(config.val), folder.classes, config.task)


def check_evaluate(config: EvaluateConfig) -> None:
    """Check `mascli evaluate` before torch is loaded."""
    folders = {f"--data {name}": folder for name, folder in data_arguments(config.data)}
    check_paths(
        config,
        {"CHECKPOINT": config.checkpoint, **{f"--baseline {path}": path for path in config.baseline}},
        {**folders, "--data-root": config.data_root},
    )
    record = _checkpoint(config.checkpoint, config)
    chosen = evaluation_folders(config, task_names(record, config))
    earlier = {name for path in config.baseline for name in task_names(_checkpoint(path, config), config)}
    if config.max_forgetting is not None and not earlier & chosen.keys():
        raise UsageError(f"--max-forgetting: no --baseline has a task of those to evaluate ({', '.join(chosen)})")
    learned = {task.name for task in record.tasks if not task.imported} if record else set()
    limited = (learned if config.min_accuracy is not None else set()) | (
        learned & earlier if config.max_forgetting is not None else set()
    )
    missing = sorted(limited - chosen.keys()) if config.data_root is not None and config.task is None else []
    if missing:
        raise DataError(
            f"{printable(config.data_root or '')} has no folder for {listed(missing)}, which the limit is for; add it, "
            "or name the task to evaluate with --task"
        )
    for task in record.tasks if record else ():
        if task.name in chosen:
            labels_for(labelled_folder(chosen[task.name]), task.classes, task.name)


def check_inspect(config: InspectConfig) -> None:
    """Check `mascli inspect` before anything is read."""
    check_paths(config, {"FILE": config.file}, {})


def check_merge(config: MergeConfig) -> None:
    """Check `mascli merge` before anything is read."""
    check_paths(config, {f"OMEGA {path}": path for path in config.omegas}, {})


def check_demo(config: DemoConfig) -> None:
    """Check that the folder of `mascli demo` is free, or that of an earlier demo."""
    folder = config.out or Path("mascli-demo")
    problems = _report_problems(config)
    if folder.exists() and not folder.is_dir():
        problems.append(f"-o: {printable(folder)} is a file; the demo needs a folder")
    elif folder.is_dir() and any(folder.iterdir()):
        if not (folder / DEMO_MARK).is_file():
            problems.append(f"-o: {printable(folder)} is not empty and not of an earlier demo; choose another folder")
        elif not config.overwrite:
            problems.append(
                f"-o: {printable(folder)} holds an earlier demo; choose another folder, or give --overwrite"
            )
    if problems:
        raise UsageError("\n".join(problems))


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
            problem = output_problem(config.out, config.overwrite)
            problems += [f"-o: {problem}"] if problem else []
    problems += _report_problems(config)
    outputs = [path for path in (*config.report, config.out) if path is not None]
    for path in outputs:
        if any(given is not None and path.resolve() == given.resolve() for given in files.values()):
            problems.append(f"-o: {printable(path)} is an input of this command; choose another name")
    if problems:
        raise UsageError("\n".join(problems))


def _checkpoint(path: Path, options: ImageOptions) -> CheckpointRecord | None:
    header = read_header(path)
    record = checkpoint_record(header)
    if record is None:
        if options.model is None:
            raise UsageError(
                f"{printable(path)} holds plain weights: say which architecture they are for with --model, as in "
                "--model torchvision:resnet18"
            )
        parse_model_spec(options.model, options.model_arg)
        return None
    check_model_spec(record.model)
    settled_preprocessing(record, options)
    return record


def _check_omega(path: Path, record: CheckpointRecord | None, checkpoint: Path) -> Header:
    header = read_header(path)
    omega = omega_record(header)
    if record is not None:
        stored = read_header(checkpoint)
        shapes = {name: stored.tensors[name].shape for name in record.shared}
        check_binding(omega, omega_shapes(header), record.ancestry, shapes, printable(path))
    return header


def _missing_lambda(header: Header, config: TrainTaskConfig, *, has_tasks: bool) -> str:
    """The line for an omega without a lambda: at which one half of what matters is held, 2 eta lambda median = 1."""
    import numpy as np

    positive = [values[values > 0] for values in (read_array(header, name) for name in header.tensors)]
    every = np.concatenate(positive) if positive else np.empty(0)
    if not every.size:
        return "--omega needs --lambda, the strength of the protection (this omega is zero everywhere: any will do)"
    eta = learning_rate(config, has_tasks=has_tasks) / (1 - config.momentum)
    strength = 1 / (2 * eta * float(np.median(every)))
    return (
        "--omega needs --lambda, the strength of the protection: for this omega and learning rate, --lambda "
        f"{float(f'{strength:.2g}'):g} holds half of the parameters that matter; more keeps more, less learns more"
    )


def omega_shapes(header: Header) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor of an omega."""
    return {name: info.shape for name, info in header.tensors.items()}


def _report_problems(config: Common) -> list[str]:
    problems = [output_problem(path, config.overwrite) for path in config.report]
    found = [f"--report: {problem}" for problem in problems if problem]
    outputs = [path.resolve() for path in (*config.report, *([config.out] if config.out else []))]
    if len(set(outputs)) < len(outputs):
        found.append("--report and -o: the same file is named twice")
    return found
