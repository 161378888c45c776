"""What networks with unusual uses of their parameters are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Features = Callable[[Any, Tensor], Tensor]


class Network(nn.Module):
    """Features [N, 6] by a function of the network's own members, then a linear head."""

    def __init__(self, features: Features, members: dict[str, Any]) -> None:
        super().__init__()
        for name, member in members.items():
            setattr(self, name, member)
        self.features = features
        self.head = nn.Linear(6, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(self, images))


def network(features: Features, **members: Callable[[], Any]) -> Callable[[], nn.Module]:
    """Makes networks whose `members` are made anew for each."""
    return lambda: Network(features, {name: make() for name, make in members.items()})


def weights(*shape: int) -> Callable[[], nn.Parameter]:
    return lambda: nn.Parameter(0.5 * torch.randn(shape))


def linear(inputs: int, outputs: int = 6, **options: Any) -> Callable[[], nn.Module]:
    return lambda: nn.Linear(inputs, outputs, **options)


def rows(images: Tensor) -> Tensor:
    """The rows of each image as a sequence: [N, 8, 24]."""
    return images.permute(0, 2, 1, 3).flatten(2)


def quantised(images: Tensor, levels: int = 10) -> Tensor:
    return (images.flatten(1) * 2 + levels // 2).long().clamp(0, levels - 1)  # [N, 192]


class Cubed(torch.autograd.Function):
    """x w^3, with a backward pass of its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return x * weight**3

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        return gradient * weight**3, (gradient * 3 * weight**2 * x).sum_to_size(weight.shape)


class SumAndProduct(torch.autograd.Function):
    """x + w and x w, from one operation."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(x, weight)
        return x + weight, x * weight

    @staticmethod
    def backward(ctx: Any, one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        return one + other * weight, (one + other * x).sum_to_size(weight.shape)


class Reversed(torch.autograd.Function):
    """The identity, whose gradient is turned round: what comes before it learns the opposite."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return -2 * gradient


CONV: dict[str, Callable[[], nn.Module]] = {"conv": lambda: nn.Conv2d(3, 6, 3)}
ROW: dict[str, Callable[[], nn.Module]] = {"row": linear(24)}


def with_hook(layer: nn.Linear) -> nn.Linear:
    """A layer whose weight's gradient is doubled by a hook."""
    layer.weight.register_hook(lambda gradient: 2 * gradient)
    return layer
