"""What each choice of `train-task --batchnorm` does to forgetting, on a network with batch norm.

    python benchmarks/batchnorm.py [--seeds 0 1 2 3 4] [--grid 0.1 1 10] [--epochs 10] [--threads 1]
        [--root FOLDER --image-size 48] [--json FILE]

A small convolutional net with batch norm learns five tasks, by default the pairs of handwritten digits that
come with the package, through `mascli run`; with `--root`, the tasks of FOLDER/TASK/train|test/CLASS/IMAGE. The
first task is the same for every choice: it trains its batch norm. Later ones are learned with `freeze` (statistics
and affine parameters as the first task left them), `per-task` (each task has its own) or `train` (one for
all, which every task moves), each by plain fine-tuning and by MAS at each lambda of the grid. Printed is the
mean over seeds with the half width of its 95 % interval (Student's t).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml
from conditions import conditions, described

from mascli.config import RunConfig
from mascli.evaluation.metrics import average_accuracy, forgetting, learning_accuracy, mean_interval
from mascli.observer import Observer
from mascli.workflows.run import run
from mascli.workflows.sequences.run_checks import check_run

CHOICES = ("freeze", "per-task", "train")
HEADER = f"{'batchnorm':<10}{'method':<10}{'lambda':>8}  {'average %':>16}{'learning %':>16}{'forgetting':>16}"


@dataclass(frozen=True)
class Row:
    """One choice and method: accuracies in percent and forgetting in points, a value for each seed."""

    batchnorm: str
    method: str
    strength: float | str | None
    average: tuple[float, ...]
    learning: tuple[float, ...]
    forgetting: tuple[float, ...]


def main() -> None:
    """Learn the sequence with each choice and print what is kept."""
    options = _options()
    found = conditions("cpu", options.threads)
    print(described(found), flush=True)
    print(HEADER)
    rows = []
    for choice in CHOICES:
        for row in _learned(choice, options):
            rows.append(row)
            values = "".join(f"{_shown(part):>16}" for part in (row.average, row.learning, row.forgetting))
            strength = "" if row.strength is None else f"{row.strength:g}"
            print(f"{row.batchnorm:<10}{row.method:<10}{strength:>8}  {values}", flush=True)
    if options.json:
        kept = {
            "conditions": found,
            "seeds": options.seeds,
            "epochs": options.epochs,
            "rows": [asdict(r) for r in rows],
        }
        options.json.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def _learned(choice: str, options: argparse.Namespace) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "sequence.yaml"
        file.write_text(yaml.safe_dump(_sequence(choice, options)), encoding="utf-8")
        config = RunConfig(sequence=file, out=Path(scratch) / "out", device="cpu")
        result = run(config, check_run(config), Observer())
    for method in result.methods:
        matrices = [seed.accuracy_matrix for seed in method.seeds]
        numbers = (tuple(map(number, matrices)) for number in (average_accuracy, learning_accuracy, forgetting))
        yield Row(choice, method.method, method.lambda_, *numbers)


def _sequence(choice: str, options: argparse.Namespace) -> dict[str, Any]:
    images: dict[str, Any] = {"samples": "digits", "channels": 1}
    if options.root:
        tasks = sorted(entry.name for entry in options.root.iterdir() if entry.is_dir())
        images = {"root": str(options.root.resolve()), "tasks": [{"name": task} for task in tasks]}
    return {
        **images,
        "model": "mascli:convnet",
        "model-arg": {"width": 16, "norm": True},
        "image-size": options.image_size,
        "methods": ["finetune", {"method": "mas", "lambda": options.grid}],
        "seeds": options.seeds,
        "training": {
            "epochs": options.epochs,
            "lr": 0.01,
            "head-lr": 0.01,
            "batch-size": 32,
            "val-split": 0,
            # the default: the first task trains it, and later ones leave it as it is
            **({} if choice == "freeze" else {"batchnorm": choice}),
        },
    }


def _shown(values: tuple[float, ...]) -> str:
    interval = mean_interval(values)
    return f"{fmean(values):.2f}" + (f" ± {(interval[1] - interval[0]) / 2:.2f}" if interval else "")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--grid", type=float, nargs="+", default=[0.1, 1.0, 10.0])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--root", type=Path, help="real images, ROOT/TASK/train|test/CLASS/IMAGE")
    parser.add_argument("--image-size", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
