"""Run `mascli demo` for several seeds and print what each method came to.

python benchmarks/demo.py [--seeds 0 1 2 3] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path

from mascli.config import DemoConfig
from mascli.observer import Observer
from mascli.workflows.demo import demo


def main() -> None:
    """Print one line a seed and method, as percent and percentage points."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results = {}
    print(f"{'seed':>4}  {'method':<9} {'average %':>9} {'learning %':>10} {'forgetting':>10} {'seconds':>8}")
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as folder:
            result = demo(DemoConfig(out=Path(folder) / "demo", seed=seed), Observer())
        results[str(seed)] = {name: asdict(method) for name, method in result.methods.items()}
        for name, r in result.methods.items():
            numbers = f"{r.average_accuracy:9.2f} {r.learning_accuracy:10.2f} {r.forgetting:10.2f}"
            print(f"{seed:>4}  {name:<9} {numbers} {result.seconds:8.1f}")
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
