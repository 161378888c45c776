"""What can be told to be wrong before torch is loaded: paths, headers, folders, names, bindings.

Paths that are missing or taken are usage errors and reported together. What files and folders hold
is checked after that, from headers and listings alone.
"""

from __future__ import annotations

from pathlib import Path

from mascli.config import (
    UNIFORM,
    Common,
    DemoConfig,
    EstimateConfig,
    EvaluateConfig,
    ExportConfig,
    InitConfig,
    InspectConfig,
    MergeConfig,
    ModelOptions,
    TrainTaskConfig,
    rehearsal_folders,
)
from mascli.config.methods import chosen
from mascli.data.folders import labelled_folder, labels_for, list_images
from mascli.errors import CheckpointError, DataError, UsageError, listed, printable
from mascli.files.binding import check_binding, own_shapes, shared_shapes
from mascli.files.partial_file import partial_path
from mascli.files.records_json import checkpoint_record, omega_record
from mascli.files.tensor_file import Header, output_problem, read_header
from mascli.models.spec import check_model_spec, parse_model_spec
from mascli.records import CheckpointRecord, task_name_problem
from mascli.workflows.chosen_folders import data_arguments, evaluation_folders, training_folder
from mascli.workflows.estimating.given_labels import check_classes, labels_by_folder
from mascli.workflows.estimating.settled import check_task, settled_preprocessing, task_names

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
    _check_unfinished(config, "estimate")
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
    omegas = tuple(path for path in config.omega if path != UNIFORM)
    rehearsed = rehearsal_folders(config.rehearse)
    check_paths(
        config,
        {
            "CHECKPOINT": config.checkpoint,
            **{f"--omega {path}": path for path in omegas},
            **{f"--anchor {path}": path for path in config.anchor},
            "--classes": config.classes,
        },
        {
            "--data": config.data,
            "--val": config.val,
            **{f"--rehearse {task}": folder for task, folder in rehearsed.items()},
        },
    )
    _check_unfinished(config, "training")
    record = _checkpoint(config.checkpoint, config)
    names = task_names(record, config)
    problem = task_name_problem(config.task, names)
    if problem:
        raise UsageError(f"--task '{printable(config.task)}': {problem}")
    if config.distill is not None and not names:
        raise UsageError("--distill needs a checkpoint with tasks: there are no answers to keep")
    for omega in omegas:
        _check_omega(omega, record, config.checkpoint)
    for anchor in config.anchor:
        _check_anchor(anchor, record)
    folder = training_folder(config.data)
    if config.val is not None:
        labels_for(labelled_folder(config.val), folder.classes, config.task)
    for task, old in rehearsed.items():
        if task not in names:
            raise UsageError(f"--rehearse {task}: the checkpoint has no such task (tasks: {listed(names) or 'none'})")
        known = [known.classes for known in record.tasks if known.name == task] if record else []
        for classes in known:
            labels_for(labelled_folder(old), classes, task)


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


def check_export(config: ExportConfig) -> None:
    """Check `mascli export` before torch is loaded."""
    check_paths(config, {"CHECKPOINT": config.checkpoint, "--classes": config.classes}, {})
    names = task_names(_checkpoint(config.checkpoint, config), config)
    if not names:
        raise CheckpointError(f"{printable(config.checkpoint)} has no task yet, so there is no head to export")
    if config.task is not None:
        check_task(config.task, names, config.checkpoint)


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
            problem = output_problem(config.out, replaces(config))
            problems += [f"-o: {problem}"] if problem else []
    problems += _report_problems(config)
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


def _checkpoint(path: Path, options: ModelOptions) -> CheckpointRecord | None:
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
        shapes, own = shared_shapes(stored, record), own_shapes(stored, record)
        check_binding(omega, omega_shapes(header), record.ancestry, shapes, printable(path), own)
    return header


def _check_anchor(path: Path, record: CheckpointRecord | None) -> None:
    """Check that an anchor has the shared parameters of the checkpoint that training starts from."""
    anchor = checkpoint_record(read_header(path))
    if anchor is None:
        raise CheckpointError(f"--anchor {printable(path)} is no checkpoint of mascli; make one with mascli init")
    if record is not None and not set(record.shared) <= set(anchor.shared):
        raise CheckpointError(
            f"--anchor {printable(path)} is of {printable(str(anchor.model))} and has other parameters than the "
            "checkpoint; give one that it descends from"
        )


def replaces(config: Common) -> bool:
    """Whether outputs that exist may be replaced: the user says so, or they are of the training that is gone on with.

    A training that is killed just after it has written a file leaves its unfinished work behind too.
    """
    resumed = isinstance(config, TrainTaskConfig) and config.resume and config.out is not None
    return config.overwrite or (resumed and config.out is not None and partial_path(config.out).exists())


def _check_unfinished(config: EstimateConfig | TrainTaskConfig, what: str) -> None:
    unfinished = partial_path(config.out) if config.out is not None else None
    if unfinished is not None and unfinished.is_dir():
        raise UsageError(
            f"-o: {printable(unfinished)} is a folder, where an unfinished {what} would be kept; move it, or choose "
            "another name with -o"
        )
    if unfinished is not None and unfinished.exists() and not (config.resume or config.overwrite):
        raise UsageError(
            f"{printable(unfinished)} holds an unfinished {what}: go on with --resume, or start anew with --overwrite"
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
