"""Layers of PyTorch beside convolutions, linear layers and the usual norms, in many of their configurations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from odd_networks import ROW, Features, linear, network, quantised, rows
from torch import Tensor, nn


def _loop(net: Any, images: Tensor) -> Tensor:
    state = images.new_zeros(len(images), 6)
    for row in rows(images).unbind(1):
        state = net.cell(row, state)
    return state


def _recurrent(output: Callable[[Any], Tensor], first: bool = True) -> Features:
    def features(net: Any, images: Tensor) -> Tensor:
        x = rows(images)
        return output(net.layer(x if first else x.transpose(0, 1)))

    return features


def _attention(first: bool = True, *, cross: bool = False, weights: bool = False, mask: bool = False) -> Features:
    def features(net: Any, images: Tensor) -> Tensor:
        x = rows(images)
        other = torch.cat([x.flip(1)[:, :5]] * 2, 1) if cross else x
        key, value = (net.key(other), net.value(other)) if hasattr(net, "key") else (other, other)
        sequences = [sequence if first else sequence.transpose(0, 1) for sequence in (x, key, value)]
        hidden = torch.ones(8, key.shape[1], dtype=torch.bool).triu(1) if mask else None
        found, share = net.attention(*sequences, need_weights=weights, attn_mask=hidden)
        found = found.mean(1 if first else 0)[:, :6]
        return found + share.square().sum((1, 2))[:, None] if weights else found

    return features


def _mean(layer: Callable[[], nn.Module], before: Callable[[], nn.Module] | None = None) -> Callable[[], nn.Module]:
    """A layer on maps, or behind another, and the mean of its map."""
    make = before or (lambda: nn.Conv2d(3, 6, 3))
    return network(lambda net, x: torch.tanh(net.layer(net.before(x))).mean((2, 3)), before=make, layer=layer)


def _multihead(width: int = 24, **options: Any) -> Callable[[], nn.Module]:
    return lambda: nn.MultiheadAttention(width, 2, **options)


def _encoder(**options: Any) -> nn.Module:
    return nn.TransformerEncoderLayer(24, 4, 12, **options)


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "prelu": _mean(nn.PReLU),
    "prelu for each channel": _mean(lambda: nn.PReLU(6)),
    "rms norm": network(lambda net, x: net.norm(net.row(rows(x))).tanh().mean(1), **ROW, norm=lambda: nn.RMSNorm(6)),
    "instance norm": _mean(lambda: nn.InstanceNorm2d(6, affine=True)),
    "instance norm with statistics": _mean(lambda: nn.InstanceNorm2d(6, affine=True, track_running_stats=True)),
    "local response norm": _mean(lambda: nn.LocalResponseNorm(3)),
    "bilinear": network(
        lambda net, x: net.body(rows(x), rows(x).flip(1)).tanh().mean(1), body=lambda: nn.Bilinear(24, 24, 6)
    ),
    "embedding of pixels": network(
        lambda net, x: net.table(quantised(x)[:, :5]).tanh().mean(1), table=lambda: nn.Embedding(10, 6)
    ),
    "embedding with padding": network(
        lambda net, x: net.table(quantised(x)[:, :5]).tanh().mean(1), table=lambda: nn.Embedding(10, 6, padding_idx=4)
    ),
    "embedding scaled by frequency": network(
        lambda net, x: net.table(quantised(x)[:, :5]).tanh().mean(1),
        table=lambda: nn.Embedding(10, 6, scale_grad_by_freq=True),
    ),
    "embedding of positions": network(
        lambda net, x: (net.row(rows(x)) + net.table(torch.arange(8))).tanh().mean(1),
        **ROW,
        table=lambda: nn.Embedding(8, 6),
    ),
    **{
        f"embedding bag, {mode}": network(
            lambda net, x: net.table(quantised(x)[:, :6]).tanh(),
            table=lambda mode=mode: nn.EmbeddingBag(10, 6, mode=mode),
        )
        for mode in ("sum", "mean", "max")
    },
    "lstm": network(_recurrent(lambda found: found[0].mean(1)), layer=lambda: nn.LSTM(24, 6, batch_first=True)),
    "lstm, two layers both ways": network(
        _recurrent(lambda found: found[0].mean(1)),
        layer=lambda: nn.LSTM(24, 3, 2, batch_first=True, bidirectional=True),
    ),
    "lstm, last state": network(
        _recurrent(lambda found: found[1][0][-1] + found[1][1][-1], False), layer=lambda: nn.LSTM(24, 6)
    ),
    "lstm, projected": network(
        _recurrent(lambda found: found[0].mean(0), False), layer=lambda: nn.LSTM(24, 8, proj_size=6)
    ),
    "gru": network(_recurrent(lambda found: found[0].mean(1)), layer=lambda: nn.GRU(24, 6, batch_first=True)),
    "gru, last state": network(_recurrent(lambda found: found[1][0], False), layer=lambda: nn.GRU(24, 6, bias=False)),
    "rnn": network(_recurrent(lambda found: found[0][-1], False), layer=lambda: nn.RNN(24, 6)),
    "lstm cell": network(
        lambda net, x: net.cell(rows(x)[:, 0], net.cell(rows(x)[:, 1]))[0], cell=lambda: nn.LSTMCell(24, 6)
    ),
    "gru cell": network(_loop, cell=lambda: nn.GRUCell(24, 6)),
    "attention": network(_attention(), attention=_multihead(batch_first=True)),
    "attention, time first": network(_attention(False), attention=_multihead()),
    "attention, without bias": network(_attention(), attention=_multihead(batch_first=True, bias=False)),
    "attention, its weights": network(_attention(weights=True), attention=_multihead(batch_first=True)),
    "attention, masked": network(_attention(mask=True), attention=_multihead(batch_first=True)),
    "attention to others": network(_attention(cross=True), attention=_multihead(batch_first=True)),
    "attention, other widths": network(
        _attention(cross=True),
        attention=_multihead(batch_first=True, kdim=10, vdim=5),
        key=linear(24, 10),
        value=linear(24, 5),
    ),
    "attention, other widths, time first": network(
        _attention(False, cross=True), attention=_multihead(kdim=10, vdim=5), key=linear(24, 10), value=linear(24, 5)
    ),
    "attention, added biases": network(
        _attention(), attention=_multihead(batch_first=True, add_bias_kv=True, add_zero_attn=True)
    ),
    "attention, added biases, time first": network(_attention(False), attention=_multihead(add_bias_kv=True)),
    "transformer encoder": network(
        lambda net, x: net.layer(rows(x)).mean(1)[:, :6],
        layer=lambda: nn.TransformerEncoder(_encoder(batch_first=True), 2),
    ),
    "transformer encoder, norm first, time first": network(
        lambda net, x: net.layer(rows(x).transpose(0, 1)).mean(0)[:, :6],
        layer=lambda: nn.TransformerEncoder(
            _encoder(norm_first=True, activation="gelu"), 2, enable_nested_tensor=False
        ),
    ),
    "transformer decoder": network(
        lambda net, x: net.layer(rows(x)[:, :3], rows(x)).mean(1)[:, :6],
        layer=lambda: nn.TransformerDecoderLayer(24, 4, 12, batch_first=True, bias=False),
    ),
}
