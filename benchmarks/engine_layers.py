"""Which layers take the engine's time: the rule of every use is timed on its way."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any, TypeVar

import torch
from engine_models import Subject
from engine_peers import estimated, opened_estimator
from torch import Tensor

from mascli.importance.layer_names import layer_of
from mascli.importance.layout import Layout
from mascli.importance.plan import Plan
from mascli.importance.reduction import Pointwise
from mascli.importance.rules import Rule, Seen, Visit

T = TypeVar("T")


@dataclass(frozen=True)
class LayerTime:
    """Median seconds that one layer's rule takes in one batch."""

    name: str
    rule: str
    seconds: float


@dataclass
class _Clock:
    """Seconds of the current batch by layer and rule. On a GPU every piece is waited for."""

    on_gpu: bool
    spent: dict[tuple[str, str], float] = field(default_factory=lambda: defaultdict(float))

    def timed(self, layer: tuple[str, str], compute: Callable[[], T]) -> T:
        self.wait()
        begun = time.perf_counter()
        found = compute()
        self.wait()
        self.spent[layer] += time.perf_counter() - begun
        return found

    def wait(self) -> None:
        if self.on_gpu:
            torch.cuda.synchronize()


class _TimedSeen(Seen):
    def __init__(self, visit: Visit, inner: Seen, clock: _Clock, layer: tuple[str, str]) -> None:
        super().__init__(visit)
        self._inner, self._clock, self._layer = inner, clock, layer

    def per_image(self, images: slice) -> dict[int, Tensor]:
        return self._clock.timed(self._layer, lambda: self._inner.per_image(images))

    def sum_over_images(self, pointwise: Pointwise) -> dict[int, Tensor]:
        return self._clock.timed(self._layer, lambda: self._inner.sum_over_images(pointwise))


class _TimedRule(Rule):
    def __init__(self, inner: Rule, clock: _Clock, layer: str) -> None:
        self._inner, self._clock, self._layer = inner, clock, (layer, inner.name)

    def takes(self, node: Any, slots: tuple[int, ...], layout: Layout) -> bool:
        return self._inner.takes(node, slots, layout)

    def see(self, visit: Visit) -> Seen:
        inner = self._clock.timed(self._layer, lambda: self._inner.see(visit))
        return _TimedSeen(visit, inner, self._clock, self._layer)


def layer_times(subject: Subject, rounds: int) -> tuple[list[LayerTime], float]:
    """The time of each layer's rule, the slowest first, and of the whole batch: medians of `rounds` batches."""
    estimator = opened_estimator(subject)
    clock = _Clock(subject.pixels.is_cuda)
    estimator.plan = _timed(estimator.plan, clock)
    run, wholes, parts = estimated(estimator), list[float](), defaultdict[tuple[str, str], list[float]](list)
    for number in range(rounds + 1):
        clock.spent.clear()
        clock.wait()
        begun = time.perf_counter()
        run(subject.pixels)
        clock.wait()
        if number > 0:
            wholes.append(time.perf_counter() - begun)
            for layer, seconds in clock.spent.items():
                parts[layer].append(seconds)
    found = [LayerTime(name, rule, median(seconds)) for (name, rule), seconds in parts.items()]
    return sorted(found, key=lambda layer: -layer.seconds), median(wholes)


def _timed(plan: Plan, clock: _Clock) -> Plan:
    uses = {node: replace(use, rule=_TimedRule(use.rule, clock, _layer(use.names))) for node, use in plan.uses.items()}
    return replace(plan, uses=uses)


def _layer(names: tuple[str, ...]) -> str:
    return ", ".join(dict.fromkeys(layer_of(name) for name in names))
