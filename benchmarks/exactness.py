"""Compare the importance of whole architectures by rules with the definition, and write docs/architectures.md.

    python benchmarks/exactness.py torchvision:resnet18 timm:vit_tiny_patch16_224
    python benchmarks/exactness.py --all [--again] [--dtype float64] [--size 64] [--memory 8]

`--all` takes every classification model of torchvision and the list in benchmarks/architectures.txt, and leaves out
what the table has already, unless `--again`. Each model runs in a process of its own, with random weights, and the
table is written after each.

A network is compared as a user has it, but for three things: weights that are all the same (of norms, of fresh heads)
are moved apart, since they hide what they multiply; batch norms take the statistics of a few random images; and of more
than 100 million parameters, repeated blocks are left out, which the table says.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn

from mascli.importance.engine import estimate_importance
from mascli.importance.images import Images
from mascli.importance.objective import Measure, squared_l2
from mascli.importance.reference import with_company
from mascli.models.heads import MultiHeadModel
from mascli.models.zoo import build_network
from mascli.records import ModelSpec, Preprocessing

HERE = Path(__file__).parent
LIST = HERE / "architectures.txt"
RESULTS = HERE / "results" / "exactness.json"
TABLE = HERE.parent / "docs" / "architectures.md"

SIZE, IMAGES, CLASSES = 64, 2, 5
LARGE = 100_000_000

# A tensor whose largest importance is below this part of the network's largest has a gradient of zero (the key's bias
# in an attention, say), of which only rounding is left: it is compared with the others' size instead of its own.
NOTHING = {torch.float64: 1e-12, torch.float32: 1e-6}


@dataclass(frozen=True)
class Architecture:
    """A network to compare: its spec with arguments, and the size of its images."""

    spec: ModelSpec
    size: int


@dataclass(frozen=True)
class Row:
    """What was found.

    Args:
        tensors: parameters outside the classifier.
        zero: those of them whose gradient is zero but for rounding.
        ways: how many of them each rule is responsible for.
        float64: the largest difference in a tensor, in parts of its largest importance; the worst tensor.
        float32: the sum of the differences in a tensor, in parts of the sum of its importance; the worst tensor.
        rounding: the same between autograd's gradients of images alone and in a batch, both in float32.
        control: the same for |sum of the images' gradients|, which is no importance.
        fallback: why it went one image at a time, if it did.
        failed: why there is no result, if there is none.
    """

    size: int
    shortened: str = ""
    parameters: int = 0
    tensors: int = 0
    zero: int = 0
    ways: dict[str, int] | None = None
    float64: float | None = None
    float32: float | None = None
    rounding: float | None = None
    control: float | None = None
    fallback: str = ""
    missing: tuple[str, ...] = ()
    failed: str = ""


def architectures() -> dict[str, Architecture]:
    """All that `--all` takes, by spec: torchvision's by its own list, others by `architectures.txt`."""
    lines = [line.split() for line in LIST.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    settings = {spec: (int(size), *argument) for spec, size, *argument in lines}
    known = [f"torchvision:{name}" for name in torchvision.models.list_models(module=torchvision.models)]
    return {spec: _architecture(spec, *settings.get(spec, (SIZE,))) for spec in [*known, *settings]}


def _architecture(spec: str, size: int, *argument: str) -> Architecture:
    source, _, name = spec.partition(":")
    return Architecture(ModelSpec(source, name, dict.fromkeys(argument, size)), size)


def measured(architecture: Architecture, dtypes: tuple[str, ...] = ("float64", "float32")) -> Row:
    """Build the network and compare it in each of `dtypes` with the definition in float64."""
    torch.manual_seed(0)
    size = architecture.size
    network = build_network(architecture.spec, Preprocessing((size, size)), classes=CLASSES).eval()
    row = Row(size, shortened(network), sum(parameter.numel() for parameter in network.parameters()))
    pixels = torch.randn(32, 3, size, size)
    enliven(network, pixels)
    bare = [name for name, _ in network.named_parameters()]
    model = MultiHeadModel(network, "", pixels[:IMAGES])
    model.import_head("base")
    names = [name for name in bare if not name.startswith(f"{model.classifier}.")]
    row = replace(row, tensors=len(names))
    for dtype in sorted(dtypes):  # from float32 to float64 the weights stay the same
        row = compared(model.to(getattr(torch, dtype)), pixels[:IMAGES].to(getattr(torch, dtype)), names, row)
    return row


def compared(model: MultiHeadModel, pixels: Tensor, names: list[str], row: Row) -> Row:
    """`row` with what is found in the precision of `pixels`."""
    estimate = estimate_importance(model, [Images(pixels)], ("base",), Measure())
    expected, wrong = definition(model, [part.pixels for part in Images(pixels).split(1)])
    missing = {name for name in names if name not in expected or name not in estimate.omega}
    zero = near_zero(expected)
    row = replace(
        row,
        zero=len(zero),
        ways=estimate.plan.counts(),
        missing=tuple(sorted(missing.union(row.missing))),
        control=relative_l1(wrong, expected, zero),
        fallback=row.fallback or next((f"{why} ({pixels.dtype})" for why in estimate.plan.fallback.values()), ""),
    )
    if pixels.dtype == torch.float64:
        return replace(row, float64=largest_error(estimate.omega, expected, zero))
    alone, batch = expected, definition(model, [pixels])[0]
    same = alone if estimate.plan.fallback else batch
    return replace(row, float32=relative_l1(estimate.omega, same, zero), rounding=relative_l1(batch, alone, zero))


def definition(model: MultiHeadModel, passes: list[Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Importance by one backward pass an image, and what comes out if the absolute value is taken last.

    Args:
        passes: the images of each forward pass.
    """
    parameters = {name: p for name, p in model.shared_parameters().items() if p.requires_grad}
    right = {name: torch.zeros_like(p, requires_grad=False) for name, p in model.shared_parameters().items()}
    wrong, count = {name: torch.zeros_like(value) for name, value in right.items()}, sum(map(len, passes))
    for pixels in passes:
        company = with_company(model, Images(pixels)).pixels  # PyTorch is wrong for some batch norms with one image
        values = squared_l2(model(company, ("base",)))[: len(pixels)]
        for value in values:
            found = torch.autograd.grad(value, list(parameters.values()), allow_unused=True, retain_graph=True)
            for name, gradient in zip(parameters, found, strict=True):
                if gradient is not None:
                    wrong[name] += gradient / count
                    right[name] += gradient.abs() / count
    return right, {name: value.abs_() for name, value in wrong.items()}


def near_zero(expected: dict[str, Tensor]) -> set[str]:
    """The tensors whose gradient is zero but for rounding."""
    highest = max(float(value.max()) for value in expected.values())
    least = {value.dtype: NOTHING[value.dtype] * highest for value in expected.values()}
    return {name for name, value in expected.items() if 0 < float(value.max()) <= least[value.dtype]}


def largest_error(found: dict[str, Tensor], expected: dict[str, Tensor], zero: set[str]) -> float:
    """The largest difference of a number, in parts of the largest in its tensor; the worst tensor."""
    return _worst(found, expected, zero, Tensor.max)


def relative_l1(found: dict[str, Tensor], expected: dict[str, Tensor], zero: set[str]) -> float:
    """The sum of the differences in a tensor, in parts of the sum of its importance; the worst tensor."""
    return _worst(found, expected, zero, Tensor.mean)


def _worst(
    found: dict[str, Tensor], expected: dict[str, Tensor], zero: set[str], size: Callable[[Tensor], Tensor]
) -> float:
    sizes = {name: float(size(value)) for name, value in expected.items()}
    highest, errors = max(sizes.values()), [0.0]
    for name, value in expected.items():
        scale = highest if name in zero else sizes[name]
        difference = float(size((found[name] - value).abs()))
        errors.append(difference / scale if scale else float(difference > 0))
    return max(errors)


@torch.no_grad()
def enliven(network: nn.Module, pixels: Tensor) -> None:
    """Move weights apart that are all the same, and give batch norms the statistics of some images."""
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        if parameter.is_floating_point() and bool((parameter == parameter.flatten()[0]).all()):
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    usual = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    if norms:
        network(pixels)
    for norm, momentum in zip(norms, usual, strict=True):
        norm.eval()
        norm.momentum = momentum


def shortened(network: nn.Module) -> str:
    """Leave out blocks of a network that is too large, and say which; nothing of others."""
    if sum(parameter.numel() for parameter in network.parameters()) <= LARGE:
        return ""
    if isinstance(network, torchvision.models.VGG):
        network.avgpool, network.classifier[0] = nn.AdaptiveAvgPool2d(1), nn.Linear(512, 4096)
        return "maps pooled to 1x1 before the linear layers"
    before = sum(1 for _ in network.modules())
    for container in [m for m in network.modules() if isinstance(m, nn.Sequential | nn.ModuleList)]:
        counts: Counter[object] = Counter()
        for key, block in list(container._modules.items()):
            shapes = (type(block), *(tuple(parameter.shape) for parameter in block.parameters()))
            counts[shapes] += 1
            if len(shapes) > 8 and counts[shapes] > 2:  # blocks, not single layers
                del container._modules[key]
    return "two blocks of a kind" if sum(1 for _ in network.modules()) < before else ""


def _child(architecture: Architecture, dtypes: tuple[str, ...], memory: float, results: SimpleQueue[Row]) -> None:
    limit = int(memory * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    torch.set_num_threads(1)
    try:
        row = measured(architecture, dtypes)
    except Exception as error:
        row = Row(architecture.size, failed=f"{type(error).__name__}: {str(error).splitlines()[0]}")
    results.put(row)


def in_own_process(architecture: Architecture, dtypes: tuple[str, ...], memory: float) -> Row:
    """`measured` in a process with at most `memory` GiB of its own."""
    context = multiprocessing.get_context("fork")  # what is imported need not be again
    results = context.SimpleQueue()
    process = context.Process(target=_child, args=(architecture, dtypes, memory, results))
    process.start()
    process.join()
    return Row(architecture.size, failed="the process was killed") if results.empty() else results.get()


PAGE = """# Architectures that were compared

Importance by the rules against the definition (one image, one backward pass, absolute value, add), for every
classification model of torchvision and a list of timm's, with random weights and {images} random images.
`python benchmarks/exactness.py --all` writes this page; torch {torch}, torchvision {torchvision}, CPU.

- *tensors*: parameters outside the classifier; *zero*: those of them whose gradient is zero but for rounding, as that
  of the bias of an attention's keys, which are compared with the size of the others.
- *by*: how many tensors each rule is responsible for (see [rules](rules.md)).
- *float64*: the largest difference in a tensor in parts of its largest importance, of the worst tensor.
- *float32*: the sum of the differences in a tensor in parts of the sum of its importance, of the worst tensor, against
  autograd's gradient of each image in the same batch.
- *rounding*: the same between autograd's gradients of images in a batch and alone. Layers round differently for another
  number of images, and in a network with random weights a ReLU near 0 then falls on the other side.
- *control*: what *float32* would show for |sum over the images|, which is no importance.
- *one image at a time*: why a model went so, if it did.

| model | images | tensors | zero | by | float64 | float32 | rounding | control | one image at a time |
| --- | --- | ---: | ---: | --- | ---: | ---: | ---: | ---: | --- |
"""


def table(rows: dict[str, Row]) -> str:
    """The page with all rows."""
    versions = {module.__name__: module.__version__.partition("+")[0] for module in (torch, torchvision)}
    lines = [_line(spec, row) for spec, row in sorted(rows.items())]
    return PAGE.format(images=IMAGES, **versions) + "\n".join(lines) + "\n"


def _line(spec: str, row: Row) -> str:
    name = f"{spec}; {row.shortened}" if row.shortened else spec
    if row.failed:
        return f"| {name} | {row.size}x{row.size} | | | {row.failed} | | | | | |"
    ways = ", ".join(f"{way} {count}" for way, count in (row.ways or {}).items())
    numbers = ["" if value is None else f"{value:.0e}" for value in (row.float64, row.float32, row.rounding)]
    left_out = f"not measured: {', '.join(row.missing)}" if row.missing else row.fallback
    control = "" if row.control is None else f"{row.control:.2f}"
    cells = [name, f"{row.size}x{row.size}", f"{row.tensors}", f"{row.zero}", ways, *numbers, control, left_out]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Compare what was asked for, and write results and table after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="such as torchvision:resnet18")
    parser.add_argument("--all", action="store_true", help="all architectures that the table is to have")
    parser.add_argument("--again", action="store_true", help="also what it has already")
    parser.add_argument("--dtype", choices=["float64", "float32", "both"], default="both")
    parser.add_argument("--size", type=int, help=f"pixels of a side (default: {SIZE}, or the model's in the list)")
    parser.add_argument("--memory", type=float, default=8.0, help="GiB that a model may take")
    options = parser.parse_args()
    known = architectures()
    dtypes = ("float64", "float32") if options.dtype == "both" else (options.dtype,)
    rows = {spec: Row(**row) for spec, row in json.loads(RESULTS.read_text()).items()} if RESULTS.exists() else {}
    wanted = [spec for spec in known if options.again or spec not in rows] if options.all else options.models
    for number, spec in enumerate(wanted, start=1):
        chosen = known.get(spec) or _architecture(spec, SIZE)
        if options.size:
            arguments = dict.fromkeys(chosen.spec.arguments, options.size)
            chosen = Architecture(replace(chosen.spec, arguments=arguments), options.size)
        rows[spec] = in_own_process(chosen, dtypes, options.memory)
        print(f"{number}/{len(wanted)} {_line(spec, rows[spec])}", flush=True)
        RESULTS.write_text(json.dumps({name: asdict(row) for name, row in sorted(rows.items())}, indent=1) + "\n")
        TABLE.write_text(table(rows), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
