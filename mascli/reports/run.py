"""The result of `mascli run`, and the list of its steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mascli.reports.matrix import accuracy_matrix
from mascli.reports.numbers import count, duration, percent, plural
from mascli.reports.report import Check, Facts, Lines, Report, Section, Table, plain


@dataclass(frozen=True)
class Figure:
    """A quantity over seeds: its mean, the 95 % interval of the mean (None for one seed), and the value of each."""

    mean: float
    low: float | None
    high: float | None
    values: tuple[float, ...]


@dataclass(frozen=True)
class SeedResult:
    """How a method fared under one seed.

    Row i of `accuracy_matrix` (percent) is after task i, with i + 1 entries. `lambdas` are the
    strengths that each task was learned with: found for `auto`, None where nothing is weighed.
    `validation_accuracy` (percent) is the mean over all tasks at the end on their validation folders.
    """

    seed: int
    accuracy_matrix: tuple[tuple[float, ...], ...]
    lambdas: tuple[float | None, ...]
    validation_accuracy: float | None = None


@dataclass(frozen=True)
class MethodRun:
    """How a method with one strength fared: `accuracy_matrix` is the mean over the seeds, in percent.

    `figures` holds accuracies (percent) and differences (points) by name; None is not available.
    `chosen` says why this strength stands for its method: the only one, the best on validation
    images, or the best on test images ("hindsight"); it is None for the others of a list.
    """

    name: str
    method: str
    lambda_: float | str | None
    chosen: str | None
    accuracy_matrix: tuple[tuple[float, ...], ...]
    figures: Mapping[str, Figure | None]
    seeds: tuple[SeedResult, ...]

    @property
    def label(self) -> str:
        """The method, with its strength where it has one."""
        return self.name if self.lambda_ is None else f"{self.name}, lambda {_strength(self.lambda_)}"

    @property
    def title(self) -> str:
        """The method, with its strength and how that was chosen, where it was."""
        mark = _MARKS[self.chosen]
        return f"{self.label} ({mark})" if mark else self.label


@dataclass(frozen=True)
class RunResult:
    """All methods of a sequence. `images` are the test images of each task, `warnings` what went wrong where.

    `failed` are the trainings that came to no end, and why; their methods are left out. `seconds` is the
    time of all steps, `method_seconds` that of each method's own, over all seeds, by label; a resumed
    run counts the steps of the earlier ones.
    """

    out: str
    tasks: tuple[str, ...]
    images: tuple[int, ...]
    seeds: tuple[int, ...]
    methods: tuple[MethodRun, ...]
    forgetting: tuple[str, ...]
    warnings: tuple[str, ...]
    failed: tuple[str, ...]
    steps: int
    skipped: int
    seconds: float
    method_seconds: Mapping[str, float]


@dataclass(frozen=True)
class StepRow:
    """One step: the command, whether it is done, and with what else it was (`another epochs`), if so."""

    step: str
    command: str
    done: bool
    changed: Sequence[str] = ()


@dataclass(frozen=True)
class PlannedSteps:
    """The steps of a sequence, in order."""

    out: str
    steps: tuple[StepRow, ...]


FIGURES = {
    "average_accuracy": "average\naccuracy %",
    "learning_accuracy": "right after\nlearning %",
    "forgetting": "forgetting\n(points)",
    "forgetting_max": "from\nmax",
    "forgetting_max_final": "from\nmax-final",
    "forgetting_all": "over\nall tasks",
    "backward_transfer": "backward\ntransfer",
    "forward_transfer": "forward\ntransfer",
}
_MARKS = {"only": "", "validation": "chosen", "hindsight": "in hindsight", None: ""}


def run_report(result: RunResult, *, timed: bool = True) -> Report:
    """The report of `mascli run`; without times (and the folder) it is the same for every run of the same sequence."""
    facts = [
        ("files", result.out),
        ("tasks", f"{', '.join(result.tasks)} (test images: {', '.join(map(count, result.images))})"),
        ("seeds", ", ".join(map(str, result.seeds))),
    ]
    if timed:
        done = f", {count(result.skipped)} of them done before" if result.skipped else ""
        facts.append(("took", f"{duration(result.seconds)} in {plural(result.steps, 'step')}{done}"))
    shown = [method for method in result.methods if method.chosen]
    sections: list[Section] = [_matrix(method, result) for method in shown]
    sections += [_summary(result), *_other_forgetting(result), _transfer(result, timed=timed)]
    sections += [Lines(_remarks(result)), Facts(tuple(facts))]
    checks = tuple(Check(f"{method.label}: trained", True) for method in result.methods)
    checks += (Check("warnings", True, "\n".join(result.warnings)),) if result.warnings else ()
    checks += tuple(Check(text.partition(":")[0], False, text) for text in result.failed)
    payload = _payload(result, timed=timed)
    return Report("run", payload, _rows(result), tuple(sections), checks, failed=result.failed)


def steps_report(planned: PlannedSteps) -> Report:
    """The report of `mascli run --dry-run`: the commands, which a shell can run as they stand."""
    lines = tuple(f"  {row.command}{_state(row)}" for row in planned.steps)
    done = sum(row.done for row in planned.steps)
    facts = Facts((("steps", f"{count(len(planned.steps))}, {count(done)} of them done"), ("files", planned.out)))
    rows = tuple({"step": row.step, "done": row.done, "command": row.command} for row in planned.steps)
    checks = (Check("run: planned", True),)
    return Report("run", {"out": planned.out, "steps": plain(planned.steps)}, rows, (Lines(lines), facts), checks)


def _state(row: StepRow) -> str:
    if row.done:
        return "   # done"
    return f"   # done with {', '.join(row.changed)}" if row.changed else ""


def _matrix(method: MethodRun, result: RunResult) -> Table:
    seeds = f", mean over {len(result.seeds)} seeds" if len(result.seeds) > 1 else ""
    return accuracy_matrix(f"{method.title}: accuracy in %{seeds}", result.tasks, result.images, method.accuracy_matrix)


def _summary(result: RunResult) -> Table:
    spread = ", mean and 95 % interval over seeds" if len(result.seeds) > 1 else ""
    names = ("average_accuracy", "learning_accuracy", "forgetting")
    marked = any(_mark(method) for method in result.methods)
    return _figures(f"after all tasks{spread}", result, names, ("", _mark) if marked else None)


def _other_forgetting(result: RunResult) -> tuple[Table, ...]:
    names = tuple(f"forgetting_{name.replace('-', '_')}" for name in result.forgetting)
    return (_figures("forgetting by other definitions (points)", result, names),) if names else ()


def _transfer(result: RunResult, *, timed: bool) -> Table:
    def seconds(method: MethodRun) -> str:
        return f"{result.method_seconds[method.label]:.1f} s"

    names = ("backward_transfer", "forward_transfer")
    return _figures("transfer (points)", result, names, ("took", seconds) if timed else None)


def _figures(
    title: str, result: RunResult, names: Sequence[str], last: tuple[str, Callable[[MethodRun], str]] | None = None
) -> Table:
    """A row for each method and strength, a column for each figure, and the header and cells of `last` behind them."""
    right = tuple(FIGURES[name] for name in names)
    columns = ("method", "lambda", *right, *(last[:1] if last else ()))
    rows = tuple(
        (
            method.name,
            _strength(method.lambda_),
            *(_figure(method.figures[name]) for name in names),
            *([last[1](method)] if last else []),
        )
        for method in result.methods
    )
    return Table(title, columns, rows, right=frozenset((*right, "took")))


def _mark(method: MethodRun) -> str:
    return _MARKS[method.chosen]


def _remarks(result: RunResult) -> tuple[str, ...]:
    remarks = [f"warning: {text}" for text in result.warnings]
    remarks += [f"warning: left out, {text}" for text in result.failed]
    if any(method.chosen == "validation" for method in result.methods):
        remarks.append("chosen: the lambda with the highest accuracy on the validation folders of all tasks at the end")
    if any(method.chosen == "hindsight" for method in result.methods):
        remarks.append(
            "in hindsight: the lambda with the highest test accuracy, which nobody knows beforehand; give every "
            "task a `val` folder to choose it without test images"
        )
    if all(method.figures["forward_transfer"] is None for method in result.methods):
        remarks.append("forward transfer is not available without the method `alone`, which it compares with")
    for method in result.methods:
        if method.lambda_ == "auto":
            found = (
                f"seed {run.seed}: {', '.join(_strength(value) or '-' for value in run.lambdas[1:])}"
                for run in method.seeds
            )
            remarks.append(f"{method.name}: lambda found for each task after the first: {'; '.join(found)}")
    return tuple(remarks)


def _payload(result: RunResult, *, timed: bool) -> dict[str, Any]:
    names = ("out", "tasks", "images") if timed else ("tasks", "images")
    payload: dict[str, Any] = {name: plain(getattr(result, name)) for name in names}
    payload["methods"] = [_method(method) for method in result.methods]
    payload["warnings"] = plain(result.warnings)
    payload["failed"] = plain(result.failed)
    if timed:
        payload["seconds"] = {"all": result.seconds, "methods": dict(result.method_seconds)}
    return payload


def _method(method: MethodRun) -> dict[str, Any]:
    named = {"name": method.name, "method": method.method, "lambda": plain(method.lambda_), "chosen": method.chosen}
    figures = {name: plain(figure) for name, figure in method.figures.items()}
    return {**named, "accuracy_matrix": plain(method.accuracy_matrix), **figures, "seeds": plain(method.seeds)}


def _rows(result: RunResult) -> tuple[dict[str, Any], ...]:
    return tuple(
        {
            "method": method.name,
            "lambda": plain(method.lambda_),
            "seed": run.seed,
            "after": result.tasks[after],
            "task": task,
            "images": images,
            "accuracy": accuracy,
        }
        for method in result.methods
        for run in method.seeds
        for after, row in enumerate(run.accuracy_matrix)
        for task, images, accuracy in zip(result.tasks, result.images, row, strict=False)
    )


def _figure(figure: Figure | None) -> str:
    if figure is None:
        return "n/a"
    if figure.low is None or figure.high is None:
        return percent(figure.mean)
    return f"{percent(figure.mean)} +- {percent((figure.high - figure.low) / 2)}"


def _strength(value: float | str | None) -> str:
    return f"{value:g}" if isinstance(value, float) else value or ""
