"""Heads in the classifier's place: old answers stay exactly as they were, new heads can learn."""

from __future__ import annotations

import pytest
import torch
from cases import AfterTheClassifier, TiedWeights
from torch import nn
from torchvision import models

from mascli.errors import UnsupportedModelError
from mascli.models.classifier import find_classifier
from mascli.models.heads import MultiHeadModel, evaluating

SMALL = torch.zeros(2, 3, 64, 64)


@pytest.mark.parametrize(
    ("name", "classifier"),
    [
        ("alexnet", "classifier.6"),
        ("squeezenet1_0", "classifier.1"),
        ("resnet18", "fc"),
        ("mobilenet_v3_small", "classifier.3"),
        ("densenet121", "classifier"),
        ("googlenet", "fc"),
        ("efficientnet_b0", "classifier.1"),
        ("shufflenet_v2_x0_5", "fc"),
    ],
)
def test_the_imported_head_answers_exactly_as_torchvision_does(name: str, classifier: str) -> None:
    torch.manual_seed(0)
    options = {"init_weights": True} if name == "googlenet" else {}
    network = models.get_model(name, weights=None, num_classes=7, **options).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        expected = network(images)
    names = set(network.state_dict())
    model = MultiHeadModel(network, "", SMALL).eval()
    assert model.classifier == classifier
    model.import_head("base")
    model.add_head("new", 3)
    with torch.inference_mode():
        base, new = model(images, ("base", "new"))
        (alone,) = model(images, ("base",))
        (new_alone,) = model(images, ("new",))
    assert torch.equal(base, expected) and torch.equal(alone, expected)
    assert new.shape == (2, 3) and torch.equal(new, new_alone)
    shared = {*model.shared_parameters(), *model.shared_buffers()}
    assert shared == {n for n in names if not n.startswith(f"{classifier}.")}


def test_a_new_head_learns_although_a_relu_follows_the_classifier() -> None:
    """Negative answers, which the ReLU would silence together with their gradient, come through."""
    torch.manual_seed(0)
    model = MultiHeadModel(AfterTheClassifier(), "", torch.zeros(2, 3, 8, 8))
    model.import_head("base")
    head = model.add_head("new", 5)
    with torch.no_grad():
        head.bias.fill_(-3.0)
    images = torch.randn(4, 3, 8, 8)
    base, new = model.eval()(images, ("base", "new"))
    assert (base >= 0).all() and (new < 0).all()
    new.sum().backward()
    assert head.bias.grad is not None and torch.allclose(head.bias.grad, torch.full((5,), 4.0))
    features = model.network.features(images)
    expected = torch.einsum("nchw,oc->no", features, head.weight[:, :, 0, 0]) / 36 + head.bias
    torch.testing.assert_close(new, expected)


def test_heads_may_be_called_as_methods_are() -> None:
    model = MultiHeadModel(AfterTheClassifier(), "", torch.zeros(2, 3, 8, 8))
    for task in ("keys", "type", "training", "a-b", "0"):
        model.add_head(task, 2)
    assert model.tasks == ("keys", "type", "training", "a-b", "0")
    assert len(model(torch.zeros(1, 3, 8, 8), ("keys", "0"))) == 2


def test_tied_weights_are_shared_once_and_their_second_name_is_known() -> None:
    model = MultiHeadModel(TiedWeights(), "", torch.zeros(2, 3, 8, 8))
    assert list(model.shared_parameters()) == ["a.weight"]
    assert model.aliases() == {"b.weight": "a.weight"}


def test_loading_copies_every_tensor_to_its_place() -> None:
    source, target = (MultiHeadModel(AfterTheClassifier(), "", torch.zeros(2, 3, 8, 8)) for _ in range(2))
    for model in (source, target):
        model.import_head("base")
        model.add_head("new", 2)
    target.load(source.shared_parameters(), source.shared_buffers(), source.head_tensors())
    for name, tensor in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], tensor), name


@pytest.mark.parametrize(
    ("network", "classifier", "message"),
    [
        (
            nn.Sequential(nn.Flatten(), nn.Linear(192, 4), nn.LayerNorm(4)),
            "",
            "there is a LayerNorm.*last such layer is 1",
        ),
        (nn.Sequential(nn.Flatten(), nn.Linear(192, 4)), "nowhere", "at 'nowhere' there is nothing"),
        (nn.Sequential(nn.Flatten()), "", "no layer that has parameters"),
        (nn.Sequential(nn.Flatten(), nn.Linear(100, 4)), "", "cannot process images of 8x8 pixels and 3 channels"),
        (nn.Linear(8, 4), "", "nothing to share"),
    ],
)
def test_networks_without_a_usable_classifier_are_refused(network: nn.Module, classifier: str, message: str) -> None:
    with pytest.raises(UnsupportedModelError, match=message):
        MultiHeadModel(network, classifier, torch.zeros(2, 3, 8, 8))


def test_the_classifier_is_found_in_a_transformer_with_bare_parameters() -> None:
    network = models.VisionTransformer(
        image_size=64, patch_size=32, num_layers=1, num_heads=2, hidden_dim=24, mlp_dim=8
    )
    assert find_classifier(network, SMALL) == "heads.head"


def test_evaluating_puts_every_module_back_into_its_own_mode() -> None:
    model = MultiHeadModel(AfterTheClassifier(), "", torch.zeros(2, 3, 8, 8)).train()
    model.network.features.eval()
    modes = [module.training for module in model.modules()]
    with evaluating(model):
        assert not any(module.training for module in model.modules())
    assert [module.training for module in model.modules()] == modes
