"""Every option of every command, declared once: its metavar and one line of help.

The type and the default of an option are those of the configuration's field; the default is
added to the help. A key `command.field` speaks for one command only.
"""

from __future__ import annotations

import dataclasses
import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import typer

from mascli.config import Common, flag_of
from mascli.config.checks import POSITIONALS


@dataclass(frozen=True)
class Option:
    """How an option looks in `--help`; `short` is its one-letter form.

    `negatable` adds `--no-...`, with which a flag can beat a configuration file.
    """

    metavar: str
    help: str
    short: str = ""
    negatable: bool = False


OPTIONS: dict[str, Option] = {
    # every command
    "out": Option("FILE", "Where the result goes.", "-o"),
    "init.out": Option("FILE", "The checkpoint to write.", "-o"),
    "estimate.out": Option("FILE", "The omega to write.", "-o"),
    "train-task.out": Option("FILE", "The checkpoint to write; CHECKPOINT stays as it is.", "-o"),
    "merge.out": Option("FILE", "The omega to write.", "-o"),
    "run.out": Option("FOLDER", "The folder for all files; one that was begun with this sequence goes on.", "-o"),
    "demo.out": Option("FOLDER", "The folder for all files of the demo.", "-o"),
    "evaluate.out": Option("FILE", "Also write the result to FILE, as --report does.", "-o"),
    "inspect.out": Option("FILE", "Also write the result to FILE, as --report does.", "-o"),
    "overwrite": Option("", "Replace output files that exist.", negatable=True),
    "run.overwrite": Option("", "Remove what an earlier run has made in the folder, and start anew.", negatable=True),
    "demo.overwrite": Option("", "Replace the folder of an earlier demo.", negatable=True),
    "device": Option("NAME", "auto (a GPU if there is one), cpu, cuda, cuda:N, mps or xpu."),
    "seed": Option("N", "Seed of everything random; the same seed gives the same file."),
    "run.seed": Option("N", "Seed of a sequence that names no seeds; the same seed gives the same files."),
    "format": Option("table|json|csv", "What standard output gets."),
    "report": Option("FILE", "Also write the result to FILE.json, .csv, .md or .xml (JUnit); repeatable."),
    "quiet": Option("", "Say nothing but the result and errors.", "-q"),
    "ascii_": Option("", "Draw with ASCII characters only."),
    "verbose": Option("", "Say each step on standard error.", "-v"),
    # the model
    "model": Option(
        "SPEC", "Architecture of plain weights: torchvision:NAME, timm:NAME, mascli:mlp|convnet, python:..."
    ),
    "init.model": Option(
        "SPEC", "Architecture: torchvision:NAME, timm:NAME, mascli:mlp|convnet or python:MODULE:FACTORY."
    ),
    "model_arg": Option(
        "KEY=VALUE",
        "An argument of the architecture, as in hidden=64-64 (mascli:mlp) or width=64 (mascli:convnet); repeatable.",
    ),
    "classifier": Option("LAYER", "The layer that task heads replace, as in classifier.6 (default: found)."),
    "head_name": Option("TASK", "Name of the task that plain weights were trained on."),
    "classes": Option("FILE", "Class names of plain weights, one a line (default: 0, 1, 2, ...)."),
    "weights": Option("FILE", "Trained weights to start from: .safetensors, .pth or .pt (default: random)."),
    "image_size": Option("N|H,W", "Input height and width in pixels (default: the architecture's)."),
    "resize": Option("shorter|squash|none", "How images get to that size (default: the architecture's)."),
    "mean": Option("X,X,X", "Mean of each channel, pixels in 0..1 (default: the architecture's)."),
    "std": Option("X,X,X", "Standard deviation of each channel (default: the architecture's)."),
    "channels": Option("1|3", "Channels of an image (default: the architecture's)."),
    "trust_model_code": Option("", "Run the code that a python: model names inside a file."),
    # images
    "checkpoint": Option("CHECKPOINT", "A checkpoint, or plain .safetensors weights with --model."),
    "data": Option("FOLDER", "Folder of images."),
    "estimate.data": Option("FOLDER", "Images, flat or nested; labels are not needed."),
    "train-task.data": Option("FOLDER", "Images to learn from, as FOLDER/CLASS/IMAGE."),
    "evaluate.data": Option("[TASK=]FOLDER", "Images of a task, as FOLDER/CLASS/IMAGE; repeatable with TASK=."),
    "batch_size": Option("N", "Images at a time."),
    "workers": Option("N", "Threads that decode images (default: by cores)."),
    "on_error": Option("skip|fail", "What an image that cannot be read does."),
    # estimate
    "task": Option("TASK", "Name of the task."),
    "estimate.task": Option("TASK", "Whose answers to measure (default: the newest task's)."),
    "train-task.task": Option("TASK", "Name of the new task: letters, digits, _ and -."),
    "evaluate.task": Option(
        "TASK", "Evaluate this task only; repeatable (default: all; for --data FOLDER the newest)."
    ),
    "all_tasks": Option("", "Measure the answers of all tasks together.", negatable=True),
    "heads": Option("", "Also the importance of these tasks' heads, for tasks to come that use one.", negatable=True),
    "method": Option("mas|mas-local|ewc|anpyc", "How importance is measured (default: mas)."),
    "objective": Option(
        "squared-l2|l1|l2|each-output|entropy|log-likelihood",
        "What is differentiated, of the answers (default: the method's, squared-l2).",
    ),
    "reduction": Option(
        "abs|square|taylor|batch", "What becomes of each image's gradient before the mean (default: the method's, abs)."
    ),
    "labels": Option(
        "drawn|given", "log-likelihood: labels drawn from the model's own answers, or named by class folders."
    ),
    "compat": Option("official|avalanche|facil", "Measure as that implementation of MAS does, and convert its lambda."),
    "limit": Option("N", "Use N images only (default: all)."),
    "estimate.batch_size": Option("N", "Images at a time (default: by the model and the size of its input)."),
    "memory": Option("GB", "Choose the batch size so that a pass keeps about so much in memory."),
    "until_reliability": Option("R", "Stop as soon as the reliability (0 to 1) is R, after 64 images at least."),
    "resume": Option("", "Go on where an estimate of this name was stopped.", negatable=True),
    "verify": Option("N", "First check N images against the slow reference, in float64; exit with 6 if it differs."),
    "autotune": Option("", "Measure which way is the fastest for each layer; last bits may differ.", negatable=True),
    "precision": Option(
        "float32|tf32|bf16", "Of products; less is faster and less exact. Sums stay float32 or better."
    ),
    "order": Option("seeded|path", "Which images --limit takes: drawn by --seed, or the first by path."),
    "previous": Option("OMEGA", "An omega of earlier tasks to combine with the new one."),
    "combine": Option("sum|max|mean|ema", "How to combine with --previous."),
    "decay": Option("X", "ema: the omega is X * before + (1 - X) * next."),
    # train-task
    "omega": Option(
        "FILE|uniform", "Importance of the parameters; repeatable, summed; 'uniform': 1 (default: plain fine-tuning)."
    ),
    "anchor": Option(
        "CHECKPOINT", "Whose parameters to stay near: one, or one for each --omega (default: those to start from)."
    ),
    "lambda_": Option(
        "X|auto", "Strength of the penalty: 0 is plain fine-tuning, inf trains the head only (default: auto)."
    ),
    "max_drop": Option("POINTS", "auto: the largest lambda that costs the new task at most so much accuracy."),
    "max_trials": Option("N", "auto: trainings at most, with plain fine-tuning."),
    "penalty": Option("decoupled|loss", "How the penalty is applied: after each step, or in the loss."),
    "require_protection": Option("", "Stop if no omega protects one of the tasks.", negatable=True),
    "distill": Option("WEIGHT", "Also keep the old heads' answers on the new images as they were (LwF)."),
    "temperature": Option("T", "distill: how soft the answers are compared."),
    "rehearse": Option("TASK=FOLDER", "Images of an old task to learn along, its head included; repeatable."),
    "head_of": Option("TASK", "Use the head of that task, for the same classes (default: a head of its own)."),
    "train-task.heads": Option("", "collect: also for the task's own head, for tasks to come.", negatable=True),
    "collect": Option("FILE", "Also write the importance that Synaptic Intelligence collects while learning."),
    "damping": Option("X", "collect: what is added to the squared change before dividing by it."),
    "batchnorm": Option(
        "freeze|per-task|train",
        "BatchNorm: as it is, one for each task, or trained (default: train the first, freeze).",
    ),
    "val": Option("FOLDER", "Images to validate on, as FOLDER/CLASS/IMAGE (default: a split of --data)."),
    "val_split": Option("SHARE", "Share of each class held back to validate on, 0 for none."),
    "epochs": Option("N", "Passes over the images."),
    "head_epochs": Option("N", "Passes before those with only the new head (default: 1; first task 0)."),
    "lr": Option("X", "Learning rate (default: 0.01 for the first task, then 0.001)."),
    "head_lr": Option("X", "Learning rate of the new head, in all passes."),
    "schedule": Option("constant|step|cosine", "How the rates fall; step: to a tenth after 1/2 and 3/4 of the epochs."),
    "optimizer": Option("sgd|adamw", "The optimiser."),
    "momentum": Option("X", "sgd: momentum."),
    "nesterov": Option("", "sgd: Nesterov's momentum.", negatable=True),
    "dampening": Option("X", "sgd: share of the gradient that momentum leaves out."),
    "clip_norm": Option("X", "Scale the task's gradient down to this norm if it is longer (default: no clipping)."),
    "weight_decay": Option("X", "Weight decay; it forgets by itself."),
    "train-task.resume": Option("", "Go on where a training of this name was stopped.", negatable=True),
    "augment": Option("none|flip|standard", "Random changes to images; standard: crops and flips."),
    "cache": Option("auto|memory|none", "Keep decoded images in memory (auto: if they fit)."),
    # evaluate, inspect, merge
    "data_root": Option("ROOT", "Evaluate all tasks: ROOT/TASK/test, ROOT/TASK/val or ROOT/TASK."),
    "baseline": Option("CHECKPOINT", "An earlier checkpoint, to measure forgetting; repeatable."),
    "min_accuracy": Option(
        "[TASK=]PERCENT", "Exit with 7 if the accuracy of a task, or of TASK, is below; repeatable."
    ),
    "max_forgetting": Option("[TASK=]POINTS", "Exit with 7 if a task, or TASK, forgot more points; repeatable."),
    "sequence": Option("SEQUENCE", "The tasks, methods and settings, as YAML; see docs/run.md."),
    "dry_run": Option("", "Print the steps as commands, and which are done already; run nothing."),
    "forgetting": Option("max|max-final|all", "Show forgetting by this definition too; repeatable."),
    "run.trust_model_code": Option("", "Run the code that a python: model of the sequence names."),
    "export.task": Option("TASK", "The task to export (default: the newest)."),
    "export.out": Option("FILE", "The weights to write: .pth or .pt for PyTorch's format, else safetensors.", "-o"),
    "average.out": Option("FILE", "The checkpoint to write.", "-o"),
    "checkpoints": Option("CHECKPOINT...", "The checkpoints to average, in the order learned."),
    "mode": Option("mean|mode", "mean: of the parameters; mode: weighed by the importance in --omega."),
    "average.weights": Option("X,X,...", "A factor for each checkpoint (default: all alike)."),
    "average.omega": Option("FILE", "mode: importance of each checkpoint's parameters, in their order; repeatable."),
    "file": Option("FILE", "A checkpoint, an omega or any .safetensors file."),
    "other": Option("[OTHER]", "A second file of the same kind: show how the two differ."),
    "inspect.omega": Option("OMEGA", "Two checkpoints: weigh what changed by this importance."),
    "layer": Option("GLOB", "Only layers whose names match, as in 'features.*'; repeatable."),
    "histogram": Option("", "Also a histogram of each layer shown."),
    "bins": Option("N", "Bars of the histogram."),
    "top": Option("K", "The K most important ones, by name."),
    "by": Option("parameters|filters|tensors", "top: of what; a filter is one output of a layer."),
    "map_": Option("LAYER", "Draw the importance of each filter of LAYER as a map."),
    "plot": Option("FILE", "Also draw it to FILE.png, .svg or .pdf (needs mascli[plot])."),
    "per_class": Option("", "Also accuracy by class, and which classes are taken for which."),
    "folder": Option("FOLDER", "What mascli run or mascli demo has left."),
    "html": Option("FILE.html", "The page to write: one file that needs nothing else."),
    "report.out": Option("FILE.html", "The same as --html.", "-o"),
    "omegas": Option("OMEGA...", "The omegas to combine, the earliest first."),
    "merge.combine": Option("pool|sum|max|mean|ema", "pool: parts of one estimate; the others: successive tasks."),
    "merge.weights": Option("X,X,...", "A factor for each file (default: 1)."),
    "normalize": Option("", "Divide each estimate by its mean squared norm, the scale of its outputs.", negatable=True),
}


def parameter_of(command: str, field: dataclasses.Field[Any], hint: Any) -> Any:
    """The annotation of one field of a configuration, as typer reads it.

    Values stay text: the configuration converts them, so that all problems are told at once.
    """
    option = OPTIONS.get(f"{command}.{field.name}") or OPTIONS[field.name]
    text = option.help + _default_text(field)
    kind = _kind_of(hint)
    if field.name in POSITIONALS:
        kind = list[Path] | None if field.name in ("omegas", "checkpoints") else Path | None
        return Annotated[kind, typer.Argument(metavar=option.metavar, help=text, show_default=False)]
    flag = flag_of(field.name)
    names = [f"{flag}/--no-{flag[2:]}" if option.negatable else flag, *([option.short] if option.short else [])]
    if flag == "--out":
        names.reverse()
    metavar = option.metavar or None
    return Annotated[kind, typer.Option(*names, metavar=metavar, help=text, show_default=False)]


def fields_in_order(kind: type[Common]) -> list[dataclasses.Field[Any]]:
    """The fields of a configuration, the command's own first and those of all commands last."""
    own = [name for owner in kind.__mro__ for name in inspect.get_annotations(owner)]
    fields = {field.name: field for field in dataclasses.fields(kind)}
    return [fields[name] for name in dict.fromkeys(own)]


def hints_of(kind: type[Common]) -> dict[str, Any]:
    """The type of each field."""
    return get_type_hints(kind)


def _kind_of(hint: Any) -> Any:
    inner = get_args(hint)
    if hint is bool:
        return bool | None
    is_list = getattr(hint, "__origin__", None) is tuple and inner[0] not in (int, float)
    return list[str] | None if is_list else str | None


def _default_text(field: dataclasses.Field[Any]) -> str:
    default = field.default
    if default is dataclasses.MISSING or default is None or isinstance(default, bool) or default == ():
        return ""
    return f" [{default:g}]" if isinstance(default, float) else f" [{default}]"
