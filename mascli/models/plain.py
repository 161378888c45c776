"""From a model with many heads back to the plain network of one task, as other programs know it."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from mascli.errors import UnsupportedModelError, listed
from mascli.models.classifier import replace_everywhere
from mascli.models.heads import MultiHeadModel, final_outputs
from mascli.models.kept_tensors import forgetting
from mascli.models.zoo import build_network
from mascli.records import LogitsAt, ModelSpec, Preprocessing

WITH_AUXILIARY_HEADS = ("googlenet", "inception_v3")  # whose size is that of the classifier
# what a `python:` factory may call its number of classes
CLASS_ARGUMENTS = ("num_classes", "n_classes", "classes")


@dataclass(frozen=True)
class Plain:
    """The plain network of a task: how it is built, and the state that it loads strictly.

    `logits` is None where the network's outputs are the logits; `left_out` are tensors of auxiliary
    heads that do not fit its number of classes.
    """

    spec: ModelSpec
    state: dict[str, Tensor]
    logits: LogitsAt | None
    left_out: tuple[str, ...]


def plain_network(model: MultiHeadModel, task: str) -> nn.Module:
    """A copy of the network with what `task` has of its own, and its head in the classifier's place."""
    model.use(task)
    network = copy.deepcopy(model.network)
    _replace_classifier(network, model.classifier, model.head(task))
    return network.eval()


def plain_state(
    model: MultiHeadModel, task: str, classes: int, spec: ModelSpec, preprocessing: Preprocessing, images: Tensor
) -> Plain:
    """The state of `task` for the network that `spec` builds with as many classes, tried on `images` [N, C, H, W].

    Raises:
        UnsupportedModelError: the network of that many classes has other tensors, or answers otherwise.
    """
    network = plain_network(model, task)
    state = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
    problems = []
    for candidate in _ways_to_build(spec, classes):
        try:
            target = build_network(candidate, preprocessing).float()
        except UnsupportedModelError:
            if candidate.source == "python" and candidate is not spec:
                continue  # its factory has no such argument
            raise
        if candidate is spec:  # nobody knows how its factory is told the number of classes
            _replace_classifier(target, model.classifier, model.head(task))
        kept = _without_auxiliary_heads(state, candidate, target)
        problems.append(_misfit(kept, target.state_dict()))
        if problems[-1]:
            continue
        target.load_state_dict(kept, strict=True)
        logits = None if model.is_imported(task) else _logits_at(network, model.classifier, images)
        _check_answers(model, task, target.eval().to(images.device), logits, images)
        return Plain(candidate, kept, logits, tuple(name for name in state if name not in kept))
    raise UnsupportedModelError(
        f"{spec} with {classes} classes is another network than this checkpoint's: {problems[0]}; it cannot be exported"
    )


def _ways_to_build(spec: ModelSpec, classes: int) -> list[ModelSpec]:
    if spec.source == "python":  # whose arguments nobody knows: the names are tried, those given first
        names = sorted(CLASS_ARGUMENTS, key=lambda name: name not in spec.arguments)
        return [*(replace(spec, arguments={**spec.arguments, name: classes}) for name in names), spec]
    arguments: dict[str, Any] = {**spec.arguments, "num_classes": classes}
    ways = [replace(spec, arguments=arguments)]
    if spec.source == "torchvision" and spec.name in WITH_AUXILIARY_HEADS:
        ways.append(replace(spec, arguments={**arguments, "aux_logits": False}))
    return ways


def _replace_classifier(network: nn.Module, path: str, head: nn.Module) -> None:
    replace_everywhere(network, network.get_submodule(path), copy.deepcopy(head))


def _without_auxiliary_heads(state: dict[str, Tensor], spec: ModelSpec, target: nn.Module) -> dict[str, Tensor]:
    """`state`, without what a network that is told to have no auxiliary heads has no place for."""
    own = target.state_dict() if spec.arguments.get("aux_logits") is False else state
    return {name: tensor for name, tensor in state.items() if name in own}


def _misfit(state: dict[str, Tensor], own: dict[str, Tensor]) -> str:
    """What keeps a network of the tensors `own` from loading `state` strictly; empty if nothing does."""
    lacking = [name for name in own if name not in state]
    foreign = [name for name in state if name not in own]
    other = [name for name in own if name in state and own[name].shape != state[name].shape]
    problems = [f"it has no {listed(lacking, 3)}"] * bool(lacking)
    problems += [f"{listed(foreign, 3)} belongs nowhere"] * bool(foreign)
    problems += [f"{listed(other, 3)} is of another shape"] * bool(other)
    return ", ".join(problems)


def _logits_at(network: nn.Module, classifier: str, images: Tensor) -> LogitsAt | None:
    """Where the logits are, if what follows the classifier changes the network's outputs.

    The classifier's output is replaced by noise of both signs: whatever follows shows in that.
    """
    noise: list[Tensor] = []

    def answer_noise(layer: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        noise.append(torch.randn(output.shape, generator=generator).to(output))
        return noise[0].clone()

    layer = network.get_submodule(classifier)
    class_dimension = -1 if isinstance(layer, nn.Linear) else 1
    hook = layer.register_forward_hook(answer_noise)
    try:
        with torch.no_grad(), forgetting(network):
            outputs = final_outputs(network(images))
    except Exception:  # whatever follows may not fit another number of classes
        outputs = None
    finally:
        hook.remove()
    positions = tuple(d for d in range(1, noise[0].dim()) if d != class_dimension % noise[0].dim())
    logits = noise[0].mean(positions) if positions else noise[0]
    same = outputs is not None and outputs.shape == logits.shape and torch.allclose(outputs, logits, 1e-4, 1e-5)
    return None if same else LogitsAt(classifier, positions)


def _check_answers(
    model: MultiHeadModel, task: str, network: nn.Module, logits: LogitsAt | None, images: Tensor
) -> None:
    """Check that a network that has loaded the state answers as `model` does."""
    with torch.no_grad(), forgetting(network):
        (expected,) = model(images, (task,))
        found = logits_of(network, logits, images)
    close = found.shape == expected.shape and torch.allclose(found, expected, 1e-3, 1e-3 * float(expected.abs().max()))
    if not close:
        raise UnsupportedModelError(
            "the plain network answers otherwise than the checkpoint does, so that nothing was written; does it "
            "keep something that is in no state dict?"
        )


def logits_of(network: nn.Module, logits: LogitsAt | None, images: Tensor) -> Tensor:
    """The logits [N, classes] of a plain network: its outputs, or what `logits` says."""
    if logits is None:
        return final_outputs(network(images))
    found: list[Tensor] = []
    hook = network.get_submodule(logits.layer).register_forward_hook(
        lambda layer, inputs, output: found.append(output.clone())
    )
    try:
        network(images)
    except Exception:  # of what follows, as above
        if not found:
            raise
    finally:
        hook.remove()
    return found[0].mean(logits.mean_over) if logits.mean_over else found[0]


def python_lines(
    spec: ModelSpec, preprocessing: Preprocessing, classes: int, file: str, pickled: bool
) -> tuple[str, ...]:
    """The lines of Python that build the network of `spec` and load its state from `file`."""
    given = dict(spec.arguments)
    if spec.source == "torchvision":
        if spec.name in WITH_AUXILIARY_HEADS:
            given.setdefault("init_weights", False)  # slow and, left out, a warning
        start, call = "import torchvision", f"torchvision.models.{spec.name}"
    elif spec.source == "timm":
        start, call = "import timm", "timm.create_model"
    elif spec.source == "mascli":
        network = {"mlp": "MLP", "convnet": "ConvNet"}[spec.name]
        start, call = f"from mascli.models.small import {network}", network
    else:
        module, _, call = spec.name.partition(":")
        start = f"from {module} import {call}"
    words = [repr(spec.name)] if spec.source == "timm" else []
    if spec.source == "mascli":
        height, width = preprocessing.size
        inputs = preprocessing.channels * (height * width if spec.name == "mlp" else 1)
        words, given = [str(inputs), str(classes)], {k: v for k, v in given.items() if k != "num_classes"}
    words += [f"{name}={value!r}" for name, value in given.items()]
    told = any(given.get(name) == classes for name in CLASS_ARGUMENTS)
    hint = f"  # has to be built with {classes} classes" if spec.source == "python" and not told else ""
    load = f"torch.load({file!r}, weights_only=True)" if pickled else f"load_file({file!r})"
    return (
        start,
        "import torch" if pickled else "from safetensors.torch import load_file",
        f"model = {call}({', '.join(words)}).eval()" + hint,
        f"model.load_state_dict({load}, strict=True)",
    )
