"""The ways to get an omega, each as a function of a batch: the engine's, the obvious ones, other libraries'.

Each maker gets a `Subject` and gives a function from pixels [N, 3, H, W] to what it computed: the sum
over these images of |gradient| by parameter name (ordinary: nothing to compare). Those that hold the
gradient of every image take as many images at once as fit into a given number of bytes. In-place
activations are switched off for libraries whose hooks do not bear them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from engine_models import TASKS, Subject
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from mascli.importance.engine import Estimator, estimate_importance
from mascli.importance.images import Images
from mascli.importance.objective import Measure

Sums = dict[str, Tensor]
Run = Callable[[Tensor], Sums]
Maker = Callable[[Subject, int], Run]


@dataclass(frozen=True)
class Method:
    """One way.

    Args:
        exact: whether it claims the absolute value of each image's gradient.
        checked: what gives its sums where what is timed returns none.
    """

    make: Maker
    exact: bool = True
    note: str = ""
    checked: Callable[[Subject, Tensor], Sums] | None = None


def ordinary(subject: Subject, _: int) -> Run:
    """One forward and backward pass of the batch: the gradient of all parameters, the classifier's too."""
    network = subject.network()
    parameters = list(network.parameters())

    def run(pixels: Tensor) -> Sums:
        torch.autograd.grad(network(pixels).square().sum(), parameters, allow_unused=True)
        return {}

    return run


def engine(subject: Subject, _: int) -> Run:
    """What `mascli estimate` does for each batch: `Estimator.add`."""
    return estimated(opened_estimator(subject))


def opened_estimator(subject: Subject) -> Estimator:
    """An estimator with its plan made, in its context for the rest of the process."""
    estimator = Estimator(subject.multi_head(), TASKS, Measure()).__enter__()
    estimator.prepare(Images(subject.pixels))
    return estimator


def estimated(estimator: Estimator) -> Run:
    """What one batch adds to an estimator that has none yet."""

    def run(pixels: Tensor) -> Sums:
        estimator.add(Images(pixels))
        return {}

    return run


def engine_sums(subject: Subject, pixels: Tensor) -> Sums:
    """The engine's sums over the images of one batch."""
    found = estimate_importance(subject.multi_head(), [Images(pixels)], TASKS, Measure())
    return {name: omega * found.images for name, omega in found.omega.items()}


def loop(subject: Subject, _: int) -> Run:
    """One image, one forward and backward pass, absolute value, add."""
    network = subject.network()
    parameters = dict(network.named_parameters())
    wanted = [parameters[name] for name in subject.shared]

    def run(pixels: Tensor) -> Sums:
        sums = {name: torch.zeros_like(parameters[name]) for name in subject.shared}
        for image in pixels.split(1):
            found = torch.autograd.grad(network(image).square().sum(), wanted, allow_unused=True)
            for total, gradient in zip(sums.values(), found, strict=True):
                if gradient is not None:
                    total += gradient.abs_()
        return sums

    return run


def vmap(subject: Subject, memory: int) -> Run:
    """`torch.func.vmap(grad)` over the images."""
    network = subject.network()
    parameters = {name: p.detach() for name, p in network.named_parameters()}
    wanted = {name: parameters[name] for name in subject.shared}
    rest = {name: p for name, p in parameters.items() if name not in wanted} | dict(network.named_buffers())

    def value(values: Sums, image: Tensor) -> Tensor:
        output: Tensor = torch.func.functional_call(network, {**rest, **values}, (image[None],))
        return output.square().sum()

    each = torch.func.vmap(torch.func.grad(value), in_dims=(None, 0))

    def run(pixels: Tensor) -> Sums:
        sums = {name: torch.zeros_like(p) for name, p in wanted.items()}
        for part in pixels.split(_at_once(subject.omega_bytes, memory)):
            for name, gradients in each(wanted, part).items():
                sums[name] += gradients.abs_().sum(0)
        return sums

    return run


def backpack(subject: Subject, memory: int) -> Run:
    """BackPACK's `BatchGrad`, reduced module by module in its extension hook, as its documentation advises.

    Networks that add in place go through its converter, as it asks for residual networks.
    """
    from backpack import backpack as running
    from backpack import extend
    from backpack.extensions import BatchGrad

    model = extend(_for_hooks(subject))
    try:
        model(subject.pixels[:1])
    except RuntimeError:  # the output of a module with a hook is changed in place
        model = extend(_for_hooks(subject), use_converter=True).eval()
    names = {parameter: name for name, parameter in model.named_parameters()}
    largest = 4 * max(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)

    def run(pixels: Tensor) -> Sums:
        sums: Sums = {}

        def reduce(module: nn.Module) -> None:
            for parameter in module.parameters(recurse=False):
                if hasattr(parameter, "grad_batch"):
                    part = parameter.grad_batch.abs_().sum(0)
                    name = names[parameter]
                    sums[name] = sums[name].add_(part) if name in sums else part
                    del parameter.grad_batch

        for part in pixels.split(_at_once(largest, memory)):
            with warnings.catch_warnings(), running(BatchGrad(), extension_hook=reduce):
                warnings.simplefilter("ignore")
                model(part).square().sum().backward()
            model.zero_grad()
        return _complete(sums, subject)

    return run


def opacus(subject: Subject, memory: int) -> Run:
    """Opacus's `GradSampleModule`. It only looks at modules in train mode, so dropout alone is switched off."""
    from opacus.grad_sample import GradSampleModule

    model = _for_hooks(subject)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrapped = GradSampleModule(model.train(), loss_reduction="sum", strict=True)
    for module in model.modules():
        if isinstance(module, _DropoutNd):
            module.eval()
    names = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}

    def run(pixels: Tensor) -> Sums:
        sums = {name: torch.zeros_like(parameter) for name, parameter in names.items()}
        for part in pixels.split(_at_once(subject.omega_bytes, memory)):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                wrapped(part).square().sum().backward()
            for name, parameter in names.items():
                sums[name] += parameter.grad_sample.abs_().sum(0)
                parameter.grad = parameter.grad_sample = None
        return sums

    return run


def avalanche(subject: Subject, _: int) -> Run:
    """The importance that Avalanche's `MASPlugin` computes, by its own function, for one batch."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from avalanche.training.plugins.mas import MASPlugin

    model = _for_hooks(subject)
    plugin = MASPlugin()

    def run(pixels: Tensor) -> Sums:
        labels = torch.zeros(len(pixels), dtype=torch.int64)
        strategy: Any = SimpleNamespace(
            model=model,
            experience=SimpleNamespace(dataset=torch.utils.data.TensorDataset(pixels, labels, labels)),
            train_mb_size=len(pixels),
            device=pixels.device,
            optimizer=SimpleNamespace(zero_grad=model.zero_grad),
        )
        return {name: found.data * len(pixels) for name, found in plugin._get_importance(strategy).items()}

    return run


METHODS = {
    "ordinary": Method(ordinary, note="forward + backward"),
    "exact omega": Method(engine, note="Estimator.add", checked=engine_sums),
    "loop": Method(loop, note="batches of one image"),
    "vmap": Method(vmap, note="torch.func.vmap(grad)"),
    "backpack": Method(backpack, note="BatchGrad"),
    "opacus": Method(opacus, note="GradSampleModule"),
    "avalanche": Method(avalanche, exact=False, note="not per image: |sum over the batch|, in train mode"),
}
OWN = ("ordinary", "exact omega")
PACKAGES = {"backpack": "backpack-for-pytorch", "opacus": "opacus", "avalanche": "avalanche-lib"}


def versions() -> dict[str, str]:
    """The versions of the other libraries that are installed."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name, package in PACKAGES.items():
        try:
            found[name] = version(package)
        except PackageNotFoundError:
            continue
    return found


def refusal(error: Exception) -> str:
    """Why a method cannot be measured, in a few words."""
    if isinstance(error, ModuleNotFoundError):
        return f"{error.name} is not installed"
    if isinstance(error, NotImplementedError) and "buffers" in str(error):
        return "refuses layers with buffers (BatchNorm)"
    text = " ".join(str(error).split())
    if isinstance(error, LookupError):
        return text
    return f"{type(error).__name__}: {text[:160]}"


def _complete(sums: Sums, subject: Subject) -> Sums:
    missing = [name for name in subject.shared if name not in sums]
    if missing:
        raise LookupError(f"gives nothing for {len(missing)} of {len(subject.shared)} parameters, such as {missing[0]}")
    return sums


def _for_hooks(subject: Subject) -> nn.Module:
    """A network for libraries that hang hooks into it, where only what omega is of is trained."""
    model = subject.network()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in subject.shared)
    for module in model.modules():
        if getattr(module, "inplace", False) is True:
            module.inplace = False  # type: ignore[assignment]
    return model


def _at_once(bytes_an_image: int, memory: int) -> int:
    return max(1, memory // bytes_an_image)
