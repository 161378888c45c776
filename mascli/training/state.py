"""Everything that the next step of a training depends on, as tensors and plain facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class TrainingState:
    """A moment of a training: tensors by name (those in use, to be copied by who keeps them) and JSON facts."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


def model_tensors(model: nn.Module) -> dict[str, Tensor]:
    """All parameters and buffers of a model by name, a tied one once: those in use."""
    return {**{name: p.detach() for name, p in model.named_parameters()}, **dict(model.named_buffers())}


def load_tensors(targets: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    """Copy each of `values` into the target that has its name; both have the same names.

    Raises:
        KeyError: a name is missing.
        RuntimeError: another shape.
    """
    with torch.no_grad():
        for name, target in targets.items():
            target.copy_(values[name])


def copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies of tensors, by name."""
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under names with `prefix` in front."""
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def within(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names start with `prefix`, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def random_state(device: torch.device) -> dict[str, Tensor]:
    """The states of torch's own generators, of which dropout draws: the CPU's and the device's."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        states["mps"] = torch.mps.get_rng_state()
    return states


def load_random_state(states: Mapping[str, Tensor], device: torch.device) -> None:
    """Put torch's own generators where they were; that of a device of another kind stays as it is."""
    torch.set_rng_state(states["cpu"].cpu())
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"].cpu(), device)
    elif device.type == "mps" and "mps" in states:
        torch.mps.set_rng_state(states["mps"].cpu())
