"""How well sequences of tasks are kept: every method at its best lambda and at `auto`, beside Avalanche's.

    python benchmarks/retention.py --json FILE [--sequences split-digits ...] [--methods mas ...] [--seeds 0 1 2 3 4]
        [--grid 0.1 1 10] [--no-peers] [--photos-root FOLDER] [--photos-tasks A B C] [--photos-limit 600]
        [--weights FILE] [--work FOLDER] [--threads 1]
    python benchmarks/retention.py --json FILE --table docs/results.md [--drift FILE]

FILE keeps one line for each sequence, method, lambda and seed; a benchmark that was stopped goes on
from there, and several may share it. The second form only writes the page with the table. Real images
lie as FOLDER/TASK/train|test/CLASS/IMAGE; the weights are those of torchvision's squeezenet1_0. Without
Avalanche its rows are left out, and a line says so.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from retention_data import SUBJECTS, Photos, Subject, prepared, subjects
from retention_peers import PEERS, Peers, version
from retention_results import Outcome, Results, strength_text
from retention_table import written

from mascli.errors import MascliError

# In this order, so that what tells the most comes first.
ORDER = ["finetune", "mas", "mas-shuffled", "avalanche:mas", "avalanche:naive", "avalanche:lwf", "avalanche:ewc"]
ORDER += ["avalanche:si-mended", "avalanche:si", "lwf", "ewc", "si", "l2", "joint", "freeze", "mas-local"]


def main() -> None:
    """Learn all that is not learned yet, or write the page."""
    options = _options()
    results = Results(options.json)
    if options.table:
        drift = json.loads(options.drift.read_text(encoding="utf-8")) if options.drift else None
        options.table.write_text(written(results, subjects(options.photos_limit), drift), encoding="utf-8")
        return
    from conditions import conditions, described

    found = conditions("cpu", options.threads)
    if version() is not None:
        found["avalanche"] = version()
    print(described(found), flush=True)
    if options.peers and version() is None:
        print("Avalanche is not installed here (pip install avalanche-lib): its rows are left out")
    results.under(found)
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        for name in options.sequences:
            photos = Photos(options.photos_root, options.weights, tuple(options.photos_tasks), options.photos_limit)
            _sequence(prepared(name, work / "images", photos), results, options, work)


def _sequence(subject: Subject, results: Results, options: argparse.Namespace, work: Path) -> None:
    peers = Peers(subject)
    for method in options.methods:
        by, _, own = method.rpartition(":")
        for seed in options.seeds:
            if by and options.peers and version() is not None:
                _learn_elsewhere(subject, own, seed, results, options, peers)
            elif not by:
                _learn(subject, own, seed, results, options, work)


def _learn(subject: Subject, method: str, seed: int, results: Results, options: argparse.Namespace, work: Path) -> None:
    from retention_methods import AUTO, OURS, outcomes

    fixed: list[float | str | None] = [*_grid(subject, OURS[method], options)]
    searched: list[float | str | None] = ["auto"] if method in AUTO and options.auto else []
    for strengths in (fixed, searched):
        missing = [s for s in strengths if not _known(results, subject, "mascli", method, s, seed)]
        if not missing:
            continue
        try:
            _keep(results, outcomes(subject, method, missing, seed, work))
        except MascliError:  # at one of them: learn each by itself
            for strength in missing:
                with _going_on(f"{subject.name} {method} {strength} seed {seed}"):
                    _keep(results, outcomes(subject, method, [strength], seed, work))


def _learn_elsewhere(
    subject: Subject, method: str, seed: int, results: Results, options: argparse.Namespace, peers: Peers
) -> None:
    for strength in _grid(subject, PEERS[method], options):
        if _known(results, subject, "avalanche", method, strength, seed):
            continue
        with _going_on(f"{subject.name} avalanche {method} {strength} seed {seed}"):
            begun = time.monotonic()
            matrix = peers.matrix(method, strength, seed)
            text, seconds = strength_text(strength), round(time.monotonic() - begun, 2)
            key = (subject.name, subject.settings, "avalanche", method, text, seed)
            _keep(results, [Outcome(*key, matrix, (), seconds)])


@contextmanager
def _going_on(what: str) -> Iterator[None]:
    """Tell what failed, and go on with the next: hours of others must not be lost for it."""
    try:
        yield
    except Exception as problem:
        where = traceback.extract_tb(problem.__traceback__)[-1]
        print(f"{what} failed: {type(problem).__name__} in {where.name}: {problem}", flush=True)


def _grid(subject: Subject, family: str | None, options: argparse.Namespace) -> Iterator[float | None]:
    if family is None:
        return iter((None,))
    return iter(options.grid or subject.grids[family])


def _known(results: Results, subject: Subject, by: str, method: str, strength: float | str | None, seed: int) -> bool:
    return results.has((subject.name, by, method, strength_text(strength), seed), subject.settings)


def _keep(results: Results, found: list[Outcome]) -> None:
    results.add(found)
    for one in found:
        print(
            f"{one.sequence:<18}{one.by:<10} {one.method:<13} {one.strength:>7}  seed {one.seed}  "
            f"average {one.average:6.2f}  learning {one.learning:6.2f}  forgetting {one.forgetting:6.2f}  "
            f"{one.seconds:.1f} s",
            flush=True,
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [subject.name for subject in SUBJECTS]
    parser.add_argument("--json", type=Path, required=True, help="where results are kept, one a line")
    parser.add_argument("--table", type=Path, help="only write the page with the table")
    parser.add_argument("--drift", type=Path, help="what drift.py has kept with --json, for the page")
    parser.add_argument("--sequences", nargs="+", choices=names, default=names)
    parser.add_argument("--methods", nargs="+", choices=ORDER, default=ORDER)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--grid", type=float, nargs="+", help="other lambdas than the decades of each family")
    parser.add_argument("--auto", action=argparse.BooleanOptionalAction, default=True, help="also the lambda found")
    parser.add_argument("--peers", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--photos-root", type=Path, help="real images, ROOT/TASK/train|test/CLASS/IMAGE")
    parser.add_argument("--photos-tasks", nargs="+", default=[], help="in the order to learn them (default: sorted)")
    parser.add_argument("--photos-limit", type=int, default=600, help="images a class to learn and validate with")
    parser.add_argument("--weights", type=Path, help="torchvision's weights of squeezenet1_0")
    parser.add_argument("--work", type=Path, help="of this process alone: where a stopped run goes on")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
