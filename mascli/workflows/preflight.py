"""What can be told to be wrong before torch is loaded: paths, headers, folders, names, bindings.

Paths that are missing or taken are usage errors and reported together. What files and folders hold
is checked after that, from headers and listings alone.
"""

from __future__ import annotations

from collections.abc import Iterable
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
    ModelOptions,
    TrainTaskConfig,
)
from mascli.data.folders import LabelledFolder, labelled_folder, labels_for, list_images, task_folders
from mascli.errors import CheckpointError, DataError, UsageError, listed, printable
from mascli.files.binding import check_binding
from mascli.files.records_json import checkpoint_record, omega_record
from mascli.files.tensor_file import Header, output_problem, read_array, read_header
from mascli.models.spec import check_model_spec, parse_model_spec
from mascli.records import TASK_NAME, CheckpointRecord, Preprocessing, task_name_problem


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
    list_images(config.data)


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
    """Check `mascli demo`: its folder must be free, or made by an earlier demo and given up."""
    folder = config.out or Path("mascli-demo")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"-o {printable(folder)} is a file; the demo needs a folder")
    if folder.is_dir() and any(folder.iterdir()) and not config.overwrite:
        raise UsageError(f"-o {printable(folder)} is not empty; choose another folder, or give --overwrite")
    problems = _report_problems(config)
    if problems:
        raise UsageError("\n".join(problems))


def check_paths(config: Common, files: dict[str, Path | None], folders: dict[str, Path | None]) -> None:
    """Check that inputs exist, that outputs are free, and that no two paths are the same.

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
    if problems:
        raise UsageError("\n".join(problems))


def task_names(record: CheckpointRecord | None, options: ModelOptions) -> tuple[str, ...]:
    """The tasks of a checkpoint; plain weights have one, named by `--head-name`."""
    return record.task_names if record else (options.head_name,)


def check_task(task: str, names: tuple[str, ...], checkpoint: Path) -> None:
    """Check that `task` is one of the checkpoint's.

    Raises:
        UsageError: it is not; the line names those that are.
    """
    if task not in names:
        known = ", ".join(names) or "none yet"
        raise UsageError(f"--task '{printable(task)}': {printable(checkpoint)} has no such task; it has {known}")


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


def learning_rate(config: TrainTaskConfig, *, has_tasks: bool) -> float:
    """The learning rate of shared parameters: as given, else 0.01 for a fresh model and 0.001 for one with tasks."""
    return (0.001 if has_tasks else 0.01) if config.lr is None else config.lr


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
        UsageError: no folder, a task without a name or an unknown one, or one folder too many.
        DataError: a data root without a folder for any task.
    """
    if not names:
        raise CheckpointError(f"{printable(config.checkpoint)} has no task yet; learn one with mascli train-task")
    if config.task is not None:
        check_task(config.task, names, config.checkpoint)
    given = data_arguments(config.data)
    if bool(given) == (config.data_root is not None):
        raise UsageError("give either --data FOLDER (or TASK=FOLDER, repeatable) or --data-root ROOT")
    if config.data_root is not None:
        wanted = (config.task,) if config.task else names
        found = task_folders(config.data_root, wanted)
        if not found:
            raise DataError(
                f"{printable(config.data_root)} has no folder for {listed(wanted)}; expected "
                "ROOT/TASK/test/CLASS/IMAGE or ROOT/TASK/CLASS/IMAGE"
            )
        return {name: found[name] for name in names if name in found}
    named = {task: folder for task, folder in given if task is not None}
    for task in named:
        check_task(task, names, config.checkpoint)
    unnamed = [folder for task, folder in given if task is None]
    if len(unnamed) > 1 or (unnamed and named) or len(named) + len(unnamed) < len(given):
        raise UsageError("with several --data, write each once as TASK=FOLDER")
    if unnamed:
        return {config.task or names[-1]: unnamed[0]}
    return {name: named[name] for name in names if name in named}


def settled_preprocessing(record: CheckpointRecord, options: ModelOptions) -> Preprocessing:
    """The preprocessing of a checkpoint, after checking that no flag contradicts the file.

    Raises:
        UsageError: `--model`, `--classifier` or an image flag that says something else, or code of
            the file's that the user has not agreed to run.
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
        if (asked.source, asked.name) != (record.model.source, record.model.name):
            raise UsageError(f"--model {asked} contradicts the checkpoint, which is {record.model}: leave it out")
    if options.classifier is not None and options.classifier != record.model.classifier:
        raise UsageError(
            f"--classifier {printable(options.classifier)} contradicts the checkpoint, whose heads replace "
            f"{record.model.classifier}: leave it out"
        )
    if record.model.source == "python" and not options.trust_model_code:
        raise UsageError(
            f"the checkpoint asks to run the code {printable(str(record.model))}; if you trust it, give "
            "--trust-model-code"
        )
    return fixed


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
        "--omega needs --lambda, the strength of the protection: for this omega and learning rate, "
        f"--lambda {strength:.2g} holds half of the parameters that matter; more keeps more, less learns more"
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
