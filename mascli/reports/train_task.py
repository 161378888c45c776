"""The result of `mascli train-task`."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mascli.errors import listed
from mascli.reports.estimate import unreadable_lines, unreadable_text
from mascli.reports.numbers import count, duration, number, percent, share
from mascli.reports.report import Check, Facts, Lines, Report, Section, Table, plain

# Layers shown, of those that moved.
LAYERS = 5


@dataclass(frozen=True)
class EpochRow:
    """One epoch of a phase ("head" or "main"): mean loss on the task's own images, without those of old tasks.

    `val_accuracy` is percent, `val_loss` the loss on validation images.
    """

    phase: str
    epoch: int
    loss: float
    val_accuracy: float | None = None
    val_loss: float | None = None


@dataclass(frozen=True)
class DriftRow:
    """How far a layer has moved, weighted by importance: sum Omega |change|, and sum Omega change^2."""

    layer: str
    linear: float
    quadratic: float


@dataclass(frozen=True)
class DriftFacts:
    """What the omega says was disturbed, overall and by layer, the largest first.

    `relative` is the linear drift in units of the old outputs' mean squared norm, a share.
    """

    linear: float
    quadratic: float
    relative: float | None
    layers: tuple[DriftRow, ...]


@dataclass(frozen=True)
class TrialRow:
    """One trial of a search for lambda: validation accuracy in percent (nan: it failed), and the drift."""

    lambda_: float
    val_accuracy: float
    linear: float | None
    quadratic: float | None
    relative: float | None
    chosen: bool


@dataclass(frozen=True)
class SearchFacts:
    """A search for lambda: the drop allowed (percentage points) from the accuracy of plain fine-tuning (percent).

    `baseline` is that accuracy, the mean of the trials at lambda 0 and at the smallest above it.
    """

    max_drop: float
    baseline: float
    trials: tuple[TrialRow, ...]


@dataclass(frozen=True)
class TrainResult:
    """A task that was learned.

    Accuracies are percent, `val_interval` is a 95 % interval. `penalty` and `lambda_` are None
    without an omega; `free`, `slowed` and `held` are then None too, else the shares (0 to 1) of
    shared parameters that the penalty leaves alone, slows, and holds. `drift` is None without an
    omega, `lambda_search` with a lambda of the user's. `distill` is the weight of
    the distillation, None where there was none, and `rehearsed` names tasks that learned along.
    `head_of` is the task whose head this one uses, None for a head of its own.
    """

    out: str
    task: str
    classes: tuple[str, ...]
    train_images: int
    val_images: int
    unreadable: tuple[tuple[str, str], ...]
    epochs: tuple[EpochRow, ...]
    best_epoch: int
    val_accuracy: float | None
    val_interval: tuple[float, float] | None
    penalty: str | None
    lambda_: float | None
    free: float | None
    slowed: float | None
    held: float | None
    uncovered_tasks: tuple[str, ...]
    unprotected_parameters: tuple[str, ...]
    warnings: tuple[str, ...]
    seconds: float
    drift: DriftFacts | None = None
    lambda_search: SearchFacts | None = None
    collected: str | None = None
    distill: float | None = None
    temperature: float | None = None
    rehearsed: tuple[str, ...] = ()
    head_of: str | None = None


def train_task_report(result: TrainResult) -> Report:
    """The report of `mascli train-task`."""
    images = f"{count(result.train_images)} to learn from, {count(result.val_images)} to validate"
    facts = Facts(
        (
            ("checkpoint", result.out),
            ("task", f"{result.task}, {len(result.classes)} classes: {listed(result.classes)}"),
            *((("head", f"that of {result.head_of}"),) if result.head_of else ()),
            ("images", images + unreadable_text(result.unreadable)),
            ("validation", _validation(result)),
            ("protection", _protection(result)),
            *((("predicted drift", _drift(result.drift)),) if result.drift else ()),
            *((("collected", result.collected),) if result.collected else ()),
            ("took", duration(result.seconds)),
        )
    )
    rows = tuple(
        (epoch.phase, str(epoch.epoch), number(epoch.loss), percent(epoch.val_accuracy), _mark(epoch, result))
        for epoch in result.epochs
    )
    columns = ("phase", "epoch", "loss", "validation %", "")
    table = Table("epochs", columns, rows, right=frozenset(columns[1:4]))
    checks = (Check(f"{result.task}: trained", True, "; ".join(result.warnings)),)
    found: tuple[Section, ...] = (*_search_sections(result.lambda_search), *_drift_sections(result.drift))
    sections = (facts, table, *found, Lines(_remarks(result)))
    return Report("train-task", plain(result), tuple(plain(epoch) for epoch in result.epochs), sections, checks)


def _mark(epoch: EpochRow, result: TrainResult) -> str:
    return "kept" if epoch.phase == "main" and epoch.epoch == result.best_epoch else ""


def _validation(result: TrainResult) -> str:
    if result.val_accuracy is None:
        return "none: the last epoch is kept" if result.epochs else "none"
    interval = result.val_interval
    spread = f" (95 % interval {percent(interval[0])} to {percent(interval[1])})" if interval else ""
    kept = f"epoch {result.best_epoch} kept" if result.epochs else "nothing was trained"
    return f"{percent(result.val_accuracy)} %{spread}, {kept}"


def _protection(result: TrainResult) -> str:
    if result.lambda_ == math.inf:
        return "lambda inf: shared parameters were not trained"
    beside = []
    if result.distill is not None:
        beside.append(f"distillation, weight {number(result.distill)}, temperature {number(result.temperature)}")
    if result.rehearsed:
        beside.append(f"rehearsal of {listed(result.rehearsed)}")
    if result.penalty is None:
        return "; ".join(beside) or "none: plain fine-tuning"
    shares = f"{share(result.free)} free, {share(result.slowed)} slowed, {share(result.held)} held"
    return "; ".join((f"lambda {number(result.lambda_)}, {result.penalty}: {shares}", *beside))


def _drift(drift: DriftFacts) -> str:
    relative = "" if drift.relative is None else f", {share(drift.relative)} of the old outputs' squared norm at most"
    return f"{number(drift.linear)} linear, {number(drift.quadratic)} quadratic{relative}"


def _drift_sections(drift: DriftFacts | None) -> tuple[Table, ...]:
    if drift is None or not drift.linear:
        return ()
    columns = ("layer", "drift", "quadratic")
    rows = tuple((row.layer, number(row.linear), number(row.quadratic)) for row in drift.layers[:LAYERS])
    return (Table("layers that drifted most, weighted by importance", columns, rows, right=frozenset(columns[1:])),)


def _search_sections(search: SearchFacts | None) -> tuple[Table, ...]:
    if search is None:
        return ()
    columns = ("lambda", "validation %", "drift", "quadratic", "")
    rows = tuple(
        (
            number(trial.lambda_),
            "failed" if math.isnan(trial.val_accuracy) else percent(trial.val_accuracy),
            number(trial.linear),
            number(trial.quadratic),
            "chosen" if trial.chosen else "",
        )
        for trial in sorted(search.trials, key=lambda trial: trial.lambda_)
    )
    least = f"{percent(search.baseline)} %, the mean of the two smallest"
    title = f"trials of lambda, at most {number(search.max_drop)} points below {least}"
    return (Table(title, columns, rows, right=frozenset(columns[:4])),)


def _remarks(result: TrainResult) -> tuple[str, ...]:
    bare = (f"nothing protects these tasks: {listed(result.uncovered_tasks)}",) if result.uncovered_tasks else ()
    lacking = result.unprotected_parameters
    missing = (f"parameters that the omega does not know, free to change: {listed(lacking)}",) if lacking else ()
    return (*(f"warning: {text}" for text in result.warnings), *bare, *missing, *unreadable_lines(result.unreadable))
