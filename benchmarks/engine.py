"""What exact importance costs: its time over that of one ordinary forward and backward pass, and other ways beside it.

    python benchmarks/engine.py [--models resnet18 ...] [--methods loop vmap ...] [--device cpu] [--batch-size 32]
        [--threads 2] [--rounds 5] [--peer-seconds 5] [--layers] [--json FILE]

All methods take the same batch and the same objective, |F|^2 summed over the batch, and take turns: one
round runs each once. Printed are medians, after one round that does not count.

    ordinary      forward + backward, torch.autograd.grad over all parameters
    exact omega   the same by `Estimator.add`, with the absolute value of each image's gradient, added up
    loop          batches of one image
    vmap          torch.func.vmap(grad), as many images at once as --gradient-gigabytes allow
    backpack, opacus, avalanche   where they are installed (backpack-for-pytorch, opacus, avalanche-lib: best in a
                  virtual environment of their own) and accept the model

Before any of it, each gives its omega of 3 images, without tf32: `error` is the largest relative L1
difference of a tensor to the definition, and beyond 1e-3 the method is marked wrong. Avalanche takes
|sum over the batch| in train mode: that is another quantity, marked as such. Of the other methods, one
that has run for --peer-seconds leaves out the rounds that are left, and one that would take more than
three times that for the batch gets fewer images, its ratio being that of the times of one image. How
many rounds and images counted is in the table.

--layers prints which layers take the engine's time, in passes of their own.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from conditions import conditions, described
from engine_layers import LayerTime, layer_times
from engine_models import MODELS, Subject, default_models, difference, reference, subject
from engine_peers import METHODS, OWN, Run, Sums, refusal, versions

CHECKED_IMAGES = 3
TOLERANCE = 1e-3


@dataclass
class Result:
    """One method on one model: seconds of the rounds that counted, or why there are none."""

    note: str
    exact: bool
    images: int
    error: float | None = None
    seconds: list[float] = field(default_factory=list)
    median: float | None = None
    ratio: float | None = None
    refused: str = ""

    @property
    def verdict(self) -> str:
        """What there is to say about the numbers it gives."""
        if not self.exact:
            return "another quantity"
        return "wrong" if self.error is not None and not self.error <= TOLERANCE else ""


def main() -> None:
    """Measure model after model, printing as it goes."""
    options = _options()
    warnings.filterwarnings("ignore", message="There is a performance drop")  # vmap, of what its time shows
    found = conditions(options.device, options.threads)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = options.tf32
    found |= {"batch": options.batch_size, "rounds": options.rounds, "tf32": options.tf32, **versions()}
    print(described(found))
    models: dict[str, Any] = {}
    for name in options.models:
        one = subject(name, options.batch_size, options.device)
        results = measure(one, options)
        models[name] = {"omega_bytes": one.omega_bytes, "methods": {m: asdict(r) for m, r in results.items()}}
        _print_model(one, results)
        if options.layers:
            layers, whole = layer_times(one, options.rounds)
            models[name]["layers"] = {"seconds": whole, "rules": [asdict(layer) for layer in layers]}
            _print_layers(layers, whole)
        if options.json:  # after every model: a run that is stopped has told what it knew
            options.json.write_text(json.dumps({"conditions": found, "models": models}, indent=2) + "\n")
    _print_summary(models)


def measure(one: Subject, options: argparse.Namespace) -> dict[str, Result]:
    """Check every method against the definition, then let them take turns."""
    chosen = [*OWN, *(name for name in METHODS if name in options.methods)]
    results = {name: Result(METHODS[name].note, METHODS[name].exact, len(one.pixels)) for name in chosen}
    runs = _checked_runs(one, results, options)
    for number in range(options.rounds + 1):
        first = number % len(chosen)
        for name in [*chosen[first:], *chosen[:first]]:
            result = results[name]
            spent = sum(result.seconds) + (median(result.seconds) if result.seconds else 0.0)
            if name not in runs or (name not in OWN and spent > options.peer_seconds):
                continue
            try:
                seconds = _seconds(partial(runs[name], one.pixels[: result.images]), one)
            except Exception as problem:  # out of memory, above all
                _forget(name, runs, results, problem)
                continue
            if number > 0 or (name not in OWN and 2 * seconds > options.peer_seconds):  # its check was its warm-up
                result.seconds.append(seconds)
    ordinary = median(results["ordinary"].seconds) / len(one.pixels)
    for result in results.values():
        if result.seconds:
            result.median = median(result.seconds)
            result.ratio = result.median / result.images / ordinary
    return results


def _checked_runs(one: Subject, results: dict[str, Result], options: argparse.Namespace) -> dict[str, Run]:
    """What runs each method that accepts the model; how near it comes to the definition goes into its result."""
    memory = int(options.gradient_gigabytes * 1e9)
    expected, runs = _without_tf32(lambda: reference(one, CHECKED_IMAGES)), dict[str, Run]()
    checked = min(CHECKED_IMAGES, len(one.pixels))
    for name, result in results.items():
        try:
            runs[name] = METHODS[name].make(one, memory)
            check = partial(_error, name, runs[name], one, expected)
            begun = time.perf_counter()
            result.error = _without_tf32(check)
            whole = (time.perf_counter() - begun) / checked * len(one.pixels)
        except Exception as problem:  # whatever another library does with a model it does not know
            _forget(name, runs, results, problem)
            continue
        most = 3 * options.peer_seconds
        if name not in OWN and whole > most and not one.pixels.is_cuda:  # on a GPU the first call is no measure
            result.images = max(checked, int(len(one.pixels) * most / whole))
    return runs


def _error(name: str, run: Run, one: Subject, expected: Sums) -> float | None:
    pixels, checked = one.pixels[:CHECKED_IMAGES], METHODS[name].checked
    sums = checked(one, pixels) if checked else run(pixels)
    return difference(sums, expected) if sums else None


def _forget(name: str, runs: dict[str, Run], results: dict[str, Result], problem: Exception) -> None:
    if name in OWN:
        raise problem
    runs.pop(name, None)
    results[name].refused, results[name].seconds = refusal(problem), []


def _seconds(compute: Callable[[], Any], one: Subject) -> float:
    _synchronize(one)
    begun = time.perf_counter()
    compute()
    _synchronize(one)
    return time.perf_counter() - begun


def _synchronize(one: Subject) -> None:
    if one.pixels.is_cuda:
        torch.cuda.synchronize()


def _without_tf32(compute: Callable[[], Any]) -> Any:
    kept = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        return compute()
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = kept


def _print_model(one: Subject, results: dict[str, Result]) -> None:
    size = "x".join(map(str, one.pixels.shape))
    print(f"\n{one.name}, {size}, omega of {one.omega_bytes / 2**20:.1f} MiB")
    print(f"  {'method':<12} {'ms':>9} {'ratio':>7} {'rounds':>6} {'images':>6} {'error':>8}")
    for name, result in results.items():
        error = "" if result.error is None else f"{result.error:.0e}"
        if result.median is None or result.ratio is None:
            print(f"  {name:<12} {'-':>9} {'-':>7} {'-':>6} {'-':>6} {error:>8}  {result.refused}")
            continue
        print(
            f"  {name:<12} {1e3 * result.median:9.1f} {result.ratio:7.2f} {len(result.seconds):6d} {result.images:6d} "
            f"{error:>8}  {result.verdict}",
            flush=True,
        )


def _print_layers(layers: list[LayerTime], whole: float) -> None:
    rules = sum(layer.seconds for layer in layers)
    print(f"  of {1e3 * whole:.1f} ms, {100 * (1 - rules / whole):.1f} % outside the rules; the rules that take most:")
    for layer in layers[:10]:
        print(f"    {100 * layer.seconds / whole:5.1f} %  {1e3 * layer.seconds:8.2f} ms  {layer.name} ({layer.rule})")


def _print_summary(models: dict[str, Any]) -> None:
    print("\nratio to ordinary (* another quantity or wrong)")
    columns = [method for method in METHODS if any(method in model["methods"] for model in models.values())]
    print(f"{'':<20}" + "".join(f"{column:>13}" for column in columns))
    for name, model in models.items():
        cells = []
        for column in columns:
            result = model["methods"].get(column)
            if result is None or result["ratio"] is None:
                cells.append("-")
                continue
            plain = {key: result[key] for key in ("note", "exact", "images", "error")}
            cells.append(f"{result['ratio']:.2f}{'*' if Result(**plain).verdict else ''}")
        print(f"{name:<20}" + "".join(f"{cell:>13}" for cell in cells))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, help="default: all, ViT-B only on a GPU")
    others = [name for name in METHODS if name not in OWN]
    parser.add_argument("--methods", nargs="*", choices=others, default=others, help="beside the engine")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch-size", type=int, help="default: 32, on CUDA 128")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer-seconds", type=float, default=5.0, help="for each other method on each model")
    parser.add_argument("--gradient-gigabytes", type=float, help="gradients at once; default: 2, on CUDA 16")
    parser.add_argument("--tf32", action="store_true", help="let a GPU round factors to tf32, for every method")
    parser.add_argument("--layers", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    on_gpu = options.device.startswith("cuda")
    options.models = options.models or default_models(options.device)
    options.batch_size = options.batch_size or (128 if on_gpu else 32)
    options.gradient_gigabytes = options.gradient_gigabytes or (16.0 if on_gpu else 2.0)
    return options


if __name__ == "__main__":
    main()
