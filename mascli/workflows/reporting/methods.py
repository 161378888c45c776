"""How the methods fared: their figures, how they differ, their accuracy matrices, and accuracy over the sequence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean

from mascli.evaluation.metrics import average_accuracy, mean_interval
from mascli.pages.content import (
    Block,
    Cell,
    Column,
    DataTable,
    Facts,
    Folded,
    Items,
    LineChart,
    Matrix,
    Panels,
    Prose,
    Section,
    Series,
)
from mascli.reports.numbers import count, number, percent
from mascli.reports.run import Figure, MethodRun
from mascli.workflows.reporting.stored_result import StoredResult
from mascli.workflows.reporting.story import of, reference, worst

FIGURES = {
    "average_accuracy": "average accuracy, %",
    "learning_accuracy": "right after learning, %",
    "forgetting": "forgetting, points",
    "backward_transfer": "backward transfer, points",
    "forward_transfer": "forward transfer, points",
    "validation_accuracy": "validation accuracy, %",
    "forgetting_max": "forgetting from max, points",
    "forgetting_max_final": "forgetting from max-final, points",
    "forgetting_all": "forgetting over all tasks, points",
}
COMPARED = ("average_accuracy", "learning_accuracy", "forgetting")
CHOSEN = {"validation": "on validation images", "hindsight": "in hindsight", "only": "", None: ""}

MEANING = {
    "average accuracy": "mean over all tasks of the accuracy at the end",
    "right after learning": "mean over all tasks of the accuracy just after the task was learned",
    "forgetting": "accuracy just after a task was learned less that at the end; mean over all tasks but the last",
    "backward transfer": "forgetting with the other sign: above 0, later tasks helped earlier ones",
    "forward transfer": "accuracy just after a task was learned less that of a model that learned it alone; mean over "
    "all tasks but the first",
    "validation accuracy": "mean over all tasks at the end, on the images that the lambda was chosen on",
    "from max": "forgetting from the highest accuracy before the last task; max-final: from the highest of all",
    "over all tasks": "forgetting, the mean taken over the last task too, which forgets nothing",
    "interval": "95 %, of the mean over seeds, by Student's t",
}
MEANT = {
    "learning_accuracy": "right after learning",
    "forgetting_max": "from max",
    "forgetting_max_final": "from max",
    "forgetting_all": "over all tasks",
}

Rows = Sequence[Sequence[float]]


def methods_section(result: StoredResult) -> Section:
    """A row for each method and strength."""
    keys = [key for key in FIGURES if any(method.figures.get(key) for method in result.methods)]
    marked = any(CHOSEN.get(method.chosen) for method in result.methods)
    columns = [Column("method"), Column("lambda", "number"), *([Column("chosen")] if marked else [])]
    columns += [Column(FIGURES[key], "number") for key in keys]
    rows = tuple(
        (
            Cell(method.name),
            _strength(method.lambda_),
            *([Cell(CHOSEN.get(method.chosen, ""))] if marked else []),
            *(_figure(method.figures.get(key)) for key in keys),
        )
        for method in result.methods
    )
    spread = ", mean and 95 % interval over seeds" if len(result.seeds) > 1 else ""
    blocks: list[Block] = [DataTable(f"After all tasks{spread}", tuple(columns), rows)]
    if len(result.seeds) == 1:
        blocks.append(Prose(("One seed tells nothing of how much another would differ, so there are no intervals.",)))
    words = [MEANT.get(key, key.replace("_", " ")) for key in keys] + ["interval"] * (len(result.seeds) > 1)
    blocks.append(
        Folded("What the numbers mean", (Facts(tuple((word, MEANING[word]) for word in dict.fromkeys(words))),))
    )
    if result.warnings:
        blocks.append(Prose(("What the trainings warned of:",)))
        blocks.append(Items(result.warnings))
    if result.failed:
        blocks.append(Prose(("Left out, since a training diverged:",)))
        blocks.append(Items(result.failed))
    return Section("methods", "Methods", tuple(blocks))


def comparison_section(result: StoredResult) -> Section | None:
    """The differences from plain fine-tuning, or the first method, each seed with itself; None for one method."""
    base = reference(result) or result.methods[0]
    others = [method for method in result.methods if method is not base]
    if not others:
        return None
    columns = (Column("method"), *(Column(FIGURES[key].replace("%", "points"), "range") for key in COMPARED))
    rows = tuple(
        (Cell(method.label), *(difference(of(method, key), of(base, key)) for key in COMPARED)) for method in others
    )
    told = f"Each number is that of the method less that of {base.label}, which learned the same first task. "
    if len(result.seeds) > 1:
        told += "Differences are taken seed by seed; brackets are 95 % intervals of their mean."
    else:
        told += "There is one seed, so nobody knows how much of a small difference is chance."
    table = DataTable(f"Difference from {base.label}, percentage points", columns, rows)
    return Section("comparison", "Comparison", (Prose((told,)), table))


def difference(figure: Figure, base: Figure) -> Cell:
    """The mean difference of two figures over their seeds, with its interval where there is one."""
    values = [own - other for own, other in zip(figure.values, base.values, strict=True)]
    mean, ends = fmean(values), mean_interval(values)
    if ends is None:
        return Cell(_signed(mean), mean)
    return Cell(f"{_signed(mean)} [{_signed(ends[0])}, {_signed(ends[1])}]", mean, *ends)


def matrices_section(result: StoredResult) -> Section:
    """The accuracy matrix of each method, the other strengths of a list folded away, and those of each seed."""
    told = (
        "A row shows what the model answered right after one more task was learned, in percent of the test images of "
        "each task. Colour fades as accuracy falls; it means the same in all matrices."
    )
    lowest = min(result.accuracies())
    shown = [method for method in result.methods if method.chosen is not None] or list(result.methods)
    over = f", mean over {len(result.seeds)} seeds" if len(result.seeds) > 1 else ""
    blocks: list[Block] = [Prose((told,))]
    blocks += [_matrix(method.label + over, method.accuracy_matrix, result, lowest) for method in shown]
    others = [method for method in result.methods if method not in shown]
    if others:
        inner = tuple(_matrix(method.label + over, method.accuracy_matrix, result, lowest) for method in others)
        blocks.append(Folded("Matrices of the other lambdas", inner))
    if over:
        inner = tuple(
            _matrix(f"{method.label}, seed {run.seed}", run.accuracy_matrix, result, lowest)
            for method in result.methods
            for run in method.seeds
        )
        blocks.append(Folded("Matrices of each seed", inner))
    return Section("matrices", "Accuracy matrices", tuple(blocks))


def sequence_section(result: StoredResult) -> Section:
    """Accuracy after each task: of all tasks so far, and of the first one."""
    whole = _chart(
        result,
        "Average accuracy over the tasks so far",
        lambda rows: [average_accuracy(rows[: at + 1]) for at in range(len(rows))],
    )
    first = _chart(result, f"Accuracy on the first task, {result.tasks[0]}", lambda rows: [row[0] for row in rows])
    told = (
        "A line that stays level forgets nothing. New tasks may be harder than old ones, which alone moves the average."
    )
    return Section("sequence", "Accuracy over the sequence", (Prose((told,)), Panels((whole, first))))


def chosen(result: StoredResult) -> list[tuple[int, MethodRun]]:
    """The methods, each with the strength that stands for it, and their place in the list, which is their style."""
    shown = [(at, method) for at, method in enumerate(result.methods) if method.chosen is not None]
    return shown or list(enumerate(result.methods))


def _chart(result: StoredResult, title: str, values: Callable[[Rows], list[float]]) -> LineChart:
    lines = [
        Series(method.label, tuple(Cell(percent(v), v) for v in values(method.accuracy_matrix)), style)
        for style, method in chosen(result)
    ]
    ends = ", ".join(f"{line.name} {line.points[-1].text} %" for line in lines if line.points[-1])
    told = f"{title}, in percent, after each of {len(result.tasks)} tasks. After the last one: {ends}."
    return LineChart(title, told, result.tasks, tuple(lines), "percent", "after learning")


def _matrix(name: str, rows: Rows, result: StoredResult, lowest: float) -> Matrix:
    lost = [rows[at][at] - rows[-1][at] for at in range(len(rows))]
    return Matrix(
        caption=f"{name}: accuracy in %",
        corner="after learning",
        columns=tuple((task, f"n={count(images)}") for task, images in zip(result.tasks, result.images, strict=True)),
        rows=tuple(
            (task, tuple(Cell(percent(value), value) for value in row))
            for task, row in zip(result.tasks, rows, strict=True)
        ),
        beside=("average", tuple(Cell(percent(fmean(row)), fmean(row)) for row in rows)),
        below=("forgotten, points", tuple(Cell(percent(value), value) for value in lost)),
        lowest=lowest,
        highest=100.0,
        note=worst(rows, result.tasks),
    )


def _strength(value: float | str | None) -> Cell:
    if isinstance(value, float):
        return Cell(number(value), value)
    return Cell(value or "")


def _figure(figure: Figure | None) -> Cell:
    if figure is None:
        return Cell("")
    if figure.low is None or figure.high is None:
        return Cell(percent(figure.mean), figure.mean)
    return Cell(f"{percent(figure.mean)} ± {percent((figure.high - figure.low) / 2)}", figure.mean)


def _signed(value: float) -> str:
    shown = percent(value)
    return shown if shown.startswith("-") or shown == "0.00" else f"+{shown}"
