"""Networks and layer configurations that importance is tested on."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class TwoPositions(nn.Module):
    """A linear layer on a sequence of rows, then its mean."""

    def __init__(self) -> None:
        super().__init__()
        self.row = nn.Linear(3 * 8, 6)
        self.head = nn.Linear(6, 4)

    def forward(self, images: Tensor) -> Tensor:
        rows = images.permute(0, 2, 1, 3).flatten(2)  # [N, H, C * W]
        return self.head(torch.tanh(self.row(rows)).mean(1))


class UsedTwice(nn.Module):
    """The same convolution applied twice in one pass."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.head = nn.Linear(3, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(torch.relu(self.conv(torch.sin(self.conv(images)))).mean((2, 3)))


class Overwritten(nn.Module):
    """The input of a layer is overwritten in place after the layer has seen it (and padded a copy of it)."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 5, 3)
        self.second = nn.Conv2d(5, 5, 3, padding=1, padding_mode="circular")
        self.head = nn.Linear(5, 4)

    def forward(self, images: Tensor) -> Tensor:
        x = self.first(images) + 0.0
        y = self.second(x)
        return self.head((y + x.mul_(0.5).relu_()).mean((2, 3)))


class TiedWeights(nn.Module):
    """Two layers that share one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(3 * 8 * 8, 3 * 8 * 8, bias=False)
        self.b = nn.Linear(3 * 8 * 8, 3 * 8 * 8, bias=False)
        self.b.weight = self.a.weight
        self.head = nn.Linear(3 * 8 * 8, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(torch.tanh(self.b(torch.tanh(self.a(images.flatten(1))))))


class BareParameter(nn.Module):
    """A parameter that belongs to no layer, a layer norm, and a weight used without calling its layer."""

    def __init__(self) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.randn(1, 3, 8, 8))
        self.norm = nn.LayerNorm(8)
        self.silent = nn.Linear(8, 8)
        self.head = nn.Linear(3 * 8 * 8, 4)

    def forward(self, images: Tensor) -> Tensor:
        x = self.norm(images + self.offset) @ self.silent.weight.T
        return self.head(x.flatten(1))


class Scaled(nn.Linear):
    """A subclass that computes something else than its parent: a rule for Linear would be wrong."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) * 3 + input.sum(-1, keepdim=True)


class UnusedLayer(nn.Module):
    """A layer that takes no part in the evaluation pass."""

    def __init__(self) -> None:
        super().__init__()
        self.used = nn.Conv2d(3, 4, 3)
        self.auxiliary = nn.Linear(4, 4)
        self.head = nn.Linear(4, 4)

    def forward(self, images: Tensor) -> Tensor:
        x = self.used(images).relu().mean((2, 3))
        if self.training:
            x = x + self.auxiliary(x)
        return self.head(x)


class AfterTheClassifier(nn.Module):
    """As SqueezeNet: the classifier is a convolution, and a ReLU and pooling follow it."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(inplace=True))
        self.classifier = nn.Sequential(
            nn.Dropout(0.5), nn.Conv2d(6, 4, 1), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1)
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.features(images)).flatten(1)


def _around(layer: Callable[[], nn.Module], channels: int = 6) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(layer(), nn.Tanh(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * channels, 4))


def _batch_norm(**options: object) -> nn.Module:
    norm = nn.BatchNorm2d(6, **options)  # type: ignore[arg-type]
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    return nn.Sequential(nn.Conv2d(3, 6, 3), norm, nn.ReLU(inplace=True))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "linear on vectors": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(192, 7), nn.Sigmoid(), nn.Linear(7, 5, bias=False), nn.ReLU(), nn.Linear(5, 4)
    ),
    "linear on positions": TwoPositions,
    "conv": _around(lambda: nn.Conv2d(3, 6, 3)),
    "conv with stride, padding, dilation": _around(lambda: nn.Conv2d(3, 6, (3, 2), (2, 1), (1, 2), (1, 2))),
    "conv in groups without bias": _around(lambda: nn.Conv2d(3, 6, 3, groups=3, bias=False)),
    "conv, same padding of an even kernel": _around(lambda: nn.Conv2d(3, 6, 4, padding="same")),
    "conv, valid padding": _around(lambda: nn.Conv2d(3, 6, 4, padding="valid")),
    "conv, circular padding": _around(lambda: nn.Conv2d(3, 6, 3, padding=2, padding_mode="circular")),
    "conv, reflected padding": _around(lambda: nn.Conv2d(3, 6, 5, padding=(2, 1), padding_mode="reflect")),
    "conv, replicated padding": _around(lambda: nn.Conv2d(3, 6, 3, padding=1, padding_mode="replicate", stride=2)),
    "batch norm": _around(lambda: _batch_norm()),
    "batch norm without parameters": _around(lambda: _batch_norm(affine=False)),
    "used twice": UsedTwice,
    "input overwritten": Overwritten,
    "tied weights": TiedWeights,
    "bare parameter": BareParameter,
    "subclass of linear": lambda: nn.Sequential(nn.Flatten(), Scaled(192, 5), nn.ReLU(), nn.Linear(5, 4)),
    "unused layer": UnusedLayer,
    "after the classifier": AfterTheClassifier,
    "transformer": lambda: nn.Sequential(
        nn.Flatten(2), nn.TransformerEncoderLayer(64, 4, 32, batch_first=True), nn.Flatten(), nn.Linear(192, 4)
    ),
    "transposed convolution": _around(lambda: nn.ConvTranspose2d(3, 6, 3, stride=2)),
    "group norm": _around(lambda: nn.Sequential(nn.Conv2d(3, 6, 3), nn.GroupNorm(3, 6))),
}


class Routed(nn.Module):
    """Experts that run for some images only: bright ones go to the second."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList(nn.Linear(192, 6) for _ in range(2))
        self.head = nn.Linear(6, 4)

    def forward(self, images: Tensor) -> Tensor:
        x, bright = images.flatten(1), images.mean((1, 2, 3)) > 5
        features = x.new_zeros(len(x), 6)
        for expert, mine in zip(self.experts, (~bright, bright), strict=True):
            if mine.any():
                features = features.index_put((mine,), expert(x[mine]).tanh())
        return self.head(features)


class Chunked(nn.Module):
    """A layer that is called for four images at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(192, 6)
        self.head = nn.Linear(6, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(torch.cat([self.body(part.flatten(1)).tanh() for part in images.split(4)]))


class OverwrittenLater(nn.Module):
    """Overwrites the padded input of a layer, but only in batches of more than four images."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, padding=1, padding_mode="circular")
        self.head = nn.Linear(5, 4)

    def forward(self, images: Tensor) -> Tensor:
        x = images * 1.0
        y = self.conv(x).mean((2, 3))
        if len(images) > 4:
            x.zero_()
        return self.head(y)


class TimeFirst(nn.Module):
    """A layer that gets [2 halves, N, features]: its first dimension is not that of the images."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(96, 6)
        self.head = nn.Linear(6, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.body(images.reshape(len(images), 2, 96).transpose(0, 1)).tanh().mean(0))


class FrozenTrunk(nn.Module):
    """A layer that its maker has frozen, and a parameter of whole numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Linear(192, 6).requires_grad_(False)
        self.free = nn.Linear(6, 6)
        self.shift = nn.Parameter(torch.tensor([1, 2]), requires_grad=False)
        self.head = nn.Linear(6, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.free(self.frozen(images.flatten(1)).tanh()).tanh() + self.shift.sum())
