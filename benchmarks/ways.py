"""Every exact way to compute a convolution's part of omega, timed for every layer of common networks.

    python benchmarks/ways.py [--models resnet18 ...] [--device cpu] [--batch-size 32] [--threads 2] [--rounds 5]
        [--json FILE]

Through the rule itself, on noise of the layer's shapes, each of `possible_ways` in turn; a way that does
not give what `alone` gives for 3 images ends the benchmark. Beside the ways stands an ordinary weight
gradient of the same batch. All take turns; times are the least of --rounds in milliseconds; what took
more than twice the best in the first round is not repeated, unless it is what the cost model chooses.
`off` is the time of the choice over that of the best way.

The JSON has each layer's description, for fitting `mascli/importance/rules/cost.py`.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast, get_args

import torch
import torch.nn.functional as F
from conditions import conditions, described
from engine_models import MODELS, default_models, network
from torch import Tensor, nn

from mascli.importance.layout import Layout
from mascli.importance.reduction import ABS
from mascli.importance.rules import Visit, convolution, cost

WAYS: tuple[str, ...] = get_args(cost.Way)
WEIGHT = 1
CHECKED_IMAGES = 3
TOLERANCE = 1e-3
RIGHT = 1.1
LEAST_MS = 2.0  # what takes less is timed several times in a row


@dataclass(frozen=True)
class Layer:
    """All that makes one convolution cost another time than another: [C, H, W] in, the weight, the configuration."""

    input: tuple[int, ...]
    weight: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    def __str__(self) -> str:
        kernel = "x".join(map(str, self.weight[2:]))
        channels = f"{self.input[0]}>{self.weight[0]}"
        groups = f" /{self.groups}" if self.groups > 1 else ""
        stride = f" s{self.stride[0]}" if self.stride[0] > 1 else ""
        return f"{kernel} {channels}{groups}{stride} on {'x'.join(map(str, self.input[1:]))}"


@dataclass
class Row:
    """One layer: how often each model has it, what was measured, what the cost model chooses."""

    layer: Layer
    models: dict[str, int]
    choice: str = ""
    described: dict[str, Any] = field(default_factory=dict)
    ways_ms: dict[str, float] = field(default_factory=dict)
    ordinary_ms: float = 0.0

    @property
    def count(self) -> int:
        """How often all models together have the layer."""
        return sum(self.models.values())

    @property
    def best(self) -> str:
        """The way that took the least time."""
        return min(self.ways_ms, key=self.ways_ms.__getitem__)

    @property
    def off(self) -> float:
        """The time of the choice over that of the best way."""
        return self.ways_ms[self.choice] / self.ways_ms[self.best]


def main() -> None:
    """Measure layer after layer, printing as it goes."""
    options = _options()
    torch.backends.cudnn.allow_tf32 = False
    found = conditions(options.device, options.threads) | {"batch": options.batch_size, "rounds": options.rounds}
    print(described(found))
    width = 34
    print(f"{'layer':<{width}} {'count':>5} {'ordinary':>9}" + "".join(f"{way:>10}" for way in WAYS) + "  choice (off)")
    rows = []
    for layer, models in layers(options.models).items():
        row = measure(layer, models, options.batch_size, options.device, options.rounds)
        rows.append(row)
        cells = "".join(f"{row.ways_ms[way]:10.2f}" if way in row.ways_ms else f"{'-':>10}" for way in WAYS)
        mark = "" if row.off <= RIGHT else f"  <-- {row.best}"
        text = f"{layer!s:<{width}} {row.count:5d} {row.ordinary_ms:9.2f}{cells}"
        print(f"{text}  {row.choice} ({row.off:.2f}){mark}", flush=True)
    summary = {model: _summary([row for row in rows if model in row.models], model) for model in options.models}
    summary["all layers once"] = _summary(rows, None)
    _print_summary(summary)
    if options.json:
        plain = [asdict(row) | {"best": row.best, "off": row.off} for row in rows]
        options.json.write_text(json.dumps({"conditions": found, "summary": summary, "layers": plain}, indent=2) + "\n")


def layers(models: list[str]) -> dict[Layer, dict[str, int]]:
    """Every convolution of the models, and how often each model has it; classifiers are no part of omega."""
    found: dict[Layer, Counter[str]] = {}
    for name in models:
        made, (classifier, size) = network(name, "meta"), MODELS[name][2:]

        def seen(module: nn.Module, inputs: tuple[Tensor, ...], model: str = name) -> None:
            conv = cast(nn.Conv2d, module)
            stride, padding, dilation = (tuple(map(int, v)) for v in (conv.stride, conv.padding, conv.dilation))
            shapes = tuple(inputs[0].shape[1:]), tuple(conv.weight.shape)
            layer = Layer(*shapes, stride, padding, dilation, conv.groups)
            found.setdefault(layer, Counter())[model] += 1

        for inside, module in made.named_modules():
            if type(module) is nn.Conv2d and inside != classifier:
                module.register_forward_pre_hook(seen)
        with torch.no_grad():
            made(torch.empty(1, 3, size, size, device="meta"))
    return {layer: dict(counts) for layer, counts in found.items()}


def measure(layer: Layer, models: dict[str, int], images: int, device: str, rounds: int) -> Row:
    """Time every way that is possible for a layer, and its ordinary weight gradient."""
    row = Row(layer, models)
    visit, ordinary = _visit(layer, images, device)
    description = _seen(visit).described()
    row.choice, row.described = cost.cheapest_way(description), asdict(description)
    runs: dict[str, Callable[[], Any]] = {"ordinary": ordinary}
    few = _visit(layer, min(CHECKED_IMAGES, images), device)[0]
    for way in cost.possible_ways(description):
        if not float((_by(way, few) - _by("alone", few)).abs().mean()) <= TOLERANCE * float(_by("alone", few).mean()):
            raise SystemExit(f"{layer}: {way} is wrong")
        runs[way] = partial(_by, way, visit)
    warm = {name: _milliseconds(run, device, 1) for name, run in runs.items()}
    times = {name: min(50, 1 + int(LEAST_MS / ms)) for name, ms in warm.items()}
    least = {name: _milliseconds(run, device, times[name]) for name, run in runs.items()}
    limit = 2 * min(ms for name, ms in least.items() if name in WAYS)
    repeated = [name for name in runs if name in ("ordinary", row.choice) or least[name] <= limit]
    for _ in range(rounds - 1):
        for name in repeated:
            least[name] = min(least[name], _milliseconds(runs[name], device, times[name]))
    row.ordinary_ms = least.pop("ordinary")
    row.ways_ms = least
    gc.collect()  # the graph of a visit refers to itself
    return row


def _visit(layer: Layer, images: int, device: str) -> tuple[Visit, Callable[[], Any]]:
    """What the rule sees after a forward pass of that convolution, and the ordinary weight gradient."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(images, *layer.input, generator=generator).to(device)
    weight = torch.randn(layer.weight, generator=generator).to(device).requires_grad_()
    output = F.conv2d(x, weight, None, layer.stride, layer.padding, layer.dilation, layer.groups)
    gradient = torch.randn(output.shape, generator=generator).to(device)
    visit = Visit(output.grad_fn, (WEIGHT,), (layer.weight,), gradient, Layout(0))
    settings = layer.stride, layer.padding, layer.dilation, False, (0, 0), layer.groups, [False, True, False]
    return visit, partial(torch.ops.aten.convolution_backward, gradient, x, weight.detach(), None, *settings)


def _seen(visit: Visit) -> Any:
    return convolution.ConvolutionRule().see(visit)


@torch.no_grad()
def _by(way: str, visit: Visit) -> Tensor:
    """The rule's sum over images by one way, whatever the cost model says."""
    found: Tensor = _seen(visit).sum_of_weights(way, ABS.pointwise)
    return found


def _milliseconds(run: Callable[[], Any], device: str, times: int) -> float:
    on_gpu = device.startswith("cuda")
    if on_gpu:
        torch.cuda.synchronize()
    begun = time.perf_counter()
    for _ in range(times):
        run()
    if on_gpu:
        torch.cuda.synchronize()
    return 1e3 * (time.perf_counter() - begun) / times


def _summary(rows: list[Row], model: str | None) -> dict[str, float]:
    """Layers for which the choice is right, and milliseconds of all: each as often as the model has it, or once."""
    times = [row.models[model] if model else 1 for row in rows]
    pairs = list(zip(rows, times, strict=True))
    return {
        "layers": len(rows),
        "right": sum(row.off <= RIGHT for row in rows),
        "choice_ms": sum(n * row.ways_ms[row.choice] for row, n in pairs),
        "best_ms": sum(n * row.ways_ms[row.best] for row, n in pairs),
        "ordinary_ms": sum(n * row.ordinary_ms for row, n in pairs),
    }


def _print_summary(summary: dict[str, dict[str, float]]) -> None:
    print(f"\n{'':<20} {'ordinary':>9} {'choice':>9} {'best':>9}  ms")
    for name, s in summary.items():
        text = f"{name:<20} {s['ordinary_ms']:9.1f} {s['choice_ms']:9.1f} {s['best_ms']:9.1f}"
        right = f"the choice is within 10 % of the best for {s['right']:.0f} of {s['layers']:.0f} layers"
        ratios = f"{s['choice_ms'] / s['best_ms']:.3f} times the best, {s['choice_ms'] / s['ordinary_ms']:.2f} ordinary"
        print(f"{text}  {right}; in all it takes {ratios}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, help="default: all, ViT-B only on a GPU")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch-size", type=int, help="default: 32, on CUDA 128")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    options.models = options.models or default_models(options.device)
    options.batch_size = options.batch_size or (128 if options.device.startswith("cuda") else 32)
    return options


if __name__ == "__main__":
    main()
