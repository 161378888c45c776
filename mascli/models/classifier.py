"""Finds, reads and replaces the layer of a network that turns features into classes."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from mascli.errors import UnsupportedModelError, printable
from mascli.models.kept_tensors import forgetting


def find_classifier(network: nn.Module, example: Tensor) -> str:
    """The path of the classifier: what timm's `get_classifier` says, else the last layer to run.

    "Last to run" counts modules without children that have parameters, in one evaluation pass of
    `example`.

    Raises:
        UnsupportedModelError: the network cannot run on such an image, or has no parameters.
    """
    paths = {module: path for path, module in network.named_modules()}
    get_classifier = getattr(network, "get_classifier", None)
    own = get_classifier() if callable(get_classifier) else None
    if isinstance(own, nn.Module) and own in paths:
        return str(paths[own])
    order: list[str] = []
    hooks = [
        module.register_forward_hook(lambda module, *_: order.append(paths[module]))
        for module in paths
        if next(module.children(), None) is None and next(module.parameters(), None) is not None
    ]
    try:
        probe(network, example)
    finally:
        for hook in hooks:
            hook.remove()
    if not order:
        raise UnsupportedModelError("the network runs no layer that has parameters: it has no classifier to replace")
    return order[-1]


def probe(network: nn.Module, example: Tensor, *arguments: Any) -> Any:
    """The output of `network` in eval mode for `example`, images it has to be able to process.

    Raises:
        UnsupportedModelError: it cannot, with the reason that the network gives.
    """
    mode = network.training
    network.eval()
    try:
        with torch.no_grad(), forgetting(network):
            return network(example, *arguments)
    except Exception as error:  # whatever a network may raise
        channels, height, width = example.shape[1:]
        reason = printable(str(error).splitlines()[0]) if str(error) else type(error).__name__
        raise UnsupportedModelError(
            f"the network cannot process images of {height}x{width} pixels and {channels} channels ({reason}); "
            "see --image-size and --channels"
        ) from error
    finally:
        network.train(mode)


def read_classifier(network: nn.Module, path: str) -> nn.Linear | nn.Conv2d:
    """The layer at `path`, which must be a Linear or an ungrouped Conv2d.

    Raises:
        UnsupportedModelError: there is none, or it is of another type.
    """
    try:
        layer = network.get_submodule(path)
    except AttributeError:
        layer = None
    if isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1):
        if path:
            return layer
        raise UnsupportedModelError("the whole network is its classifier: there is nothing to share between tasks")
    found = "nothing" if layer is None else f"a {type(layer).__name__}"
    plain = [name for name, module in network.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    last = f" (the last such layer is {plain[-1]})" if plain else ""
    raise UnsupportedModelError(
        f"at '{printable(path)}' there is {found}; name the Linear or Conv2d layer that heads replace "
        f"with --classifier{last}"
    )


def classifier_outputs(layer: nn.Module) -> int:
    """The number of classes that a classifier layer tells apart."""
    outputs = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
    return int(cast(int, outputs))


def check_classifier_runs_once(network: nn.Module, layer: nn.Module, example: Tensor) -> None:
    """Check that one evaluation pass of `example` calls `layer` once, as heads in its place need it.

    Raises:
        UnsupportedModelError: it is not called, or more than once, or the network cannot run.
    """
    calls: list[int] = []
    hook = layer.register_forward_hook(lambda *_: calls.append(1))
    try:
        probe(network, example)
    finally:
        hook.remove()
    if len(calls) != 1:
        times = "does not run" if not calls else f"runs {len(calls)} times"
        raise UnsupportedModelError(
            f"the classifier layer {times} in an evaluation pass; name one that runs once with --classifier"
        )


def replace_everywhere(network: nn.Module, layer: nn.Module, replacement: nn.Module) -> list[str]:
    """Put `replacement` wherever `layer` is part of `network`; returns all of its paths."""
    paths = [path for path, module in network.named_modules(remove_duplicate=False) if module is layer]
    for path in paths:
        parent, _, name = path.rpartition(".")
        setattr(network.get_submodule(parent), name, replacement)
    return paths
