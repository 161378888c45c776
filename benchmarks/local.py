"""What `mas-local` costs: a batch of it over 1.5 forward passes and the time of the same rules.

    python benchmarks/local.py [--models resnet18 ...] [--batch-size 32] [--threads 2] [--rounds 5] [--json FILE]

    forward    one forward pass without a graph, in milliseconds
    rules      what the rules take in a batch of `mas` (measured on their way, as `engine.py --layers` does)
    mas        a batch of `mas`
    mas-local  a batch of `mas-local`, which needs no backward pass
    ratio      mas-local / (1.5 forward + rules)

All take turns; the figures are medians.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from conditions import conditions, described
from engine_layers import layer_times
from engine_models import MODELS, TASKS, Subject, default_models, subject
from engine_peers import estimated, opened_estimator

from mascli.importance.engine import Estimator
from mascli.importance.images import Images
from mascli.importance.methods import measure_named


def main() -> None:
    """Measure model after model, printing as it goes."""
    options = _options()
    found = conditions("cpu", options.threads) | {"batch": options.batch_size, "rounds": options.rounds}
    print(described(found))
    print(f"{'':<20}{'forward':>10}{'rules':>10}{'mas':>10}{'mas-local':>10}{'ratio':>8}")
    results = {}
    for name in options.models:
        results[name] = row = measure(subject(name, options.batch_size, "cpu"), options.rounds)
        cells = "".join(f"{row[key]:10.1f}" for key in ("forward", "rules", "mas", "mas-local"))
        print(f"{name:<20}{cells}{row['ratio']:8.2f}", flush=True)
        if options.json:
            options.json.write_text(json.dumps({"conditions": found, "models": results}, indent=2) + "\n")


def measure(one: Subject, rounds: int) -> dict[str, float]:
    """Milliseconds of a forward pass, of the rules, of `mas` and of `mas-local` on one batch, and the ratio."""
    network = one.network()
    mas, local = estimated(opened_estimator(one)), estimated(_local_estimator(one))

    def forward() -> None:
        with torch.no_grad():
            network(one.pixels)

    runs: dict[str, Callable[[], object]] = {
        "forward": forward,
        "mas": lambda: mas(one.pixels),
        "local": lambda: local(one.pixels),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            begun = time.perf_counter()
            run()
            if number > 0:
                seconds[name].append(time.perf_counter() - begun)
    middle = {name: 1e3 * median(times) for name, times in seconds.items()}
    rules = 1e3 * sum(layer.seconds for layer in layer_times(one, rounds)[0])
    ratio = middle["local"] / (1.5 * middle["forward"] + rules)
    return {
        "forward": middle["forward"],
        "rules": rules,
        "mas": middle["mas"],
        "mas-local": middle["local"],
        "ratio": ratio,
    }


def _local_estimator(one: Subject) -> Estimator:
    estimator = Estimator(one.multi_head(), TASKS, measure_named("local", "abs"))
    estimator.prepare(Images(one.pixels))
    return estimator


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=default_models("cpu"))
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
