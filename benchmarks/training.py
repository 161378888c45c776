"""What the penalty costs in training: the time of a step with it over that of a plain step.

    python benchmarks/training.py [--cases mlp resnet18 ...] [--device cpu] [--threads 2] [--rounds 20] [--json FILE]

A step is zero_grad, forward, cross-entropy, backward, the optimiser's step, on seeded noise with random
weights and a random omega. All ways take turns, one step each a round, every one on a model of its own;
the first three rounds do not count. Printed are medians, and their ratio to the plain step of the same
optimiser.

    plain            SGD with momentum 0.9, no penalty
    decoupled        the same with `DecoupledPenalty`, mascli's default
    loss             the same with `LossPenalty`, the form of the paper
    adamw            AdamW, no penalty
    adamw decoupled  the same with `AdaptivePenalty`, whose rate is one of each element and step
    avalanche        SGD with the penalty of Avalanche's MASPlugin, where avalanche-lib is installed

A ratio below 1 is noise: how much there is shows `plain again`, the plain step measured twice.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from conditions import conditions, described
from engine_models import network
from torch import Tensor, nn

from mascli.training.penalty import AdaptivePenalty, DecoupledPenalty, LossPenalty, Penalty
from mascli.training.regularizer import Regularizer

STRENGTH = 1.0
WARM_UP = 3
CLASSES = 10

# name: (network, shape of an image, images in a batch)
CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "mlp": (
        lambda: nn.Sequential(
            nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, CLASSES)
        ),
        (1, 28, 28),
        200,
    ),
    "resnet18": (lambda: network("resnet18", "cpu"), (3, 224, 224), 32),
    "squeezenet1_0": (lambda: network("squeezenet1_0", "cpu"), (3, 224, 224), 32),
    "vit_tiny": (lambda: network("vit_tiny", "cpu"), (3, 224, 224), 32),
}

Step = Callable[[], None]


def main() -> None:
    """Measure case after case, printing as it goes."""
    options = _options()
    found = conditions(options.device, options.threads) | {"rounds": options.rounds}
    print(described(found))
    print(f"{'':<16}" + "".join(f"{way:>17}" for way in WAYS) + "   (milliseconds, ratio to plain)")
    results: dict[str, dict[str, dict[str, float]]] = {}
    for case in options.cases:
        results[case] = measure(case, options.device, options.rounds)
        cells = (
            f"{results[case][way]['milliseconds']:9.2f} ({results[case][way]['ratio']:5.3f})"
            if way in results[case]
            else f"{'-':>17}"
            for way in WAYS
        )
        print(f"{case:<16}" + "".join(cells), flush=True)
        if options.json:
            options.json.write_text(json.dumps({"conditions": found, "cases": results}, indent=2) + "\n")


def measure(case: str, device: str, rounds: int) -> dict[str, dict[str, float]]:
    """Median milliseconds of a step in each way, and its ratio to the plain step of the same optimiser."""
    steps = {}
    for way, make in WAYS.items():
        try:
            steps[way] = make(*_subject(case, device))
        except ImportError:
            continue
    seconds: dict[str, list[float]] = {way: [] for way in steps}
    names = list(steps)
    for number in range(rounds + WARM_UP):
        first = number % len(names)
        for way in [*names[first:], *names[:first]]:
            spent = _seconds(steps[way], device)
            if number >= WARM_UP:
                seconds[way].append(spent)
    middle = {way: median(times) for way, times in seconds.items()}
    base = {way: "adamw" if way.startswith("adamw") else "plain" for way in middle}
    return {way: {"milliseconds": 1e3 * middle[way], "ratio": middle[way] / middle[base[way]]} for way in middle}


def _subject(case: str, device: str) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    make, shape, images = CASES[case]
    model = make().to(device).train()
    return model, torch.randn(images, *shape, device=device), torch.randint(CLASSES, (images,), device=device)


def _sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)


def _adamw(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=0.0)


def _omegas(model: nn.Module) -> list[Tensor]:
    return [torch.rand_like(parameter).pow(8) for parameter in model.parameters()]


def _plain(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    optimizer: torch.optim.Optimizer,
    regularizer: Regularizer | None = None,
) -> Step:
    def step() -> None:
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        if regularizer is not None:
            regularizer.before_step()
        optimizer.step()
        if regularizer is not None:
            regularizer.after_step()

    if regularizer is not None:
        regularizer.new_epoch(optimizer)
    return step


def _penalized(
    kind: type[Penalty], model: nn.Module, images: Tensor, labels: Tensor, optimizer: torch.optim.Optimizer
) -> Step:
    parameters = list(model.parameters())
    anchors = [parameter.detach().clone() for parameter in parameters]
    return _plain(model, images, labels, optimizer, kind(parameters, anchors, _omegas(model), STRENGTH))


def _avalanche(model: nn.Module, images: Tensor, labels: Tensor) -> Step:
    """Avalanche's own plugin adds its penalty to the loss that is differentiated.

    Raises:
        ImportError: avalanche-lib is not installed.
    """
    from avalanche.training.plugins import MASPlugin
    from avalanche.training.utils import ParamData

    plugin = MASPlugin(lambda_reg=STRENGTH)
    named = dict(model.named_parameters())
    plugin.params = {n: ParamData(n, p.shape, init_tensor=p.detach().clone()) for n, p in named.items()}
    omegas = dict(zip(named, _omegas(model), strict=True))
    plugin.importance = {n: ParamData(n, omega.shape, init_tensor=omega) for n, omega in omegas.items()}
    strategy = SimpleNamespace(model=model, clock=SimpleNamespace(train_exp_counter=1), loss=None)
    optimizer = _sgd(model)

    def step() -> None:
        optimizer.zero_grad()
        strategy.loss = F.cross_entropy(model(images), labels)
        plugin.before_backward(strategy)
        strategy.loss.backward()
        optimizer.step()

    return step


WAYS: dict[str, Callable[[nn.Module, Tensor, Tensor], Step]] = {
    "plain": lambda model, x, y: _plain(model, x, y, _sgd(model)),
    "plain again": lambda model, x, y: _plain(model, x, y, _sgd(model)),
    "decoupled": lambda model, x, y: _penalized(DecoupledPenalty, model, x, y, _sgd(model)),
    "loss": lambda model, x, y: _penalized(LossPenalty, model, x, y, _sgd(model)),
    "adamw": lambda model, x, y: _plain(model, x, y, _adamw(model)),
    "adamw decoupled": lambda model, x, y: _penalized(AdaptivePenalty, model, x, y, _adamw(model)),
    "avalanche": _avalanche,
}


def _seconds(step: Step, device: str) -> float:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    begun = time.perf_counter()
    step()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=["mlp", "resnet18"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
