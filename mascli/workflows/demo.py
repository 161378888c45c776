"""`mascli demo`: five tasks of real handwritten digits, learned with and without importance.

Everything goes through the steps of `mascli run` and the workflows of the other commands; nothing is computed here.
"""

from __future__ import annotations

import time
from pathlib import Path

from mascli.config import DemoConfig, EvaluateConfig, InspectConfig, ReportConfig
from mascli.config.command_line import command_line
from mascli.config.sequence import MethodEntry, TaskEntry, TaskSequence
from mascli.data.samples.digits import write_digit_tasks
from mascli.errors import NumericsError
from mascli.files.atomic import write_text
from mascli.files.tensor_file import read_header
from mascli.importance.statistics import file_histogram
from mascli.observer import Observer
from mascli.reports.demo import DemoResult, MethodResult
from mascli.reports.export import to_json
from mascli.reports.run import run_report
from mascli.workflows.preflight import DEMO_MARK, DEMO_RESULT
from mascli.workflows.run import carry_out
from mascli.workflows.sequences.alone import alone_at
from mascli.workflows.sequences.done_steps import Content, Steps, check_unchanged, forget_all
from mascli.workflows.sequences.run_result import run_result
from mascli.workflows.sequences.sequence_steps import plan

MODEL = {"model": "mascli:mlp", "model_arg": ("hidden=64-64",), "image_size": (8,), "channels": 1}
TRAINING = {"lr": 0.05, "head_lr": 0.05, "epochs": 20, "val_split": 0.0}  # 240 images a task: none to spare
STRENGTH = 0.1
SHOWN = ("average_accuracy", "learning_accuracy", "forgetting")


def demo(config: DemoConfig, observer: Observer) -> DemoResult:
    """Learn five tasks in turn by plain fine-tuning and by MAS, from the same first task.

    One that was stopped goes on.

    Raises:
        UsageError: another demo is at work in the folder, or one with another seed was stopped there.
    """
    started = time.monotonic()
    folder = config.out or Path("mascli-demo")
    folder.mkdir(parents=True, exist_ok=True)
    with alone_at(folder / DEMO_MARK, "mascli demo"):
        return _demo(config, folder, observer, started)


def _demo(config: DemoConfig, folder: Path, observer: Observer, started: float) -> DemoResult:
    _prepare(folder, overwrite=config.overwrite)
    written = write_digit_tasks(folder / "data")
    sequence = TaskSequence(
        tasks=tuple(TaskEntry(name, task.train, task.test) for name, task in written.items()),
        methods=(MethodEntry("finetune", "finetune"), MethodEntry("mas", "mas", (STRENGTH,))),
        model=MODEL,
        seeds=(config.seed,),
        training=TRAINING,
    )
    planned = plan(sequence, folder, {"device": config.device}, flat=True)
    steps = Steps(folder / "steps", Content())
    check_unchanged(steps, planned.steps)
    done = carry_out(planned, steps, observer, by="mascli demo")
    if done.failed:
        raise NumericsError("\n".join(f"{name}: {text}" for name, text in done.failed.items()))
    result = run_result(str(folder), sequence, done.plan, done.records, done.skipped, done.failed)
    write_text(folder / DEMO_RESULT, to_json(run_report(result, timed=False)), overwrite=True)
    omega = folder / "mas" / f"{result.tasks[-2]}.omega"  # with which the last task was learned
    return DemoResult(
        out=str(folder),
        tasks=result.tasks,
        methods={
            method.name: MethodResult(
                accuracy_matrix=method.accuracy_matrix,
                counts=result.images,
                **{name: figure.mean for name, figure in method.figures.items() if figure and name in SHOWN},
            )
            for method in result.methods
        },
        histogram=file_histogram(read_header(omega)),
        omega=str(omega),
        seed=config.seed,
        seconds=time.monotonic() - started,
        next_steps=(
            command_line(InspectConfig(file=omega)),
            command_line(
                EvaluateConfig(checkpoint=folder / "mas" / f"{result.tasks[-1]}.safetensors", data_root=folder / "data")
            ),
            command_line(ReportConfig(folder=folder, html=Path(f"{folder.name}.html"))),
            "mascli init --model torchvision:resnet18 --weights YOUR.pth -o base.safetensors",
        ),
    )


def _prepare(folder: Path, *, overwrite: bool) -> None:
    """Mark the demo's folder as such, and remove what an earlier demo has learned if that is asked for."""
    (folder / DEMO_MARK).write_text("made by mascli demo; --overwrite replaces the files of an earlier one\n")
    if overwrite:
        forget_all(folder)
        (folder / DEMO_RESULT).unlink(missing_ok=True)
