"""The rule for batch norm in eval mode, where it is an affine map of each channel."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mascli.importance.rules.registry import Rule, rule_for


@rule_for(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
class BatchNormRule(Rule):
    """Gradient of an image: sum over positions of g (x - mean) / sqrt(var + eps), and of g."""

    name = "batch norm"

    def per_image(self, module: nn.Module, inputs: Tensor, gradient: Tensor) -> dict[str, Tensor]:
        """See `Rule.per_image`."""
        norm = cast(_BatchNorm, module)
        assert norm.running_mean is not None and norm.running_var is not None  # others are refused before
        x, g = (tensor.reshape(*tensor.shape[:2], -1) for tensor in (inputs, gradient))  # [N, C, T]
        mean, scale = norm.running_mean[:, None], torch.rsqrt(norm.running_var[:, None] + norm.eps)
        gradients = {"weight": ((x - mean) * scale * g).sum(2)}
        if norm.bias is not None:
            gradients["bias"] = g.sum(2)
        return gradients
