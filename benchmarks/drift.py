"""How well the drift that `train-task` predicts, without any old image, ranks what is truly forgotten.

    python benchmarks/drift.py [--sequences split-digits permuted-digits] [--grid 0 0.01 ...] [--seeds 0 1 2 3 4]
        [--work FOLDER] [--json FILE] [--photos-root FOLDER --weights FILE ...]

MAS learns each sequence at each lambda, 0 included. One point is one task learned at one lambda under
one seed: the drift stored in its checkpoint, and how many points of accuracy the earlier tasks lost on
their test images in that step, on average. Printed are Spearman's rank correlations

    all      over all points of the sequence
    lambda   over lambda, for each task and seed by itself; the mean of these
    task     over tasks, for each lambda and seed by itself; the mean of these
    seed     over seeds, for each lambda and task by itself; the mean of these

of the forgetting with the linear, the quadratic and the relative drift, and with the plain way that the
parameters went, Σ|Δθ|, which knows no importance.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import yaml
from conditions import conditions, described
from retention_data import SUBJECTS, Photos, Subject, prepared
from retention_methods import sequence_file

from mascli.config import RunConfig, TrainTaskConfig
from mascli.files.records_json import checkpoint_record
from mascli.files.tensor_file import read_array, read_header
from mascli.importance.reliability import spearman
from mascli.observer import Observer
from mascli.workflows.run import run
from mascli.workflows.sequences.run_checks import check_run, plan_of

MEASURES = ("linear", "quadratic", "relative", "way")
GRID = [0.0, 0.001, 0.01, 0.1, 1.0, 10.0, 100.0]


@dataclass(frozen=True)
class Point:
    """One task learned: what was predicted, and by how many points the earlier tasks' mean accuracy fell."""

    strength: float
    task: int
    seed: int
    linear: float
    quadratic: float
    relative: float
    way: float
    forgotten: float


def main() -> None:
    """Measure each sequence and print its correlations."""
    options = _options()
    found = conditions("cpu", options.threads)
    print(described(found))
    print(f"{'':<20}{'drift':<12}{'all':>8}{'lambda':>8}{'task':>8}{'seed':>8}{'points':>8}")
    kept = {}
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        for name in options.sequences:
            photos = Photos(options.photos_root, options.weights, tuple(options.photos_tasks), options.photos_limit)
            subject = prepared(name, work / "images", photos)
            points = [point for seed in options.seeds for point in _points(subject, options.grid, seed, work)]
            table = {measure: _correlations(points, measure) for measure in MEASURES}
            for measure, row in table.items():
                print(f"{name:<20}{measure:<12}" + "".join(f"{row[by]:8.2f}" for by in row) + f"{len(points):8}")
            kept[name] = {"settings": subject.settings, "correlations": table, "points": [asdict(p) for p in points]}
            if options.json:
                options.json.write_text(json.dumps({"conditions": found, "sequences": kept}, indent=1) + "\n")


def _points(subject: Subject, grid: Sequence[float], seed: int, work: Path) -> Iterator[Point]:
    """Learn the sequence at every lambda of the grid, as far as that is not done yet in `work`."""
    folder = work / f"drift-{subject.name}-{seed}"
    file = folder.with_suffix(".yaml")
    file.write_text(yaml.safe_dump(sequence_file(subject, "mas", list(grid), seed), sort_keys=False), encoding="utf-8")
    config = RunConfig(sequence=file, out=folder, device="cpu")
    sequence = check_run(config)
    result = run(config, sequence, Observer())
    planned = plan_of(config, sequence)
    steps = {step.name: step.config for step in planned.steps}
    for variant, method in zip(planned.variants, result.methods, strict=True):
        matrix = method.accuracy_matrix
        for task, name in list(enumerate(variant.learned))[1:]:
            learned = steps[str(name)]
            assert isinstance(learned, TrainTaskConfig) and learned.out is not None
            forgotten = fmean(matrix[task - 1]) - fmean(matrix[task][:task])
            drift = _drift(learned.out)
            way = _way(learned.checkpoint, learned.out)
            yield Point(float(str(variant.strength)), task, seed, *drift, way, forgotten)


def _drift(checkpoint: Path) -> tuple[float, float, float]:
    """The linear, the quadratic and the relative drift that a checkpoint tells of its newest step."""
    record = checkpoint_record(read_header(checkpoint))
    assert record is not None
    drift = record.lineage[-1].result["drift"]
    return drift["linear"], drift["quadratic"], drift["relative"]


def _way(before: Path, after: Path) -> float:
    """Σ|Δθ| over the shared parameters."""
    old, new = read_header(before), read_header(after)
    record = checkpoint_record(new)
    assert record is not None
    return float(sum(np.abs(read_array(new, n) - read_array(old, n)).sum(dtype=np.float64) for n in record.shared))


def _correlations(points: Sequence[Point], measure: str) -> dict[str, float]:
    """Rank correlations of a measure with what was forgotten, over all points and within groups."""
    groups: dict[str, Callable[[Point], object]] = {
        "all": lambda point: (),
        "lambda": lambda point: (point.task, point.seed),
        "task": lambda point: (point.strength, point.seed),
        "seed": lambda point: (point.strength, point.task),
    }
    return {by: _mean_correlation(points, measure, key) for by, key in groups.items()}


def _mean_correlation(points: Sequence[Point], measure: str, key: Callable[[Point], object]) -> float:
    """The mean over groups of points; a group in which nothing differs says nothing."""
    groups: dict[object, list[Point]] = {}
    for point in points:
        groups.setdefault(key(point), []).append(point)
    found = [
        spearman(*(np.array([getattr(point, name) for point in group]) for name in (measure, "forgotten")))
        for group in groups.values()
    ]
    known = [value for value in found if value is not None]
    return fmean(known) if known else float("nan")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [subject.name for subject in SUBJECTS]
    parser.add_argument("--sequences", nargs="+", choices=names, default=["split-digits", "permuted-digits"])
    parser.add_argument("--grid", type=float, nargs="+", default=GRID)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--photos-root", type=Path)
    parser.add_argument("--photos-tasks", nargs="+", default=[])
    parser.add_argument("--photos-limit", type=int, default=300)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--work", type=Path, help="where a stopped run goes on (default: a temporary folder)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
