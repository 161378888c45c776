"""Architectures are told from the names and shapes of their tensors."""

from __future__ import annotations

import subprocess
import sys

import pytest
import timm
import torch
from torchvision import models

from mascli.models.known_networks import _KNOWN, known_network

Shapes = dict[str, tuple[int, ...]]


def shapes_of(spec: str, **arguments: int) -> Shapes:
    source, _, name = spec.partition(":")
    with torch.device("meta"):
        if source == "timm":
            model = timm.create_model(name, pretrained=False, **arguments)
        else:
            model = models.get_model(name, weights=None, **arguments)
    return {key: tuple(value.shape) for key, value in model.state_dict().items()}


@pytest.mark.parametrize(
    "spec",
    [
        *("torchvision:resnet18", "torchvision:resnet50", "torchvision:vgg16_bn", "torchvision:squeezenet1_1"),
        *("torchvision:mobilenet_v3_small", "torchvision:vit_b_16", "timm:convnext_tiny", "timm:vit_tiny_patch16_224"),
    ],
)
def test_a_network_is_known_whatever_its_number_of_classes(spec: str) -> None:
    assert known_network(shapes_of(spec)) == spec
    few = shapes_of(spec, num_classes=7)
    assert few != shapes_of(spec)
    assert known_network(few) == spec


def test_counters_that_old_files_lack_do_not_matter() -> None:
    shapes = shapes_of("torchvision:resnet18")
    old = {name: shape for name, shape in shapes.items() if not name.endswith("num_batches_tracked")}
    assert len(old) < len(shapes)
    assert known_network(old) == "torchvision:resnet18"


def test_another_network_is_not_known() -> None:
    shapes = shapes_of("torchvision:resnet18")
    for other in (
        {**shapes, "conv1.weight": (32, 3, 7, 7)},
        {**shapes, "more.weight": (1,)},
        {name: shape for name, shape in shapes.items() if name != "bn1.weight"},
        {"\udce9": (1,)},
        {},
    ):
        assert known_network(other) is None


def test_no_two_networks_are_confused_and_every_name_exists() -> None:
    assert len(set(_KNOWN.values())) == len(_KNOWN)
    there = {f"torchvision:{name}" for name in models.list_models(module=models)}
    there |= {f"timm:{name}" for name in timm.list_models()}
    assert set(_KNOWN.values()) <= there


def test_no_torch_is_loaded() -> None:
    code = "import sys, mascli.models.known_networks; sys.exit(bool({'torch', 'numpy'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True)
