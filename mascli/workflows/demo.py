"""`mascli demo`: five tasks of real handwritten digits, learned with and without importance.

Everything goes through the workflows of the other commands; nothing is computed here.
"""

from __future__ import annotations

import time
from pathlib import Path

from mascli.config import DemoConfig, EvaluateConfig, InitConfig, InspectConfig
from mascli.config.command_line import command_line
from mascli.data.samples.digits import write_digit_tasks
from mascli.files.tensor_file import read_header
from mascli.importance.statistics import file_histogram
from mascli.observer import Observer
from mascli.reports.demo import DemoResult
from mascli.workflows.init import init
from mascli.workflows.preflight import DEMO_MARK
from mascli.workflows.sequence import TaskSequence

TRAINING = {"lr": 0.05, "head_lr": 0.05, "epochs": 20, "val_split": 0.0}  # 240 images a task: none to spare
STRENGTH = 0.1


def demo(config: DemoConfig, observer: Observer) -> DemoResult:
    """Learn five tasks in turn by plain fine-tuning and by MAS, from the same first task."""
    started = time.monotonic()
    folder = _prepared_folder(config.out or Path("mascli-demo"))
    tasks = tuple(write_digit_tasks(folder / "data"))
    common = {"seed": config.seed, "device": config.device}
    files = {**common, "overwrite": config.overwrite}
    sequence = TaskSequence(folder / "data", tasks, observer, {**TRAINING, **files}, files)
    start, first = folder / "start.safetensors", folder / f"{tasks[0]}.safetensors"
    net = {"model": "mascli:mlp", "model_arg": ("hidden=64-64",), "image_size": (8,), "channels": 1}
    sequence.run(init, InitConfig(out=start, **net, **files))  # type: ignore[arg-type]
    sequence.learn(start, tasks[0], first)
    finetune = sequence.finetune(first, folder / "finetune")
    mas, omega = sequence.mas(first, folder / "mas", STRENGTH)
    return DemoResult(
        out=str(folder),
        tasks=tasks,
        methods={"finetune": finetune, "mas": mas},
        histogram=file_histogram(read_header(omega)),
        omega=str(omega),
        seed=config.seed,
        seconds=time.monotonic() - started,
        next_steps=(
            command_line(InspectConfig(file=omega)),
            command_line(
                EvaluateConfig(checkpoint=folder / "mas" / f"{tasks[-1]}.safetensors", data_root=folder / "data")
            ),
            "mascli init --model torchvision:resnet18 --weights YOUR.pth -o base.safetensors",
        ),
    )


def _prepared_folder(folder: Path) -> Path:
    """The demo's folder, marked as such."""
    for part in (folder, folder / "finetune", folder / "mas"):
        part.mkdir(parents=True, exist_ok=True)
    (folder / DEMO_MARK).write_text("made by mascli demo; --overwrite replaces the files of an earlier one\n")
    return folder
