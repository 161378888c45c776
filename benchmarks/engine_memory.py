"""How much memory exact importance takes over one ordinary forward and backward pass of the same batch.

    python benchmarks/engine_memory.py [--models resnet18 ...] [--methods loop vmap ...] [--device cpu]
        [--batch-size 32] [--threads 2] [--passes 1] [--seconds 60] [--json FILE]

Each number is from a process of its own that makes one model and runs one method on the same batch
--passes times: its largest resident set, on CUDA the most that was allocated. Printed is what that is
over the same for `ordinary`, in MiB and in omegas (one omega is 4 bytes for each parameter it is of).
`made` is the largest resident set before the first batch: of the engine, after its plan was tried.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from conditions import conditions, cpu_model, described, peak_mib

MODELS = ("alexnet", "vgg11", "resnet18", "resnet50", "squeezenet1_0", "mobilenet_v3_small", "vit_tiny")
SMALL, LARGE = ("resnet18@64", "resnet18@32"), ("vit_base",)
METHODS = ("ordinary", "exact omega", "loop", "vmap", "backpack", "opacus", "avalanche")
ORDINARY, ENGINE = METHODS[:2]


def main() -> None:
    """Start one process a model and method. This one stays small: a process begins with its starter's peak."""
    options = _options()
    if options.one:
        print(json.dumps(_measured(options)))
        return
    found = {"device": options.device, "threads": options.threads, "cpu": cpu_model(), "batch": options.batch_size}
    print(described(found))
    print(f"{'model':<20} {'method':<12} {'made MiB':>9} {'peak MiB':>9} {'over MiB':>9} {'omegas':>7}")
    models: dict[str, Any] = {}
    for model in options.models:
        models[model] = {}
        for method in (ORDINARY, ENGINE, *options.methods):
            models[model][method] = row = _in_own_process(model, method, options)
            found |= row.pop("conditions", {})
            if "refused" in row:
                print(f"{model:<20} {method:<12} {row['refused']}", flush=True)
                continue
            over = row["peak_mib"] - models[model][ORDINARY]["peak_mib"]
            row |= {"over_mib": over, "omegas": over / row["omega_mib"]}
            print(
                f"{model:<20} {method:<12} {row['made_mib']:9.0f} {row['peak_mib']:9.0f} {over:9.0f} "
                f"{row['omegas']:7.2f}",
                flush=True,
            )
        if options.json:
            options.json.write_text(json.dumps({"conditions": found, "models": models}, indent=2) + "\n")


def _in_own_process(model: str, method: str, options: argparse.Namespace) -> dict[str, Any]:
    words = [sys.executable, *sys.argv, "--one", model, method]
    own = method in (ORDINARY, ENGINE)
    try:
        ended = subprocess.run(words, capture_output=True, text=True, timeout=None if own else options.seconds)
    except subprocess.TimeoutExpired:
        return {"refused": f"takes more than {options.seconds:.0f} s"}
    if ended.returncode:
        last = ended.stderr.strip().splitlines()[-1:] or [f"ended with {ended.returncode}"]
        if own:
            raise SystemExit(f"{method} of {model}: {last[0]}")
        return {"refused": last[0]}
    row: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return row


def _measured(options: argparse.Namespace) -> dict[str, Any]:
    found = conditions(options.device, options.threads)
    from engine_models import subject
    from engine_peers import METHODS, refusal, versions

    name, method = options.one
    one = subject(name, options.batch_size, options.device)
    try:
        run = METHODS[method].make(one, int(options.gradient_gigabytes * 1e9))
        made = _peak(one.pixels.is_cuda)
        for _ in range(options.passes):
            run(one.pixels)
    except Exception as problem:  # whatever another library does with a model it does not know
        if method in (ORDINARY, ENGINE):
            raise
        return {"refused": refusal(problem)}
    peak = _peak(one.pixels.is_cuda)
    return {"peak_mib": peak, "made_mib": made, "omega_mib": one.omega_bytes / 2**20, "conditions": found | versions()}


def _peak(on_gpu: bool) -> float:
    import torch

    return torch.cuda.max_memory_allocated() / 2**20 if on_gpu else peak_mib()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=(*MODELS, *LARGE, *SMALL), help="ViT-B only on a GPU")
    parser.add_argument("--methods", nargs="*", choices=METHODS[2:], default=METHODS[2:], help="beside the engine")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch-size", type=int, help="default: 32, on CUDA 128")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--passes", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=60.0, help="after which another method is given up")
    parser.add_argument("--gradient-gigabytes", type=float, help="gradients at once; default: 2, on CUDA 16")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    on_gpu = options.device.startswith("cuda")
    options.models = options.models or (*MODELS, *(LARGE if on_gpu else ()), *SMALL)
    options.batch_size = options.batch_size or (128 if on_gpu else 32)
    options.gradient_gigabytes = options.gradient_gigabytes or (16.0 if on_gpu else 2.0)
    return options


if __name__ == "__main__":
    main()
