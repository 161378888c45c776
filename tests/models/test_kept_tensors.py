"""No tensor of a pass is used in another one, in eval mode."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from judge import assert_exact, definition, estimated, images
from torch import Tensor, nn

from mascli.models.heads import MultiHeadModel
from mascli.models.kept_tensors import forgetting


class Keeping(nn.Module):
    """Keeps a bias that it makes of a parameter, as long as it is in eval mode: as timm's LeViT does."""

    def __init__(self, where: str = "dict") -> None:
        super().__init__()
        self.body = nn.Linear(192, 4)
        self.biases = nn.Parameter(torch.randn(2))
        self.head = nn.Linear(4, 3)
        self.kept: Any = {"dict": {}, "list": [], "attribute": None}[where]
        self.where = where
        self.passes = 0

    def train(self, mode: bool = True) -> Keeping:
        if mode and self.where == "dict":
            self.kept = {}
        super().train(mode)
        return self

    def made(self) -> Tensor:
        bias = self.biases[[0, 1, 1, 0]]
        if self.training:
            return bias
        if self.where == "dict":
            return self.kept.setdefault("cpu", bias)
        if self.where == "list":
            if not self.kept:
                self.kept.append(bias)
            return self.kept[0]
        if self.kept is None:
            self.kept = bias
            self.new = bias
        return self.kept

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        return self.head(torch.tanh(self.body(x.flatten(1)) + self.made()))


@pytest.mark.parametrize("where", ["dict", "list", "attribute"])
def test_what_a_parameter_was_made_into_is_made_anew_in_each_pass(where: str) -> None:
    torch.manual_seed(0)
    model = MultiHeadModel(Keeping(where).double(), "head", images(2))
    model.import_head("base")
    batch = images(5)
    estimate = estimated(model, [batch])
    assert "biases" not in estimate.plan.unused and bool((estimate.omega["biases"] > 0).all())

    def alone(x: Tensor) -> Tensor:  # the formula of the network, without anything kept
        net = model.network
        return model.head("base")(torch.tanh(net.body(x.flatten(1)) + net.biases[[0, 1, 1, 0]]))

    expected = torch.zeros(2, dtype=torch.float64)
    for image in batch.split(1):
        expected += torch.autograd.grad(alone(image).square().sum(), model.network.biases)[0].abs() / 5
    torch.testing.assert_close(estimate.omega["biases"], expected, rtol=1e-10, atol=0)
    assert_exact(estimate, definition(model, batch))


@pytest.mark.parametrize("where", ["dict", "list", "attribute"])
def test_answers_are_those_of_the_weights_of_now(where: str) -> None:
    torch.manual_seed(0)
    network = Keeping(where).double()
    model = MultiHeadModel(network, "head", images(2)).eval()  # which runs the network once
    model.import_head("base")
    (before,) = model(images(3), ("base",))
    with torch.no_grad():
        network.biases.add_(1)
    (after,) = model(images(3), ("base",))
    assert not torch.allclose(before, after)
    assert not network.kept and not hasattr(network, "new")


def test_a_network_may_keep_what_is_no_tensor_and_what_it_keeps_in_train_mode() -> None:
    network = Keeping("attribute").double()
    network.eval()
    with forgetting(network):
        network(images(1))
    assert network.passes == 1 and network.kept is None
    network.train()
    with forgetting(network):
        network.kept = torch.ones(4, dtype=torch.float64)
    assert network.kept is not None


def test_without_it_the_importance_would_be_lost() -> None:
    """Negative control: autograd finds no way to a parameter behind a tensor that a pass without gradients has kept."""
    network = Keeping("dict").double().eval()
    with torch.no_grad():
        network(images(1))
    found = torch.autograd.grad(network(images(1)).square().sum(), network.biases, allow_unused=True)
    assert found == (None,)
