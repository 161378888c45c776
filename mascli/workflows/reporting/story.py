"""What a run came to, in a few sentences of plain language."""

from __future__ import annotations

from collections.abc import Sequence

from mascli.errors import listed
from mascli.reports.numbers import percent, plural
from mascli.reports.run import Figure, MethodRun
from mascli.workflows.reporting.stored_result import StoredResult

BOUNDS = ("joint", "alone")  # what sees old images, or keeps a model for each task


def lead(result: StoredResult) -> tuple[str, ...]:
    """What was done, how plain fine-tuning fared, and how the method that knows most at the end did."""
    seeds = f"seed {result.seeds[0]}" if len(result.seeds) == 1 else f"{len(result.seeds)} seeds"
    first = (
        f"A model learned {plural(len(result.tasks), 'task')} one after the other ({listed(result.tasks, 8)}), "
        f"by {how_many(result)}, under {seeds}, and was then asked about all of them."
    )
    plain, best = reference(result), _best(result)
    sentences = []
    if plain is not None:
        sentences.append(f"Plain fine-tuning ({plain.name}) {_fared(plain)}.")
    if best is not None:
        against = f"; that is {_against(best, plain)} by plain fine-tuning" if plain is not None else ""
        sentences.append(f"The method {_named(best)} {_fared(best)}{against}.")
    if best is not None and best.chosen == "hindsight":
        sentences[-1] += " Its lambda was chosen on test images, which nobody can do beforehand."
    return (first, *sentences)


def how_many(result: StoredResult) -> str:
    """The number of methods, and of lambdas where methods have several."""
    names = {method.name for method in result.methods}
    several = f" ({len(result.methods)} with each lambda)" if len(names) < len(result.methods) else ""
    return plural(len(names), "method") + several


def reference(result: StoredResult) -> MethodRun | None:
    """The plain fine-tuning that others are compared with, or None."""
    return next((method for method in result.methods if method.method == "finetune"), None)


def _named(method: MethodRun) -> str:
    """The method within a sentence."""
    return method.label.replace(", lambda", " (lambda", 1) + (")" if method.lambda_ is not None else "")


def _interval(figure: Figure, *, of_100: bool = False) -> str:
    """The interval of a figure in brackets, in words where that of a percentage ends beyond 0 or 100; or nothing."""
    if figure.low is None or figure.high is None:
        return ""
    if of_100 and (figure.low < 0 or figure.high > 100):
        return " (the seeds are too few, or differ too much, to say how certain that is)"
    return f" (95 % interval {percent(figure.low)} to {percent(figure.high)})"


def of(method: MethodRun, key: str) -> Figure:
    """A figure that every method has."""
    figure = method.figures[key]
    assert figure is not None  # checked when it was read
    return figure


def _best(result: StoredResult) -> MethodRun | None:
    """The method that is most accurate at the end, of those that keep one model and see no old images."""
    others = [m for m in result.methods if m.chosen is not None and m.method not in (*BOUNDS, "finetune")]
    return max(others, key=lambda method: of(method, "average_accuracy").mean, default=None)


def _fared(method: MethodRun) -> str:
    known, forgot = of(method, "average_accuracy"), of(method, "forgetting")
    lost = percent(abs(forgot.mean))
    kept = f"had forgotten {lost} points of what it knew right after learning them"
    if lost == "0.00":
        kept = "had forgotten nothing of what it knew right after learning them"
    elif forgot.mean < 0:
        kept = f"knew {lost} points more of the earlier ones than right after learning them"
    right = f"answered {percent(known.mean)} % of the test images right{_interval(known, of_100=True)}"
    return f"{right}, on average over the tasks, and {kept}" + (_interval(forgot) if forgot.mean > 0 else "")


def _against(best: MethodRun, plain: MethodRun) -> str:
    less = of(plain, "forgetting").mean - of(best, "forgetting").mean
    if percent(abs(less)) == "0.00":
        return "as much forgetting as"
    return f"{percent(abs(less))} points {'less' if less > 0 else 'more'} forgetting than"


def worst(matrix: Sequence[Sequence[float]], tasks: Sequence[str]) -> str:
    """Which task lost most since it was learned, and how much."""
    lost = [rows[at] - last for at, (rows, last) in enumerate(zip(matrix[:-1], matrix[-1][:-1], strict=True))]
    if not lost or percent(max(lost)) in ("0.00",) or max(lost) < 0:
        return "Nothing was forgotten of any task."
    at = lost.index(max(lost))
    return (
        f"Most was forgotten of {tasks[at]}: {percent(matrix[at][at])} % right after learning, "
        f"{percent(matrix[-1][at])} % at the end."
    )
