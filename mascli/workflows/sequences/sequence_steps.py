"""What to do, in which order, to learn a sequence of tasks by each method: the commands, before any is run. No torch.

For each seed the first task is learned once; every method goes on from it. After each task, all
tasks so far are evaluated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mascli.config import UNIFORM, Common, EstimateConfig, EvaluateConfig, InitConfig, MergeConfig, TrainTaskConfig
from mascli.config.sequence import MethodEntry, Strength, TaskEntry, TaskSequence
from mascli.config.sequence_checks import estimating_fields, training_fields
from mascli.config.training_checks import without_ignored


@dataclass(frozen=True)
class Step:
    """One command of a sequence; `name` is unique, and the path of its record without the ending."""

    name: str
    config: Common


@dataclass(frozen=True)
class Variant:
    """A method with one strength under one seed: the names of its steps, a task each.

    `learned` is None for a task that the start knows already. `measured` evaluates all tasks so far
    (or for the method `alone` the newest), `validated` all tasks at the end on validation folders.
    `own` are all its steps but those that it shares with other methods; some are of other strengths too.
    """

    method: MethodEntry
    strength: Strength
    seed: int
    learned: tuple[str | None, ...]
    measured: tuple[str, ...]
    validated: str | None
    own: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """All steps in an order that works, each once, and how they belong together."""

    tasks: tuple[TaskEntry, ...]
    steps: tuple[Step, ...]
    variants: tuple[Variant, ...]


@dataclass
class _Progress:
    """How far one variant has come: its checkpoints, its omegas, and the steps it took."""

    checkpoints: list[Path]
    learned: list[str | None]
    measured: list[str]
    omegas: list[Path] = field(default_factory=list)


def plan(
    sequence: TaskSequence, folder: Path, common: dict[str, Any], known: tuple[str, ...] = (), *, flat: bool = False
) -> Plan:
    """Every step of a sequence whose tasks all have their folders.

    Args:
        folder: where the files go; each seed has a folder in it, unless it is `flat` and there is one seed.
        common: fields that all commands get: the device, whether code of a model may run.
        known: tasks that the start knows already; the first task may be one of them.
    """
    return _Planner(sequence, folder, common, known, flat).plan()


def without(plan: Plan, failed: str) -> Plan | None:
    """The plan without the methods, each at its strength and under all seeds, one of whose own steps failed.

    None if the step is one that others need as well, or if nothing would be left.
    """
    gone = {_what(variant) for variant in plan.variants if failed in variant.own}
    left = tuple(variant for variant in plan.variants if _what(variant) not in gone)
    if not gone or not left:
        return None
    needless = {name for variant in plan.variants for name in variant.own} - {name for v in left for name in v.own}
    return Plan(plan.tasks, tuple(step for step in plan.steps if step.name not in needless), left)


def _what(variant: Variant) -> tuple[str, str]:
    return variant.method.name, str(variant.strength)


class _Planner:
    def __init__(
        self, sequence: TaskSequence, folder: Path, common: dict[str, Any], known: tuple[str, ...], flat: bool
    ) -> None:
        self._sequence, self._folder, self._common = sequence, folder, common
        self._known, self._flat = known, flat
        self._steps: dict[str, Step] = {}
        self._taken: list[str] = []

    def plan(self) -> Plan:
        variants = [variant for seed in self._sequence.seeds for variant in self._of_a_seed(seed)]
        return Plan(self._sequence.tasks, tuple(self._steps.values()), tuple(variants))

    def _of_a_seed(self, seed: int) -> list[Variant]:
        place = Path() if self._flat else Path(f"seed-{seed}")
        start = self._start(seed, place)
        first = self._first(seed, place, start)
        return [
            self._variant(method, strength, seed, place, start, first)
            for method in self._sequence.methods
            for strength in method.strengths
        ]

    def _add(self, name: Path, command: str, config: Common) -> str:
        step = Step(f"{name.as_posix()}.{command}", config)
        self._steps.setdefault(step.name, step)
        self._taken.append(step.name)
        return step.name

    def _start(self, seed: int, place: Path) -> Path:
        """The checkpoint that every task sequence starts from: the same for all seeds, if it has weights."""
        if self._sequence.checkpoint is not None:
            return self._sequence.checkpoint
        drawn = "weights" not in self._sequence.model
        name = place / "start" if drawn else Path("start")
        out = self._folder / f"{name}.safetensors"
        fields = {**self._sequence.model, **self._common, **({"seed": seed} if drawn else {})}
        self._add(name, "init", InitConfig(out=out, **fields))
        return out

    def _first(self, seed: int, place: Path, start: Path) -> _Progress:
        """Learn the first task, once for all methods, unless the start knows it."""
        task = self._sequence.tasks[0]
        if task.name in self._known:
            return _Progress([start], [None], [self._evaluate(place / task.name, start, seed, (task,))])
        collect = any(method.method == "si" for method in self._sequence.methods)
        heads = {"heads": True} if collect and self._sequence.heads == "one" else {}
        out, learned = self._learn(place, task, start, seed, None, collect=collect, **heads)
        return _Progress([out], [learned], [self._evaluate(place / task.name, out, seed, (task,))])

    def _variant(
        self, method: MethodEntry, strength: Strength, seed: int, place: Path, start: Path, first: _Progress
    ) -> Variant:
        shared = place / method.name
        own = shared if len(method.strengths) == 1 else shared / f"lambda-{strength_text(strength)}"
        tasks, self._taken = self._sequence.tasks, []
        done = _Progress(list(first.checkpoints), list(first.learned), list(first.measured))
        for index in range(1, len(tasks)):
            self._protect(done, method, index - 1, seed, shared if index == 1 else own, place)
            fields = self._protection(done, method, strength, index)
            collect = method.method == "si"  # of the last task too: another may be added one day
            newest = start if method.method == "alone" else done.checkpoints[-1]
            if self._sequence.heads == "one" and method.method != "alone":
                fields["head_of"] = tasks[0].name
            out, learned = self._learn(own, tasks[index], newest, seed, method, collect=collect, **fields)
            done.checkpoints.append(out)
            done.learned.append(learned)
            evaluated = tasks[index : index + 1] if method.method == "alone" else tasks[: index + 1]
            done.measured.append(self._evaluate(own / tasks[index].name, out, seed, evaluated))
        validated = self._validate(method, own, done.checkpoints[-1], seed)
        own_steps = tuple(dict.fromkeys(self._taken))
        return Variant(method, strength, seed, tuple(done.learned), tuple(done.measured), validated, own_steps)

    def _protect(
        self, done: _Progress, method: MethodEntry, index: int, seed: int, place: Path, first_place: Path
    ) -> None:
        """Add the importance of the task just learned to that of the tasks before it."""
        task, checkpoint = self._sequence.tasks[index], done.checkpoints[-1]
        out = self._folder / place / f"{task.name}.omega"
        if method.method in ("mas", "mas-local"):
            previous = done.omegas[-1] if done.omegas else None
            self._estimate(place, task, checkpoint, seed, method, out, previous, first=index == 0)
            done.omegas.append(out)
        elif method.method == "ewc" or (method.method == "ewc-online" and not done.omegas):
            self._estimate(place, task, checkpoint, seed, method, out, None, first=index == 0)
            done.omegas.append(out)
        elif method.method == "ewc-online":
            newest = out.with_name(f"{task.name}.new.omega")
            self._estimate(place, task, checkpoint, seed, method, newest, None, first=False)
            self._merge(place / task.name, (done.omegas[-1], newest), (method.decay, 1.0), out)
            done.omegas.append(out)
        elif method.method == "si" and done.learned[index] is not None:
            collected = self._folder / (first_place if index == 0 else place) / f"{task.name}.collected.omega"
            if done.omegas:
                self._merge(place / task.name, (done.omegas[-1], collected), (), out)
            done.omegas.append(out if done.omegas else collected)

    def _protection(self, done: _Progress, method: MethodEntry, strength: Strength, index: int) -> dict[str, Any]:
        """The fields of `train-task` that make a method what it is."""
        tasks = self._sequence.tasks
        if method.method == "freeze":
            return {"lambda_": math.inf}
        if method.method == "joint":
            return {"rehearse": tuple(f"{task.name}={task.data}" for task in tasks[:index])}
        if method.method == "lwf":
            return {"distill": strength}
        if method.method == "l2":
            return {"omega": (UNIFORM,), "lambda_": strength}
        if method.method == "ewc":
            pairs = {"anchor": tuple(done.checkpoints)} if len(done.omegas) > 1 else {}
            return {"omega": tuple(done.omegas), "lambda_": strength, **pairs}
        return {"omega": (done.omegas[-1],), "lambda_": strength} if done.omegas else {}

    def _learn(
        self,
        place: Path,
        task: TaskEntry,
        start: Path,
        seed: int,
        method: MethodEntry | None,
        *,
        collect: bool,
        **protection: Any,
    ) -> tuple[Path, str]:
        out = self._folder / place / f"{task.name}.safetensors"
        fields = training_fields(self._sequence, task, method)
        config = TrainTaskConfig(
            checkpoint=start,
            task=task.name,
            data=_folder(task.data),
            val=task.val,
            out=out,
            collect=out.with_name(f"{task.name}.collected.omega") if collect else None,
            seed=seed,
            **fields,
            **protection,
            **self._common,
        )
        return out, self._add(place / task.name, "train-task", without_ignored(config))

    def _estimate(
        self,
        place: Path,
        task: TaskEntry,
        checkpoint: Path,
        seed: int,
        method: MethodEntry,
        out: Path,
        previous: Path | None,
        *,
        first: bool,
    ) -> None:
        config = EstimateConfig(
            checkpoint=checkpoint,
            data=task.estimate_data or _folder(task.data),
            task=task.name if checkpoint == self._sequence.checkpoint else None,  # there others may be newer
            previous=previous,
            heads=first and self._sequence.heads == "one",  # later it is shared, and measured without being asked for
            out=out,
            seed=seed,
            **estimating_fields(self._sequence, task, method),
            **self._common,
        )
        self._add(place / task.name, "estimate", config)

    def _merge(self, name: Path, omegas: tuple[Path, ...], weights: tuple[float, ...], out: Path) -> None:
        common = {key: value for key, value in self._common.items() if key == "device"}
        weighed = weights if any(weight != 1 for weight in weights) else ()
        self._add(name, "merge", MergeConfig(omegas=omegas, combine="sum", weights=weighed, out=out, **common))

    def _evaluate(self, name: Path, checkpoint: Path, seed: int, tasks: tuple[TaskEntry, ...]) -> str:
        data = tuple(f"{task.name}={task.test}" for task in tasks)
        return self._add(name, "evaluate", EvaluateConfig(checkpoint=checkpoint, data=data, seed=seed, **self._common))

    def _validate(self, method: MethodEntry, place: Path, checkpoint: Path, seed: int) -> str | None:
        """Evaluate on the validation folders too, to choose among strengths, where every task has one."""
        tasks = self._sequence.tasks
        if len(method.strengths) == 1 or any(task.val is None for task in tasks):
            return None
        data = tuple(f"{task.name}={task.val}" for task in tasks)
        config = EvaluateConfig(checkpoint=checkpoint, data=data, seed=seed, **self._common)
        return self._add(place / tasks[-1].name, "validate", config)


def strength_text(strength: Strength) -> str:
    """A strength as short as it can be told apart, as in 0.1 or auto; empty for a method that takes none."""
    if not isinstance(strength, float):
        return strength or ""
    return f"{strength:g}" if float(f"{strength:g}") == strength else repr(strength)


def _folder(path: Path | None) -> Path:
    assert path is not None  # placed before it is planned
    return path


def placed(sequence: TaskSequence, folder: Path) -> TaskSequence:
    """The sequence with the folders that its tasks are read from: chosen classes and bundled images lie in `folder`."""
    return replace(
        sequence, tasks=tuple(_placed(task, folder / "data" / task.name, sequence) for task in sequence.tasks)
    )


def _placed(task: TaskEntry, place: Path, sequence: TaskSequence) -> TaskEntry:
    if sequence.samples is None and not task.classes:
        return task
    val = place / "val" if task.val is not None and task.classes else task.val
    return replace(task, data=place / "train", test=place / "test", val=val)
