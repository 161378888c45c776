"""Learn tasks in turn from any checkpoint, with and without importance, and print both accuracy matrices.

    python benchmarks/sequence.py CHECKPOINT --data ROOT --tasks A B C [--model SPEC] [--image-size 48]
        [--photos FOLDER] [--lr 0.004] [--epochs 2] [--batch-size 16] [--lambda 0.1] [--seeds 0 1 2]
        [-o FOLDER] [--json FILE]

ROOT holds TASK/train/CLASS/IMAGE and TASK/test/CLASS/IMAGE. Both methods start from the same
checkpoint and have the same settings apart from the omega. With --photos, the importance of what the
checkpoint knows already is measured on that folder and protected from the first task on; without,
both methods share the first task. Nothing is chosen on test images.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path

from task_sequence import TaskSequence

from mascli.config import EstimateConfig, InitConfig
from mascli.observer import Observer
from mascli.reports.demo import MethodResult
from mascli.workflows.estimate import estimate
from mascli.workflows.init import init


def main() -> None:
    """Run the benchmark for every seed and print what came out."""
    options = _options()
    tasks = tuple(options.tasks or sorted(entry.name for entry in options.data.iterdir() if entry.is_dir()))
    results: dict[str, dict[str, MethodResult]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for seed in options.seeds:
            folder = (options.out or Path(temporary)) / f"seed{seed}"
            results[str(seed)] = _one_seed(options, tasks, seed, folder)
    for seed, methods in results.items():
        for name, result in methods.items():
            _print_matrix(f"seed {seed}, {name}", tasks, result)
    print(f"\n{'seed':>4}  {'method':<9} {'average %':>9} {'learning %':>10} {'forgetting':>10}")
    for seed, methods in results.items():
        for name, r in methods.items():
            print(f"{seed:>4}  {name:<9} {r.average_accuracy:9.2f} {r.learning_accuracy:10.2f} {r.forgetting:10.2f}")
    if options.json:
        plain = {seed: {name: asdict(result) for name, result in methods.items()} for seed, methods in results.items()}
        names = ("model", "image_size", "lr", "epochs", "batch_size", "strength")
        settings = {"tasks": tasks, **{name: getattr(options, name) for name in names}}
        options.json.write_text(json.dumps({"settings": settings, "seeds": plain}, indent=2) + "\n")


def _one_seed(options: argparse.Namespace, tasks: tuple[str, ...], seed: int, folder: Path) -> dict[str, MethodResult]:
    for name in ("finetune", "mas"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    observer = _Printing()
    training = {"seed": seed, "lr": options.lr, "epochs": options.epochs, "batch_size": options.batch_size}
    sequence = TaskSequence(options.data, tasks, observer, training, {"seed": seed})
    start = options.checkpoint
    if options.model:
        start = folder / "start.safetensors"
        size = None if options.image_size is None else (options.image_size,)
        arguments = tuple(options.model_arg)
        config = InitConfig(
            model=options.model, model_arg=arguments, weights=options.checkpoint, image_size=size, seed=seed, out=start
        )
        sequence.run(init, config)
    first = sequence.learn(start, tasks[0], folder / f"{tasks[0]}.safetensors")
    finetune = sequence.finetune(first, folder / "finetune")
    omega = None
    if options.photos:
        omega = folder / "start.omega"
        sequence.run(estimate, EstimateConfig(checkpoint=start, data=options.photos, seed=seed, out=omega))
        first = sequence.learn(start, tasks[0], folder / "mas" / f"{tasks[0]}.safetensors", omega, options.strength)
    mas, _ = sequence.mas(first, folder / "mas", options.strength, omega)
    return {"finetune": finetune, "mas": mas}


class _Printing(Observer):
    def command(self, text: str) -> None:
        print(f"$ {text}", flush=True)


def _print_matrix(title: str, tasks: tuple[str, ...], result: MethodResult) -> None:
    width = max(10, *(len(task) for task in tasks))
    print(f"\n{title}: accuracy in percent on each task's test images, after learning ...")
    print(" " * (width + 2) + " ".join(f"{task:>{width}}" for task in tasks))
    print(f"{'images':<{width + 2}}" + " ".join(f"{count:>{width}}" for count in result.counts))
    for task, row in zip(tasks, result.accuracy_matrix, strict=True):
        print(f"{task:<{width + 2}}" + " ".join(f"{accuracy:>{width}.2f}" for accuracy in row))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, nargs="?", help="a checkpoint, or plain weights with --model")
    parser.add_argument("--model", help="architecture of plain weights, or of a fresh start without a checkpoint")
    parser.add_argument("--model-arg", action="append", default=[])
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--photos", type=Path, help="any images, to measure what the checkpoint knows already")
    parser.add_argument("--tasks", nargs="+", help="the order to learn in (default: sorted)")
    parser.add_argument("--lr", type=float, default=0.001)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lambda", dest="strength", type=float, default=1.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("-o", "--out", type=Path, help="keep all files here")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
