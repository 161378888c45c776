"""From a model spec to a network with random weights, and to the preprocessing it usually has."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn
from torch.nn.parameter import UninitializedParameter

from mascli.errors import MascliError, UnsupportedModelError, UsageError, closest, listed
from mascli.models.model_code import described, raised_at
from mascli.models.small import MLP, ConvNet
from mascli.models.spec import check_model_spec
from mascli.records import ModelSpec, Preprocessing

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def build_network(spec: ModelSpec, preprocessing: Preprocessing, *, classes: int | None = None) -> nn.Module:
    """The network of `spec`, with random weights and, if given, `classes` outputs.

    Never loads weights and never reaches out: torchvision and timm build the bare architecture.
    Running a `python:` factory takes consent, which the caller has asked for.

    Raises:
        UnsupportedModelError: no such network, or one that its arguments do not fit.
    """
    check_model_spec(spec)
    factory = {"torchvision": _torchvision, "timm": _timm, "mascli": _small, "python": _python}[spec.source]
    arguments = dict(spec.arguments)
    if classes is not None and spec.source != "python":
        arguments["num_classes"] = classes
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of architectures about their own random weights
            network = factory(spec, preprocessing)(**arguments)
    except (MascliError, KeyboardInterrupt):
        raise
    except BaseException as error:  # whatever a factory may raise, SystemExit too
        raise UnsupportedModelError(f"cannot build {spec}: {_why(error)}; see --model-arg") from error
    if not isinstance(network, nn.Module):
        raise UnsupportedModelError(f"{spec} gave a {type(network).__name__}, not a torch.nn.Module")
    lazy = [name for name, value in network.named_parameters() if isinstance(value, UninitializedParameter)]
    if lazy:
        raise UnsupportedModelError(
            f"{spec} leaves the shape of {listed(lazy, 3)} open until it has seen an image: pass one through it before "
            "it is returned"
        )
    return network


def usual_preprocessing(
    spec: ModelSpec,
    *,
    image_size: tuple[int, ...] | None = None,
    resize: str | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    channels: int | None = None,
) -> Preprocessing:
    """The preprocessing that the architecture was published with, changed by what is given.

    A given `image_size` scales the shorter side to that size, without the usual margin.

    Raises:
        UsageError: mean or std without one number a channel.
    """
    usual = {"torchvision": _torchvision_preprocessing, "timm": _timm_preprocessing}.get(spec.source)
    base = usual(spec) if usual else Preprocessing(size=(32, 32), mean=(0.5,) * 3, std=(0.5,) * 3)
    count = channels or base.channels
    fits = count == base.channels
    chosen = Preprocessing(
        size=base.size if image_size is None else (image_size * 2)[:2],
        resize=resize or base.resize,  # type: ignore[arg-type]  # one of the three, checked with the flags
        resize_to=base.resize_to if image_size is None and resize is None else 0,
        interpolation=base.interpolation,
        channels=count,
        mean=mean or (base.mean if fits else (0.5,) * count),
        std=std or (base.std if fits else (0.5,) * count),
    )
    if len(chosen.mean) != count or len(chosen.std) != count:
        raise UsageError(f"--mean and --std take one number a channel: {count} for {count} channels")
    return chosen


def _torchvision(spec: ModelSpec, preprocessing: Preprocessing) -> Callable[..., nn.Module]:
    from torchvision import models

    known = models.list_models(module=models)
    if spec.name not in known:
        raise UnsupportedModelError(
            f"torchvision has no classification model '{spec.name}'{closest(spec.name, known)} "
            f"({len(known)} are known; torchvision.models.list_models() names them)"
        )

    def factory(**arguments: Any) -> nn.Module:
        if spec.name in ("googlenet", "inception_v3"):
            arguments.setdefault("init_weights", True)
        network: nn.Module = models.get_model(spec.name, weights=None, **arguments)
        return network

    return factory


def _torchvision_preprocessing(spec: ModelSpec) -> Preprocessing:
    from torchvision import models

    _torchvision(spec, Preprocessing(size=(1, 1)))  # tells an unknown name
    weights = models.get_model_weights(spec.name)
    entry = getattr(weights, "IMAGENET1K_V1", None) or weights.DEFAULT
    usual = entry.transforms()
    return Preprocessing(
        size=tuple(usual.crop_size * 2)[:2],
        resize_to=usual.resize_size[0],
        interpolation=usual.interpolation.value,
        mean=tuple(usual.mean),
        std=tuple(usual.std),
    )


def _timm(spec: ModelSpec, preprocessing: Preprocessing) -> Callable[..., nn.Module]:
    timm = _import_timm()
    if not timm.is_model(spec.name):
        raise UnsupportedModelError(f"timm has no model '{spec.name}'{closest(spec.name, timm.list_models())}")
    return lambda **arguments: timm.create_model(spec.name, pretrained=False, **arguments)


def _timm_preprocessing(spec: ModelSpec) -> Preprocessing:
    timm = _import_timm()
    _timm(spec, Preprocessing(size=(1, 1)))
    usual = timm.data.resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(spec.name).to_dict())
    channels, height, width = usual["input_size"]
    squash = usual["crop_mode"] == "squash"
    return Preprocessing(
        size=(height, width),
        resize="squash" if squash else "shorter",
        resize_to=0 if squash else int(min(height, width) / usual["crop_pct"]),
        interpolation=usual["interpolation"]
        if usual["interpolation"] in ("bilinear", "nearest", "lanczos")
        else "bicubic",
        channels=channels,
        mean=tuple(usual["mean"]),
        std=tuple(usual["std"]),
    )


def _import_timm() -> Any:
    try:
        import timm
        import timm.data
    except ImportError as error:
        raise UnsupportedModelError("timm models need the package timm: pip install 'mascli[timm]'") from error
    return timm


def _small(spec: ModelSpec, preprocessing: Preprocessing) -> Callable[..., nn.Module]:
    height, width = preprocessing.size

    def factory(num_classes: int = 1, **arguments: Any) -> nn.Module:
        if spec.name == "mlp":
            return MLP(preprocessing.channels * height * width, num_classes, **arguments)
        return ConvNet(preprocessing.channels, num_classes, **arguments)

    return factory


def _python(spec: ModelSpec, preprocessing: Preprocessing) -> Callable[..., nn.Module]:
    module_name, _, factory_name = spec.name.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # where `python -m` would look too
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        itself = error.name and f"{module_name}.".startswith(f"{error.name}.")
        hint = "; run mascli in the folder that holds it, or put that folder on PYTHONPATH" if itself else ""
        raise UnsupportedModelError(f"cannot import {module_name} for {spec}: {_why(error)}{hint}") from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever a module may do when it is loaded
        raise UnsupportedModelError(f"cannot import {module_name} for {spec}: {_why(error)}") from error
    factory = getattr(module, factory_name, None)
    if not callable(factory):
        raise UnsupportedModelError(f"{module_name} has no factory '{factory_name}' for {spec}")
    return factory  # type: ignore[no-any-return]


def _why(error: BaseException) -> str:
    return f"{described(error)}{raised_at(error)}"
