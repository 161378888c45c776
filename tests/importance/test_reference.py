"""The definition itself, judged by finite differences where the library's own gradient of one image is wrong."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from judge import estimated, images, wrapped
from torch import Tensor, nn

from mascli.importance.objective import Measure
from mascli.models.heads import MultiHeadModel


class OneImageStrides(torch.autograd.Function):
    """Identity, whose gradient comes channels last, for one image with a batch stride that only one image can have."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        n, c, h, w = gradient.shape
        strides = (c if n == 1 else c * h * w, 1, w * c, c)
        return torch.empty_strided((n, c, h, w), strides, dtype=gradient.dtype).copy_(gradient)


def strided_network() -> MultiHeadModel:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(288, 3))
    network[1].register_forward_hook(lambda module, inputs, output: OneImageStrides.apply(output))
    return wrapped(network)


def slopes(model: MultiHeadModel, batch: Tensor) -> Tensor:
    """Mean over images of |d objective / d weight| of the batch norm, by central differences."""
    weight, step, found = model.shared_parameters()["1.weight"], 1e-6, []
    with torch.no_grad():
        for channel in range(8):
            values = []
            for change in (step, -2 * step):
                weight[channel] += change
                values.append(Measure().objective(model(batch, ("base",)), None))
            weight[channel] += step
            found.append(((values[0] - values[1]) / (2 * step)).abs().mean())
    return torch.stack(found)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_batch_norms_of_a_single_image_are_right_whatever_its_strides(count: int) -> None:
    model, batch = strided_network(), images(count)
    omega = estimated(model, [batch]).omega["1.weight"]
    torch.testing.assert_close(omega, slopes(model, batch), rtol=1e-5, atol=1e-8)
