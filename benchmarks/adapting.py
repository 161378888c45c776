"""Whether importance measured on what is used keeps it better than importance measured on everything.

    python benchmarks/adapting.py [WEIGHTS --model SPEC] [--data FOLDER ...] [--image-size 48]
        [--heads own one] [--seeds 0 1 2 ...] [--jobs 2] [--json FILE]

Without arguments it takes the handwritten digits that come with the package and a small perceptron;
FOLDERs hold one folder of images a class, and the same class may lie in several of them.

The seed draws the network, the order of the classes, which of them are used, and three disjoint sets
of each class's images: to learn from, to measure importance on (without labels), and to evaluate on.
Pairs of classes are learned, each as a task with a head of its own (`--heads own`) or all as one task
with one head (`--heads one`); one pair is what is *used*, the others are the *rest*. Then a new pair
is learned, once with the importance of

    used        the images of the used classes alone
    all         everything: the mean of the pairs', as one estimate of all images has it with one head,
                and their sum (`estimate --previous`) with heads of their own, but for its scale
    rest        everything but what is used
    mixed       mascli merge all.omega used.omega --combine mean --weights 1,4
    normalized  as all, each pair's importance divided by its mean squared norm
    elsewhere   the used pair's answers on the images of the rest (`--heads own` only)

and for every lambda of a grid around the one that `train-task` names for `all`. Each omega has a scale
of its own, so equal lambdas are not equally strong. They are compared where the new task is learned
equally well: at the lambda, between two of the grid, at which its training loss is that of `all`. Every
lambda of the grid counts and no result chooses one. Differences are paired by seed, with the 95 %
interval of Student's t over seeds.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mascli.config import ImageOptions
from mascli.data.folders import labelled_folder
from mascli.data.loader import ImageSet, load_image_set, normalize
from mascli.data.order import seeded_order
from mascli.data.samples.digits import write_digit_tasks
from mascli.importance.engine import Estimate, estimate_importance
from mascli.importance.images import Images
from mascli.importance.objective import Measure
from mascli.models.heads import MultiHeadModel, evaluating
from mascli.models.spec import parse_model_spec
from mascli.models.zoo import usual_preprocessing
from mascli.observer import Observer
from mascli.records import Preprocessing
from mascli.training.loop import Recipe, learn
from mascli.training.penalty import DecoupledPenalty, effective_rate
from mascli.workflows.learning.task_data import derived_seed
from mascli.workflows.loading import open_checkpoint, start_checkpoint

Omega = dict[str, Tensor]
Group = tuple[int, ...]  # classes
Parts = dict[int, list[list[int]]]  # of each class: the images to learn from, to measure on, to evaluate on
MOMENTUM = 0.9
LEARN, MEASURE, EVALUATE = 0, 1, 2
OMEGAS = ("all", "used", "mixed", "rest", "normalized", "elsewhere")
QUANTITIES = {
    "used_lost": "used: points kept",
    "rest_lost": "rest: points kept",
    "used_moved": "used: answers moved less, %",
    "new_accuracy": "new task: points lost",
}
T_975 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131),
    *(2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)  # Student's t, by degrees of freedom from 1 on; more than 30 are taken as 30


@dataclass(frozen=True)
class Run:
    """What came of learning the new task with one omega at one lambda (as a multiple of the one named).

    `lost` are points of accuracy on what was known, `used_moved` the mean squared change of the
    answers in percent of their mean square, `new_loss` the training loss of the new task in nats.
    """

    heads: str
    seed: int
    omega: str
    strength: float
    used_lost: float
    rest_lost: float
    used_moved: float
    new_accuracy: float
    new_loss: float


@dataclass(frozen=True)
class World:
    """All images, and which of each class's serve for what."""

    images: ImageSet
    preprocessing: Preprocessing
    parts: Parts

    def positions(self, classes: Iterable[int], part: int) -> list[int]:
        """Where the images of `classes` lie."""
        return [position for number in classes for position in self.parts[number][part]]

    def batches(self, positions: Sequence[int], size: int = 64) -> Iterator[tuple[Tensor, Tensor]]:
        """Images as the network wants them, and their classes."""
        for pixels, classes in self.images.batches(positions, size):
            yield normalize(pixels, self.preprocessing, "cpu"), classes


@dataclass(frozen=True)
class Student:
    """Learns groups of classes as tasks: the same order of images and the same fresh head for the same seed."""

    world: World
    options: argparse.Namespace
    seed: int

    def learn(
        self, model: MultiHeadModel, task: str, classes: Group, omega: Omega | None = None, strength: float = 0.0
    ) -> None:
        """Learn `classes` as `task`; what `omega` says matters is held with lambda `strength`."""
        o, positions = self.options, self.world.positions(classes, LEARN)
        generator = torch.Generator().manual_seed(derived_seed(self.seed, f"order of {task}"))

        def batches() -> Iterator[tuple[Tensor, Tensor]]:
            order = [positions[i] for i in torch.randperm(len(positions), generator=generator).tolist()]
            for images, labels in self.world.batches(order, o.batch_size):
                yield images, _numbered(labels, classes)

        named = model.shared_parameters()
        penalty = None
        if omega is not None and strength:
            anchors = [parameter.detach().clone() for parameter in named.values()]
            omegas = [omega[name] for name in named]
            eta = effective_rate(o.lr, MOMENTUM)
            penalty = DecoupledPenalty(list(named.values()), anchors, omegas, strength, eta=eta)
        torch.manual_seed(derived_seed(self.seed, f"head of {task}"))
        head_epochs = o.head_epochs if model.tasks else 0
        model.add_head(task, len(classes))
        recipe = Recipe(o.epochs, head_epochs, o.lr, o.head_lr, MOMENTUM, 0.0)
        learn(model, task, batches, len(positions), recipe, penalty, None, Observer())

    def measure(self, model: MultiHeadModel, task: str, classes: Group) -> Estimate:
        """Importance for the answers of `task` on the measuring images of `classes`."""
        positions = self.world.positions(classes, MEASURE)
        return estimate_importance(model, (Images(x) for x, _ in self.world.batches(positions)), (task,), Measure())

    def answers(self, model: MultiHeadModel, task: str, classes: Group, part: int) -> tuple[Tensor, Tensor]:
        """Outputs [N, outputs] and classes [N] of a part of the images of `classes`."""
        found = []
        with evaluating(model), torch.inference_mode():
            for images, labels in self.world.batches(self.world.positions(classes, part), 256):
                found.append((model(images, (task,))[0], labels))
        return torch.cat([outputs for outputs, _ in found]), torch.cat([labels for _, labels in found])


def main() -> None:
    """Run every seed, and print what was lost at each lambda and how the omegas compare."""
    options = _options()
    with tempfile.TemporaryDirectory() as temporary:
        if not options.data:
            digits = write_digit_tasks(Path(temporary), {"digits": tuple("0123456789")})["digits"]
            options.data, options.channels = [digits.train, digits.test], 1
        shares = [options.seeds[start :: options.jobs] for start in range(options.jobs)]
        if options.jobs == 1:
            runs = _seeds(options, options.seeds)
        else:
            with ProcessPoolExecutor(options.jobs) as pool:
                runs = [run for found in pool.map(_seeds, [options] * options.jobs, shares) for run in found]
    result: dict[str, object] = {}
    for heads in options.heads:
        chosen = [run for run in runs if run.heads == heads]
        result[heads] = {"means": _print_runs(heads, chosen), "kept": _print_comparison(chosen, options.strengths)}
    if options.json:
        left_out = ("checkpoint", "data", "json", "jobs")
        settings = {name: value for name, value in vars(options).items() if name not in left_out}
        options.json.write_text(json.dumps({"settings": settings, **result}, indent=1) + "\n")


def _seeds(options: argparse.Namespace, seeds: Sequence[int]) -> list[Run]:
    torch.set_num_threads(1)
    reading = ImageOptions(
        checkpoint=options.checkpoint,
        model=options.model,
        model_arg=tuple(options.model_arg),
        image_size=(options.image_size,),
        channels=options.channels,
    )
    spec = parse_model_spec(options.model, reading.model_arg)
    preprocessing = usual_preprocessing(spec, image_size=reading.image_size, channels=options.channels)
    folders = [labelled_folder(folder) for folder in options.data]
    names = sorted({name for folder in folders for name in folder.classes})
    labels = [names.index(folder.classes[label]) for folder in folders for label in folder.labels]
    images = load_image_set([f for folder in folders for f in folder.files], labels, preprocessing, cache="memory")
    return [
        run
        for seed in seeds
        for heads in options.heads
        for run in _one_seed(options, reading, World(images, preprocessing, _parts(options, images, seed)), seed, heads)
    ]


def _parts(options: argparse.Namespace, images: ImageSet, seed: int) -> Parts:
    ends = np.cumsum([0, options.learn, options.measure, options.evaluate]).tolist()
    parts = {}
    for number in range(int(images.labels.max()) + 1):
        own = (images.labels == number).nonzero().flatten().tolist()
        if len(own) < ends[-1]:
            raise SystemExit(f"a class has {len(own)} images, not {ends[-1]}: see --learn, --measure and --evaluate")
        order = [own[index] for index in seeded_order(len(own), (seed, number))]
        parts[number] = [order[start:end] for start, end in pairwise(ends)]
    return parts


def _one_seed(options: argparse.Namespace, reading: ImageOptions, world: World, seed: int, heads: str) -> Iterator[Run]:
    order, size = seeded_order(len(world.parts), seed), options.classes
    if len(order) < (options.old + 1) * size:
        raise SystemExit(f"there are {len(order)} classes, too few: see --old and --classes")
    *old, new = (tuple(order[k * size : (k + 1) * size]) for k in range(options.old + 1))
    used = seeded_order(len(old), (seed, 1))[0]
    student = Student(world, options, seed)
    torch.manual_seed(seed)
    device, observer = torch.device("cpu"), Observer()
    if options.checkpoint:
        model = open_checkpoint(options.checkpoint, reading, device, observer).model
    else:
        model = start_checkpoint(reading, None, device, observer).model
    tasks = _learn_all(student, model, old, heads)
    estimates = [student.measure(model, task, group) for (task, _), group in zip(tasks, old, strict=True)]
    omegas = _omegas(estimates, used, heads)
    if heads == "own" and "elsewhere" in options.omegas:
        others = tuple(number for group in old if group is not old[used] for number in group)
        omegas["elsewhere"] = student.measure(model, tasks[used][0], others).omega
    unit = 1 / (2 * effective_rate(options.lr, MOMENTUM) * _median(omegas["all"]))
    known = [student.answers(model, task, group, EVALUATE) for (task, _), group in zip(tasks, old, strict=True)]
    for name, strength in [("none", 0.0), *((n, s) for n in omegas if n in options.omegas for s in options.strengths)]:
        taught = copy.deepcopy(model)
        student.learn(taught, "new", new, omegas.get(name), strength * unit)
        lost, moved = [], []
        for (task, classes), group, (before, labels) in zip(tasks, old, known, strict=True):
            after, _ = student.answers(taught, task, group, EVALUATE)
            lost.append(_accuracy(before, labels, classes) - _accuracy(after, labels, classes))
            moved.append(100 * float((after - before).square().mean() / before.square().mean()))
        outputs, labels = student.answers(taught, "new", new, LEARN)
        loss = float(F.cross_entropy(outputs, _numbered(labels, new)))
        accuracy = _accuracy(*student.answers(taught, "new", new, EVALUATE), new)
        rest_lost = fmean(lost[:used] + lost[used + 1 :])
        yield Run(heads, seed, name, strength, lost[used], rest_lost, moved[used], accuracy, loss)


def _learn_all(student: Student, model: MultiHeadModel, groups: Sequence[Group], heads: str) -> list[tuple[str, Group]]:
    """Learn all groups; returns the task of each, and the classes of that task's head."""
    if heads == "one":
        every = tuple(number for group in groups for number in group)
        student.learn(model, "all", every)
        return [("all", every)] * len(groups)
    total: Omega | None = None
    for number, group in enumerate(groups):
        student.learn(model, f"pair{number}", group, total, student.options.keep)
        found = student.measure(model, f"pair{number}", group).omega
        total = found if total is None else _weighted([total, found], [1, 1])
    return [(f"pair{number}", group) for number, group in enumerate(groups)]


def _omegas(estimates: Sequence[Estimate], used: int, heads: str) -> dict[str, Omega]:
    parts, count = [estimate.omega for estimate in estimates], len(estimates)
    others = [part for number, part in enumerate(parts) if number != used]
    everything = _weighted(parts, [1 / count] * count)
    file = count if heads == "own" else 1  # all.omega is the sum of successive tasks, or one estimate
    scale = fmean(estimate.mean_value for estimate in estimates) / count
    return {
        "all": everything,
        "used": parts[used],
        "rest": _weighted(others, [1 / len(others)] * len(others)),
        "mixed": _weighted([everything, parts[used]], [file / (file + 4), 4 / (file + 4)]),
        "normalized": _weighted(parts, [scale / estimate.mean_value for estimate in estimates]),
    }


def _weighted(parts: Sequence[Omega], factors: Sequence[float]) -> Omega:
    return {
        name: torch.stack([factor * part[name] for part, factor in zip(parts, factors, strict=True)]).sum(0)
        for name in parts[0]
    }


def _median(omega: Omega) -> float:
    every = torch.cat([values.flatten() for values in omega.values()])
    return float(every[every > 0].median())


def _numbered(labels: Tensor, classes: Group) -> Tensor:
    return torch.tensor([classes.index(label) for label in labels.tolist()])


def _accuracy(outputs: Tensor, labels: Tensor, classes: Group) -> float:
    return 100 * float((outputs.argmax(1) == _numbered(labels, classes)).double().mean())


def _print_runs(heads: str, runs: Sequence[Run]) -> list[dict[str, object]]:
    """Print and return the mean over seeds of every omega at every lambda."""
    seeds, rows = len({run.seed for run in runs}), []
    print(f"\nheads: {heads}; means over {seeds} seeds; lambda as a multiple of the one named for `all`")
    columns = ("used_lost", "rest_lost", "used_moved", "new_accuracy", "new_loss")
    print(f"{'lambda':>8} {'omega':<10} " + " ".join(f"{column:>12}" for column in columns))
    for strength, omega in sorted({(run.strength, run.omega) for run in runs}):
        same = [run for run in runs if (run.strength, run.omega) == (strength, omega)]
        means = {column: round(fmean(getattr(run, column) for run in same), 5) for column in columns}
        rows.append({"lambda": strength, "omega": omega, **means})
        print(f"{strength:>8g} {omega:<10} " + " ".join(f"{mean:12.3f}" for mean in means.values()))
    return rows


def _print_comparison(runs: Sequence[Run], strengths: Sequence[float]) -> dict[str, dict[str, object]]:
    """What each omega keeps more than `all` where the new task is learned equally well, with a number a seed."""
    print("\nkept more than by `all` where the new task is learned equally well (its training loss is the same)")
    found: dict[str, dict[str, object]] = {}
    for omega in dict.fromkeys(run.omega for run in runs if run.omega not in ("none", "all")):
        for quantity, title in QUANTITIES.items():
            differences = [
                round(fmean(each), 4)
                for seed in sorted({run.seed for run in runs})
                if (each := list(_differences([r for r in runs if r.seed == seed], omega, quantity, strengths)))
            ]
            mean, reach = round(fmean(differences), 4), round(_reach(differences), 4)
            found.setdefault(omega, {})[quantity] = {"mean": mean, "reach": reach, "by_seed": differences}
            print(f"{omega:<10} {title:<28} {mean:8.3f} ± {reach:.3f}  ({len(differences)} seeds)")
    return found


def _differences(runs: Sequence[Run], omega: str, quantity: str, strengths: Sequence[float]) -> Iterator[float]:
    """`all` minus `omega`, at every lambda of `all` whose training loss `omega` has between two of its own."""
    curve = sorted((run for run in runs if run.omega in (omega, "none")), key=lambda run: run.new_loss)
    losses = [math.log(run.new_loss) for run in curve]
    for strength in strengths:
        (reference,) = (run for run in runs if run.omega == "all" and run.strength == strength)
        wanted = math.log(reference.new_loss)
        if losses[0] <= wanted <= losses[-1]:
            yield getattr(reference, quantity) - float(
                np.interp(wanted, losses, [getattr(run, quantity) for run in curve])
            )


def _reach(values: Sequence[float]) -> float:
    """Half the width of the 95 % interval of the mean."""
    if len(values) < 2:
        return math.inf
    return T_975[min(len(values) - 1, len(T_975)) - 1] * stdev(values) / math.sqrt(len(values))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, nargs="?", help="plain weights to start from")
    parser.add_argument("--model", default="mascli:mlp")
    parser.add_argument("--model-arg", action="append", default=[])
    parser.add_argument("--image-size", type=int, default=8)
    parser.add_argument("--channels", type=int)
    parser.add_argument("--data", type=Path, nargs="+", default=[], help="folders with one folder a class")
    parser.add_argument("--heads", nargs="+", choices=("own", "one"), default=["own", "one"])
    counts = {
        "classes": (2, "classes in a pair"),
        "old": (4, "pairs that are known before the new one"),
        "learn": (80, "images of a class to learn from"),
        "measure": (40, "... to measure importance on"),
        "evaluate": (54, "... to evaluate on"),
        "epochs": (20, "epochs of each task"),
    }
    for name, (default, text) in counts.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=text)
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--head-lr", type=float, default=0.05)
    parser.add_argument("--head-epochs", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--keep", type=float, default=0.1, help="lambda while the known pairs are learned")
    strengths = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3]
    parser.add_argument("--strengths", type=float, nargs="+", default=strengths, help="multiples of lambda")
    parser.add_argument("--omegas", nargs="+", choices=OMEGAS, default=list(OMEGAS))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(100, 140)))
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.model == "mascli:mlp" and not options.model_arg:
        options.model_arg = ["hidden=64-64"]
    return options


if __name__ == "__main__":
    main()
