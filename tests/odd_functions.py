"""Networks whose parameters meet images in functions and products, not in layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from odd_networks import CONV, ROW, Cubed, Reversed, SumAndProduct, linear, network, quantised, rows, weights, with_hook
from torch import Tensor, nn


def _into_slices(net: Any, images: Tensor) -> Tensor:
    x = torch.tanh(net.row(rows(images))).clone()
    x[:, 0] += net.token
    x[:, 1:3] = net.gain
    return x.sin().mean(1)


def _spectral(net: Any, images: Tensor) -> Tensor:
    """A filter in the frequency domain: a real parameter seen as complex numbers."""
    spectrum = torch.fft.rfft2(images)
    x = torch.fft.irfft2(spectrum * torch.view_as_complex(net.filter), s=(8, 8))
    return torch.tanh(net.conv(x)).mean((2, 3))


def _complex_product(net: Any, images: Tensor) -> Tensor:
    spectrum = torch.fft.rfft(rows(images))  # [N, 8, 13]
    x = (spectrum @ torch.view_as_complex(net.mixing)).abs()
    return torch.tanh(x).mean(1)


def _experts(net: Any, images: Tensor) -> Tensor:
    """A kernel of its own for each image, mixed from four; all images as groups of one convolution."""
    n = len(images)
    gates = torch.sigmoid(net.routing(images.mean((2, 3))))  # [N, 4]
    kernels = (gates @ net.kernels).view(n * 6, 3, 3, 3)
    x = F.conv2d(images.reshape(1, -1, 8, 8), kernels, groups=n).view(n, 6, 6, 6)
    return torch.tanh(x).mean((2, 3))


FUNCTIONS: dict[str, Callable[[], nn.Module]] = {
    "custom function": network(lambda net, x: Cubed.apply(net.row(rows(x)), net.gain).mean(1), **ROW, gain=weights(6)),
    "custom function without parameters": network(
        lambda net, x: Reversed.apply(net.row(rows(x))).tanh().mean(1), **ROW
    ),
    "custom function of two outputs": network(
        lambda net, x: sum(SumAndProduct.apply(net.row(rows(x)), net.gain)).sin().mean(1), **ROW, gain=weights(6)
    ),
    "hook on a parameter": network(
        lambda net, x: net.row(rows(x)).sin().mean(1), row=lambda: with_hook(nn.Linear(24, 6))
    ),
    "einsum": network(lambda net, x: torch.einsum("nchw,cwo->no", x, net.w).tanh(), w=weights(3, 8, 6)),
    "einsum with two parameters": network(
        lambda net, x: torch.einsum("nchw,co,ow->no", x, net.w, net.v).tanh(), w=weights(3, 6), v=weights(6, 8)
    ),
    "tensordot": network(lambda net, x: torch.tensordot(x, net.w, dims=([1, 3], [1, 0])).mean(1), w=weights(8, 3, 6)),
    "parameter on the left": network(lambda net, x: (net.w @ rows(x).transpose(1, 2)).tanh().mean(2), w=weights(6, 24)),
    "parameter on the left of a matrix": network(
        lambda net, x: (net.w @ x.flatten(1).t()).tanh().t(), w=weights(6, 192)
    ),
    "batched product": network(
        lambda net, x: torch.baddbmm(net.b, rows(x).transpose(0, 1), net.w).tanh().mean(0),
        w=weights(8, 24, 6),
        b=weights(8, 1, 6),
    ),
    "vector product": network(lambda net, x: (rows(x) @ net.w)[:, :6].tanh(), w=weights(24)),
    "addmm with factors": network(
        lambda net, x: torch.addmm(net.b, x.flatten(1), net.w, beta=2, alpha=0.5).tanh(),
        w=weights(192, 6),
        b=weights(6),
    ),
    "addmm with a bias of one number": network(
        lambda net, x: torch.addmm(net.b, x.flatten(1), net.w).tanh(), w=weights(192, 6), b=weights(1)
    ),
    "addmm with a bias of one row": network(
        lambda net, x: torch.addmm(net.b, x.flatten(1), net.w).tanh(), w=weights(192, 6), b=weights(1, 6)
    ),
    "addition with a factor": network(
        lambda net, x: torch.add(net.row(rows(x)), net.b, alpha=3).tanh().mean(1), **ROW, b=weights(6)
    ),
    "subtraction, division, power": network(
        lambda net, x: ((net.row(rows(x)) - net.b) / (2 + net.d.square())).abs().pow(net.p.exp()).mean(1),
        **ROW,
        b=weights(8, 1),
        d=weights(6),
        p=weights(1),
    ),
    "a number as a parameter": network(
        lambda net, x: (net.row(rows(x)) * net.scale + net.shift).tanh().mean(1),
        **ROW,
        scale=weights(),
        shift=weights(),
    ),
    "parameters multiplied first": network(
        lambda net, x: (net.row(rows(x)) * (net.a * net.b)).tanh().mean(1), **ROW, a=weights(6), b=weights(8, 1)
    ),
    "one parameter in two inputs": network(
        lambda net, x: torch.addcmul(net.row(rows(x)), net.a, net.a).tanh().mean(1), **ROW, a=weights(6)
    ),
    "norm whose weight is its bias": network(
        lambda net, x: F.layer_norm(net.row(rows(x)), (6,), net.a, net.a).tanh().mean(1), **ROW, a=weights(6)
    ),
    "where": network(
        lambda net, x: torch.where(x > 0, net.a, x).tanh().flatten(1)[:, :6] + net.row(rows(x)).mean(1),
        a=weights(3, 8, 8),
        **ROW,
    ),
    "maximum": network(lambda net, x: torch.maximum(net.row(rows(x)), net.a).mean(1), **ROW, a=weights(6)),
    "distances to prototypes": network(
        lambda net, x: torch.cdist(net.row(rows(x)), net.a).mean(1), **ROW, a=weights(6, 6)
    ),
    "cosine with prototypes": network(
        lambda net, x: (F.normalize(net.row(rows(x)), dim=2) @ F.normalize(net.a, dim=1).t()).mean(1),
        **ROW,
        a=weights(6, 6),
    ),
    "written into slices": network(_into_slices, **ROW, token=weights(6), gain=weights(2, 6)),
    "in place": network(
        lambda net, x: net.row(rows(x)).add_(net.b).mul_(net.g).tanh_().mean(1), **ROW, b=weights(8, 6), g=weights(6)
    ),
    "parameter sliced": network(
        lambda net, x: (x.flatten(1)[:, :24] @ net.w[:, :6] + x.flatten(1)[:, 24:48] @ net.w[:, 6:]).tanh(),
        w=weights(24, 12),
    ),
    "part of a parameter": network(lambda net, x: (rows(x) @ net.w[2, :, 1:7]).tanh().mean(1), w=weights(3, 24, 9)),
    "parameter split": network(
        lambda net, x: (x.flatten(1) @ net.w.chunk(2, 1)[0] + net.b.unbind(0)[1]).tanh(),
        w=weights(192, 12),
        b=weights(3, 6),
    ),
    "parameter indexed": network(
        lambda net, x: (rows(x) @ net.w[torch.tensor([3, 3, 1])].sum(0)).tanh().mean(1), w=weights(5, 24, 6)
    ),
    "parameter indexed by images": network(lambda net, x: net.w[quantised(x)[:, :5]].mean(1), w=weights(10, 6)),
    "gathered by images": network(
        lambda net, x: torch.gather(net.w.expand(len(x), -1, -1), 1, quantised(x)[:, :5, None].expand(-1, -1, 6)).mean(
            1
        ),
        w=weights(10, 6),
    ),
    "weight of both signs": network(
        lambda net, x: F.linear(F.linear(rows(x), net.w).tanh(), net.w.t()).mean(1)[:, :6], w=weights(6, 24)
    ),
    "linear twice": network(lambda net, x: net.body(net.body(rows(x)).sin()).mean(1)[:, :6], body=linear(24, 24)),
    "norms twice": network(
        lambda net, x: net.batch(net.layer(net.batch(net.layer(x)).sin())).mean((2, 3)).repeat(1, 2),
        batch=lambda: nn.BatchNorm2d(3),
        layer=lambda: nn.LayerNorm([8, 8]),
    ),
    "images as a kernel": network(
        lambda net, x: F.conv2d(net.a, x[:, :, :7, :8]).flatten(2)[0].tanh(), a=weights(1, 3, 9, 9)
    ),
    "an operation for each image": network(
        lambda net, x: torch.stack([(image.flatten() @ net.a).tanh() for image in x]), a=weights(192, 6)
    ),
    "spectral filter": network(_spectral, **CONV, filter=weights(3, 8, 5, 2)),
    "complex product": network(_complex_product, mixing=weights(13, 6, 2)),
    "kernels of each image": network(_experts, routing=linear(3, 4), kernels=weights(4, 162)),
    "grid of each image": network(
        lambda net, x: F.grid_sample(
            x,
            F.affine_grid((net.pose(x.mean((2, 3))).view(-1, 2, 3)).tanh(), [len(x), 3, 4, 4], align_corners=False),
            align_corners=False,
        ).flatten(1)[:, :6],
        pose=linear(3, 6),
    ),
    "pooling by a learned exponent": network(
        lambda net, x: net.row(rows(x)).abs().clamp(min=1e-3).pow(net.p).mean(1).pow(1 / net.p), **ROW, p=weights(6)
    ),
    "an empty parameter": network(
        lambda net, x: torch.cat([rows(x), net.none.expand(len(x), 8, 0)], 2).matmul(net.w).mean(1),
        none=weights(1, 1, 0),
        w=weights(24, 6),
    ),
    "real parameter of a sort": network(
        lambda net, x: (net.row(rows(x)) + net.a.sort().values).tanh().mean(1), **ROW, a=weights(6)
    ),
}
