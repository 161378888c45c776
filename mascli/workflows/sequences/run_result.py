"""From the records of all steps to what came out: accuracy matrices and the figures that follow from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import fmean

from mascli.config.sequence import TaskSequence
from mascli.evaluation.metrics import (
    average_accuracy,
    backward_transfer,
    forgetting,
    forgetting_from_best,
    forgetting_over_all,
    forward_transfer,
    learning_accuracy,
    mean_interval,
)
from mascli.reports.estimate import NOT_READ
from mascli.reports.run import Figure, MethodRun, RunResult, SeedResult
from mascli.workflows.sequences.done_steps import Record
from mascli.workflows.sequences.sequence_steps import Plan, Variant

Rows = tuple[tuple[float, ...], ...]
Records = Mapping[str, Record]


def run_result(
    out: str, sequence: TaskSequence, plan: Plan, records: Records, skipped: int, failed: Mapping[str, str]
) -> RunResult:
    """Everything that `mascli run` tells, from what its steps found; `failed` says why by the name of a step."""
    groups: dict[tuple[str, str], list[Variant]] = {}
    for variant in plan.variants:
        groups.setdefault((variant.method.name, str(variant.strength)), []).append(variant)
    alone = {
        variant.seed: matrix_of(variant, records)[-1] for variant in plan.variants if variant.method.method == "alone"
    }
    methods = [_method(sequence, variants, records, alone) for variants in groups.values()]
    methods = [method for name in dict.fromkeys(m.name for m in methods) for method in _marked(name, methods)]
    seconds = {
        method.label: sum(records[name].seconds for variant in variants for name in variant.own)
        for method, variants in zip(methods, groups.values(), strict=True)
    }
    counts = {task: images for _, images, task in _tested(records, [v.measured for v in plan.variants])}
    return RunResult(
        out=out,
        tasks=tuple(task.name for task in plan.tasks),
        images=tuple(counts[task.name] for task in plan.tasks),
        seeds=sequence.seeds,
        methods=tuple(methods),
        forgetting=sequence.forgetting,
        warnings=(*_judged_by_what_chose(sequence), *_warnings(records)),
        failed=tuple(f"{name}: {text}" for name, text in failed.items()),
        steps=len(records),
        skipped=skipped,
        seconds=sum(record.seconds for record in records.values()),
        method_seconds=seconds,
    )


def _judged_by_what_chose(sequence: TaskSequence) -> Iterator[str]:
    """A line for each task whose images chose what they then judge."""
    for task in sequence.tasks:
        if task.val is not None and task.test is not None and task.val.resolve() == task.test.resolve():
            yield (
                f"task {task.name}: `val` is the folder of `test`: epochs and lambda are chosen on the images that are "
                "to judge them, and the accuracies are too good"
            )


def _warnings(records: Records) -> tuple[str, ...]:
    """What the steps warn of, each with the first step that does: a file that cannot be read is read by many."""
    first: dict[str, str] = {}
    for name, record in records.items():
        found = record.found or {}
        for text in (*found.get("warnings", ()), *found.get("notes", ())):
            first.setdefault(text if text.startswith(NOT_READ) else f"{name}: {text}", name)
    return tuple(f"{name}: {text}" if text.startswith(NOT_READ) else text for text, name in first.items())


def matrix_of(variant: Variant, records: Records) -> Rows:
    """The accuracy matrix of one variant, in percent; that of `alone` has each task's own model in every row."""
    rows: list[tuple[float, ...]] = []
    for name in variant.measured:
        row = tuple(100 * correct / images for correct, images, _ in _tested(records, [(name,)]))
        rows.append(rows[-1] + row if rows and variant.method.method == "alone" else row)
    return tuple(rows)


def _method(
    sequence: TaskSequence, variants: Sequence[Variant], records: Records, alone: Mapping[int, tuple[float, ...]]
) -> MethodRun:
    runs = tuple(_seed(variant, records) for variant in variants)
    matrices = [run.accuracy_matrix for run in runs]
    mean = tuple(tuple(fmean(values) for values in zip(*rows, strict=True)) for rows in zip(*matrices, strict=True))
    own = variants[0].method
    return MethodRun(
        name=own.name,
        method=own.method,
        lambda_=variants[0].strength,
        chosen="only" if len(own.strengths) == 1 else None,
        accuracy_matrix=mean,
        figures=_figures(runs, sequence.forgetting, alone),
        seeds=runs,
    )


def _seed(variant: Variant, records: Records) -> SeedResult:
    found = [(records[name].found or {}) if name is not None else {} for name in variant.learned]
    validated = None
    if variant.validated is not None:
        validated = fmean(100 * correct / images for correct, images, _ in _tested(records, [(variant.validated,)]))
    lambdas = tuple(None if value is None else float(value) for value in (step.get("lambda") for step in found))
    return SeedResult(variant.seed, matrix_of(variant, records), lambdas, validated)


def _figures(
    runs: Sequence[SeedResult], definitions: Sequence[str], alone: Mapping[int, tuple[float, ...]]
) -> dict[str, Figure | None]:
    matrices = [run.accuracy_matrix for run in runs]
    figures: dict[str, Figure | None] = {
        "average_accuracy": _figure([average_accuracy(matrix) for matrix in matrices]),
        "learning_accuracy": _figure([learning_accuracy(matrix) for matrix in matrices]),
        "forgetting": _figure([forgetting(matrix) for matrix in matrices]),
        "backward_transfer": _figure([backward_transfer(matrix) for matrix in matrices]),
        "forward_transfer": None,
        "validation_accuracy": None,
    }
    if alone:
        figures["forward_transfer"] = _figure([forward_transfer(run.accuracy_matrix, alone[run.seed]) for run in runs])
    validated = [run.validation_accuracy for run in runs if run.validation_accuracy is not None]
    if validated:
        figures["validation_accuracy"] = _figure(validated)
    others = {
        "max": forgetting_from_best,
        "max-final": lambda matrix: forgetting_from_best(matrix, with_final=True),
        "all": forgetting_over_all,
    }
    for name in definitions:
        key = f"forgetting_{name.replace('-', '_')}"
        figures[key] = _figure([others[name](matrix) for matrix in matrices])
    return figures


def _figure(values: Sequence[float]) -> Figure:
    low, high = mean_interval(values) or (None, None)
    return Figure(fmean(values), low, high, tuple(values))


def _marked(name: str, methods: Sequence[MethodRun]) -> Iterator[MethodRun]:
    """The variants of one method, the one that stands for it marked: by validation images if there are any.

    Of several that are equally accurate, the largest lambda stands for all.
    """
    own = [method for method in methods if method.name == name]
    if len(own) == 1:
        return (replace(method, chosen="only") for method in own)  # the others of a list may have diverged
    by, reason = "validation_accuracy", "validation"
    if any(method.figures[by] is None for method in own):
        by, reason = "average_accuracy", "hindsight"
    best = max(own, key=lambda method: (method.figures[by].mean, method.lambda_))  # type: ignore[union-attr]
    return (replace(method, chosen=reason if method is best else None) for method in own)


def _tested(records: Records, names: Sequence[Sequence[str]]) -> Iterator[tuple[int, int, str]]:
    """What evaluations found: correct answers, images and task, in the order of the tasks."""
    for name in (name for group in names for name in group):
        for task, correct, images in (records[name].found or {})["tasks"]:
            yield correct, images, task
