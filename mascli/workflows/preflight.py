"""What can be told to be wrong before torch is loaded: paths, headers, folders, names, bindings.

Paths that are missing or taken are usage errors and reported together. What files and folders hold
is checked after that, from headers and listings alone.
"""

from __future__ import annotations

from pathlib import Path

from mascli.config import (
    UNIFORM,
    DemoConfig,
    EstimateConfig,
    EvaluateConfig,
    ExportConfig,
    InitConfig,
    MergeConfig,
    ModelOptions,
    TrainTaskConfig,
    rehearsal_folders,
)
from mascli.config.methods import chosen
from mascli.data.folders import labelled_folder, labels_for, list_images
from mascli.errors import CheckpointError, UsageError, listed, printable
from mascli.files.binding import check_binding, head_shapes, own_shapes, shared_shapes
from mascli.files.partial_file import partial_path
from mascli.files.records_json import checkpoint_record, omega_record
from mascli.files.tensor_file import Header, read_header
from mascli.models.spec import check_model_spec, parse_model_spec
from mascli.records import CheckpointRecord, task_name_problem
from mascli.workflows.accuracy_limits import check_limits
from mascli.workflows.checked_paths import check_paths, report_problems
from mascli.workflows.chosen_folders import classes_to_learn, data_arguments, evaluation_folders, training_folder
from mascli.workflows.estimating.given_labels import check_classes, labels_by_folder
from mascli.workflows.estimating.settled import check_task, settled_preprocessing, task_names

# A file that marks a folder as one that a demo has made.
DEMO_MARK = ".mascli-demo"
# What a demo leaves when it has ended, in the form of `mascli run`.
DEMO_RESULT = "result.json"


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
    if config.head_of is not None and config.head_of not in names:
        raise UsageError(
            f"--head-of {printable(config.head_of)}: the checkpoint has no such task (tasks: {listed(names) or 'none'})"
        )
    classes = classes_to_learn(config, training_folder(config.data), record.tasks if record else ())
    if config.val is not None:
        labels_for(labelled_folder(config.val, allow_empty=True), classes, config.task)
    for task, old in rehearsed.items():
        if task not in names:
            raise UsageError(f"--rehearse {task}: the checkpoint has no such task (tasks: {listed(names) or 'none'})")
        known = [known.classes for known in record.tasks if known.name == task] if record else []
        for classes in known:
            labels_for(labelled_folder(old), classes, task)


def check_evaluate(config: EvaluateConfig) -> None:
    """Check `mascli evaluate` before torch is loaded."""
    given = data_arguments(config.data)
    folders = {"--data" if name is None else f"--data {name}": folder for name, folder in given}
    check_paths(
        config,
        {"CHECKPOINT": config.checkpoint, **{f"--baseline {path}": path for path in config.baseline}},
        {**folders, "--data-root": config.data_root},
    )
    record = _checkpoint(config.checkpoint, config)
    names = task_names(record, config)
    chosen = evaluation_folders(config, names)
    earlier = {name for path in config.baseline for name in task_names(_checkpoint(path, config), config)}
    check_limits(config, record, names, chosen, earlier)
    for task in record.tasks if record else ():
        if task.name in chosen:
            labels_for(labelled_folder(chosen[task.name], allow_empty=True), task.classes, task.name)


def check_export(config: ExportConfig) -> None:
    """Check `mascli export` before torch is loaded."""
    check_paths(config, {"CHECKPOINT": config.checkpoint, "--classes": config.classes}, {})
    names = task_names(_checkpoint(config.checkpoint, config), config)
    if not names:
        raise CheckpointError(f"{printable(config.checkpoint)} has no task yet, so there is no head to export")
    if config.task is not None:
        check_task(config.task, names, config.checkpoint)


def check_merge(config: MergeConfig) -> None:
    """Check `mascli merge` before anything is read."""
    check_paths(config, {f"OMEGA {path}": path for path in config.omegas}, {})


def check_demo(config: DemoConfig) -> None:
    """Check that the folder of `mascli demo` is free, or that of one that was stopped or may be replaced."""
    folder = config.out or Path("mascli-demo")
    problems = report_problems(config)
    if folder.exists() and not folder.is_dir():
        problems.append(f"-o: {printable(folder)} is a file; the demo needs a folder")
    elif folder.is_dir() and any(folder.iterdir()):
        if not (folder / DEMO_MARK).is_file():
            problems.append(f"-o: {printable(folder)} is not empty and not of an earlier demo; choose another folder")
        elif not config.overwrite and _is_whole_demo(folder):
            problems.append(
                f"-o: {printable(folder)} holds an earlier demo; choose another folder, or give --overwrite"
            )
    if problems:
        raise UsageError("\n".join(problems))


def _is_whole_demo(folder: Path) -> bool:
    """Whether a demo has ended in `folder`; earlier versions left neither a result nor records of steps."""
    return (folder / DEMO_RESULT).exists() or ((folder / "mas").exists() and not (folder / "steps").exists())


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
        shapes, own = shared_shapes(stored, record), {**own_shapes(stored, record), **head_shapes(stored, record)}
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
