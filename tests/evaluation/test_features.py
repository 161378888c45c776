"""The features are what a head takes: its weights times them give its answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mascli.evaluation.features import recorded_features
from mascli.evaluation.predict import answers
from mascli.models.heads import MultiHeadModel


class OverPositions(nn.Module):
    """A network whose classifier answers for each of 3 positions."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(48, 12)
        self.head = nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Tensor:
        features = self.first(images.flatten(1)).reshape(-1, 3, 4)
        final: Tensor = self.head(features).mean(1)
        return final


def linear() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 6), nn.ReLU(), nn.Linear(6, 3))


def maps() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Conv2d(5, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())


@pytest.mark.parametrize("network", [linear, maps, OverPositions])
def test_the_head_applied_to_the_features_gives_the_answers(network: type[nn.Module]) -> None:
    torch.manual_seed(0)
    images = torch.randn(5, 3, 4, 4)
    model = MultiHeadModel(network(), "", images)
    model.add_head("birds", 4)
    model.add_head("cars", 2)
    with recorded_features(model, "birds") as features:
        outputs = answers(model, "birds", [images[:3], images[3:]])
        answers(model, "cars", [images])  # another head's pass is not recorded
    weight, bias = model.head("birds").state_dict().values()
    expected = torch.from_numpy(features.values) @ weight.flatten(1).T + bias
    assert len(features.values) == 5 and torch.allclose(expected, outputs, atol=1e-5)


def test_nothing_is_kept_after_the_context_and_nothing_before() -> None:
    images = torch.randn(2, 3, 4, 4)
    model = MultiHeadModel(linear(), "", images)
    model.add_head("birds", 4)
    with recorded_features(model, "birds") as features:
        assert features.values.shape == (0, 0)
    answers(model, "birds", [images])
    assert features.values.shape == (0, 0)


def test_features_are_those_of_the_images_in_their_order() -> None:
    torch.manual_seed(0)
    images = torch.randn(4, 3, 4, 4)
    model = MultiHeadModel(linear(), "", images)
    model.add_head("birds", 4)
    with recorded_features(model, "birds") as one:
        answers(model, "birds", [images])
    with recorded_features(model, "birds") as other:
        answers(model, "birds", [images.flip(0)])
    assert np.allclose(one.values, other.values[::-1], atol=1e-6) and not np.allclose(one.values, other.values)
