"""Networks in which images are not where they usually are, or weights are made of other parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from odd_networks import CONV, ROW, Features, linear, network, rows, weights
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize
from torch.utils.checkpoint import checkpoint


class Standardised(nn.Module):
    """A parametrization: mean 0 and variance 1 for each output."""

    def forward(self, weight: Tensor) -> Tensor:
        each = weight.flatten(1)
        return ((each - each.mean(1, keepdim=True)) / (each.std(1, keepdim=True) + 1e-5)).view_as(weight)


def _standardised(layer: nn.Module) -> nn.Module:
    return parametrize.register_parametrization(layer, "weight", Standardised())


def _windows(net: Any, images: Tensor) -> Tensor:
    """Four windows an image, one after the other in the first dimension."""
    x = images.unflatten(3, (2, 4)).unflatten(2, (2, 4)).permute(0, 2, 4, 1, 3, 5).flatten(0, 2)  # [N * 4, 3, 4, 4]
    x = torch.tanh(net.norm(net.conv(x)))
    x = torch.tanh(net.mixed(x.mean((2, 3))) + net.bias.repeat(len(images), 1))  # [N * 4, 6]
    return x.unflatten(0, (-1, 4)).mean(1)


def _interleaved(net: Any, images: Tensor) -> Tensor:
    """Two halves, all images' first halves before all second halves: [2 * N, ...]."""
    x = torch.cat(images.chunk(2, 2))
    x = torch.tanh(net.norm(net.conv(x)))
    x = net.body(x.mean((2, 3)))
    return torch.tanh(x).unflatten(0, (2, -1)).mean(0)


def _between(net: Any, images: Tensor) -> Tensor:
    """Images neither first nor last in a flattened dimension: [2 * N * 4, 24 // 4 * 3]."""
    x = rows(images).unflatten(1, (2, 4)).transpose(0, 1).reshape(-1, 24)  # [2 * N * 4, 24]
    x = torch.tanh(net.norm(net.body(x)))
    return x.unflatten(0, (2, -1, 4)).mean((0, 2))


def _shuffled(net: Any, images: Tensor) -> Tensor:
    """Images backwards, and forwards again after the layer; then the layer once more."""
    x = net.conv(images.flip(0)).flip(0)
    return net.conv(x.tanh()).mean((2, 3)).repeat(1, 2)


def _time_first(net: Any, images: Tensor) -> Tensor:
    return torch.tanh(net.norm(net.body(rows(images).transpose(0, 1)))).mean(0)


def _relative_bias(net: Any, images: Tensor) -> Tensor:
    """Attention with a bias looked up in a table by the distance of two rows."""
    x = rows(images)
    q, k, v = net.qkv(x).chunk(3, 2)
    index = torch.arange(8)[:, None] - torch.arange(8) + 7
    bias = net.table[index]  # [8, 8]
    return (torch.softmax(q @ k.transpose(1, 2) + bias, 2) @ v).mean(1)


def _coordinates(net: Any, images: Tensor) -> Tensor:
    """A bias that a small network computes from coordinates, the same for every image."""
    grid = torch.linspace(-1, 1, 8, dtype=images.dtype)[:, None]  # [8, 1]
    bias = net.second(torch.relu(net.first(grid)))  # [8, 24]
    return torch.tanh(net.body(rows(images) * torch.sigmoid(bias))).mean(1)


def _resized(net: Any, images: Tensor) -> Tensor:
    position = F.interpolate(net.position, size=(8, 8), mode="bicubic", align_corners=False)
    return torch.tanh(net.conv(images + position)).mean((2, 3))


def _class_token(net: Any, images: Tensor) -> Tensor:
    x = torch.cat([net.token.expand(len(images), -1, -1), net.row(rows(images))], 1) + net.position
    return net.layer(x)[:, 0]


def _queries(net: Any, images: Tensor) -> Tensor:
    x = net.row(rows(images))
    found, _ = net.attention(net.queries.repeat(len(images), 1, 1), x, x, need_weights=False)
    return torch.tanh(found).mean(1)


def _checkpointed(reentrant: bool) -> Features:
    def features(net: Any, images: Tensor) -> Tensor:
        x = net.stem(images)
        return checkpoint(net.block, x, use_reentrant=reentrant).mean((2, 3))

    return features


def _without_gradient(net: Any, images: Tensor) -> Tensor:
    with torch.no_grad():
        x = net.trunk(images)
    return torch.tanh(net.body(x.mean((2, 3)))) + net.side(images.mean((2, 3))).detach()


def _block() -> nn.Module:
    return nn.Sequential(nn.Conv2d(5, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 6, 3))


def _mean(layer: Callable[[], nn.Module], before: Callable[[], nn.Module] | None = None) -> Callable[[], nn.Module]:
    """A layer on maps, or behind another, and the mean of its map."""
    make = before or (lambda: nn.Conv2d(3, 6, 3))
    return network(lambda net, x: torch.tanh(net.layer(net.before(x))).mean((2, 3)), before=make, layer=layer)


STRUCTURE: dict[str, Callable[[], nn.Module]] = {
    "windows": network(
        _windows, conv=lambda: nn.Conv2d(3, 6, 3), norm=lambda: nn.BatchNorm2d(6), mixed=linear(6), bias=weights(4, 6)
    ),
    "windows, group norm": network(
        _windows,
        conv=lambda: nn.Conv2d(3, 6, 3, groups=3),
        norm=lambda: nn.GroupNorm(2, 6),
        mixed=linear(6),
        bias=weights(4, 6),
    ),
    "halves first": network(
        _interleaved, conv=lambda: nn.Conv2d(3, 6, 3), norm=lambda: nn.BatchNorm2d(6), body=linear(6)
    ),
    "halves first, group norm": network(
        _interleaved, conv=lambda: nn.Conv2d(3, 6, 3), norm=lambda: nn.GroupNorm(2, 6), body=linear(6, bias=False)
    ),
    "images between others": network(_between, body=linear(24), norm=lambda: nn.LayerNorm(6)),
    "images reordered": network(_shuffled, conv=lambda: nn.Conv2d(3, 3, 3, padding=1)),
    "time first": network(_time_first, body=linear(24), norm=lambda: nn.LayerNorm(6)),
    "time first, without bias": network(
        _time_first, body=linear(24, bias=False), norm=lambda: nn.LayerNorm(6, bias=False)
    ),
    "channels last": lambda: network(
        lambda net, x: torch.tanh(net.block(net.stem(x.contiguous(memory_format=torch.channels_last)))).mean((2, 3)),
        stem=lambda: nn.Conv2d(3, 5, 3),
        block=_block,
    )().to(memory_format=torch.channels_last),
    "linear on maps": network(lambda net, x: net.body(x.permute(0, 2, 3, 1)).tanh().mean((1, 2)), body=linear(3)),
    "linear along another dimension": network(
        lambda net, x: net.body(x.transpose(2, 3)).tanh().mean((1, 2)), body=linear(8)
    ),
    "relative bias": network(_relative_bias, qkv=linear(24, 18), table=weights(15)),
    "bias from coordinates": network(_coordinates, first=linear(1, 5), second=linear(5, 24), body=linear(24)),
    "position embedding resized": network(_resized, **CONV, position=weights(1, 3, 4, 4)),
    "class token": network(
        _class_token,
        row=linear(24),
        token=weights(1, 1, 6),
        position=weights(1, 9, 6),
        layer=lambda: nn.TransformerEncoderLayer(6, 2, 8, batch_first=True),
    ),
    "learned queries": network(
        _queries,
        row=linear(24),
        queries=weights(1, 4, 6),
        attention=lambda: nn.MultiheadAttention(6, 2, batch_first=True),
    ),
    "weight norm": _mean(lambda: parametrizations.weight_norm(nn.Conv2d(6, 6, 3))),
    "spectral norm": _mean(lambda: parametrizations.spectral_norm(nn.Conv2d(6, 6, 3))),
    "orthogonal weight": network(
        lambda net, x: net.body(net.row(rows(x)).tanh()).mean(1),
        **ROW,
        body=lambda: parametrizations.orthogonal(nn.Linear(6, 6)),
    ),
    "standardised weight": _mean(lambda: _standardised(nn.Conv2d(6, 6, 3))),
    "checkpoint": network(_checkpointed(False), stem=lambda: nn.Conv2d(3, 5, 3), block=_block),
    "no gradient in parts": network(
        _without_gradient, trunk=lambda: nn.Conv2d(3, 6, 3), body=linear(6), side=linear(3)
    ),
    "frozen in parts": network(
        lambda net, x: torch.tanh(net.body(torch.tanh(net.frozen(torch.tanh(net.conv(x)))).mean((2, 3)))),
        **CONV,
        frozen=lambda: nn.Conv2d(6, 6, 3).requires_grad_(False),
        body=linear(6),
    ),
}
