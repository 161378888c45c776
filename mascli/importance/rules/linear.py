"""The rule for `nn.Linear`, on vectors, sequences and maps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mascli.importance.rules.registry import Rule, rule_for


@rule_for(nn.Linear)
class LinearRule(Rule):
    """Gradient of an image: G^T A over its T positions, with G [T, out] and A [T, in].

    With one position the gradient is an outer product, |g a^T| = |g| |a|^T, so that the sum over
    images is a single matrix product. With more positions that product would be too large.
    """

    name = "linear"

    def per_image(self, module: nn.Module, inputs: Tensor, gradient: Tensor) -> dict[str, Tensor]:
        """See `Rule.per_image`."""
        a, g = _positions(inputs), _positions(gradient)  # [N, T, in], [N, T, out]
        gradients = {"weight": torch.bmm(g.transpose(1, 2), a)}
        if module.bias is not None:
            gradients["bias"] = g.sum(1)
        return gradients

    def absolute_sum(self, module: nn.Module, inputs: Tensor, gradient: Tensor) -> dict[str, Tensor]:
        """See `Rule.absolute_sum`."""
        a, g = _positions(inputs), _positions(gradient)
        if a.shape[1] != 1:
            return super().absolute_sum(module, inputs, gradient)
        a, g = a[:, 0].abs(), g[:, 0].abs()
        return {"weight": g.T @ a} | ({"bias": g.sum(0)} if module.bias is not None else {})


def _positions(tensor: Tensor) -> Tensor:
    return tensor.reshape(tensor.shape[0], -1, tensor.shape[-1])  # [N, T, features]
