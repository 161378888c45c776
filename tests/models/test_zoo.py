"""From specs to networks, and everything about a spec that can be wrong."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torchvision import models

from mascli.errors import MascliError, UnsupportedModelError, UsageError
from mascli.models.small import MLP, ConvNet
from mascli.models.spec import check_model_spec, parse_model_spec
from mascli.models.zoo import build_network, usual_preprocessing
from mascli.records import ModelSpec, Preprocessing

PLAIN = Preprocessing(size=(8, 8), channels=3)


def test_arguments_are_json_scalars_or_plain_text() -> None:
    spec = parse_model_spec("mascli:mlp", ("hidden=64-64", "a=3", "b=0.5", "c=true", "d=null"))
    assert spec.arguments == {"hidden": "64-64", "a": 3, "b": 0.5, "c": True, "d": None}
    assert str(spec) == "mascli:mlp"


@pytest.mark.parametrize(
    ("text", "arguments", "error", "message"),
    [
        ("resnet18", (), UnsupportedModelError, "SOURCE:NAME"),
        ("keras:resnet", (), UnsupportedModelError, "one of torchvision, timm, mascli, python"),
        ("mascli:mpl", (), UnsupportedModelError, "did you mean 'mlp'"),
        ("timm:hf-hub:someone/model", (), UnsupportedModelError, "plain name"),
        ("torchvision:../x", (), UnsupportedModelError, "plain name"),
        ("python:os.system", (), UnsupportedModelError, "python:package.module:factory"),
        ("mascli:mlp", ("hidden",), UsageError, "KEY=VALUE"),
        ("mascli:mlp", ("a b=1",), UsageError, "KEY=VALUE"),
        ("mascli:mlp", ("hidden=[1,2]",), UnsupportedModelError, "'hidden' must be"),
        ("mascli:mlp", ("depth=1e12",), UnsupportedModelError, "at most 1,000,000"),
    ],
)
def test_bad_specs_are_refused(text: str, arguments: tuple[str, ...], error: type[MascliError], message: str) -> None:
    with pytest.raises(error, match=message):
        parse_model_spec(text, arguments)


def test_a_spec_read_from_a_file_is_checked_too() -> None:
    for spec in (ModelSpec("evil", "x"), ModelSpec("timm", "a/b"), ModelSpec("mascli", "mlp", {"a": [1]})):
        with pytest.raises(UnsupportedModelError):
            check_model_spec(spec)


def test_parsing_a_spec_loads_no_torch() -> None:
    code = (
        "import sys, mascli.models.spec as s; s.parse_model_spec('torchvision:resnet18'); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (8, 8), (17, 5), (64, 64)])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_small_networks_take_any_size_and_any_channels(size: tuple[int, int], channels: int) -> None:
    images = torch.randn(2, channels, *size)
    preprocessing = Preprocessing(size=size, channels=channels, mean=(0.5,) * channels, std=(0.5,) * channels)
    for name, arguments in (
        ("mlp", {"hidden": "5"}),
        ("convnet", {"width": 4}),
        ("convnet", {"norm": True, "depth": 2}),
    ):
        network = build_network(ModelSpec("mascli", name, arguments), preprocessing, classes=3).eval()
        assert network(images).shape == (2, 3)


def test_small_networks_have_the_layers_they_are_asked_for() -> None:
    assert [tuple(p.shape) for p in MLP(12, 2, "7-5").parameters() if p.dim() == 2] == [(7, 12), (5, 7), (2, 5)]
    assert [p.shape[0] for p in ConvNet(3, 2, width=4, depth=3).parameters() if p.dim() == 4] == [4, 8, 16]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (ModelSpec("torchvision", "resnet81"), "no classification model 'resnet81'; did you mean 'resnet18'"),
        (ModelSpec("torchvision", "fcn_resnet50"), "no classification model"),
        (ModelSpec("torchvision", "resnet18", {"bogus": 1}), "cannot build torchvision:resnet18.*bogus"),
        (ModelSpec("mascli", "mlp", {"hidden": "x"}), "cannot build mascli:mlp"),
        (ModelSpec("python", "no_such_module:net"), "cannot import no_such_module"),
        (ModelSpec("python", "json:nothing"), "no factory 'nothing'"),
        (ModelSpec("python", "collections:OrderedDict"), "gave a OrderedDict"),
    ],
)
def test_networks_that_cannot_be_built_are_told_in_a_line(spec: ModelSpec, message: str) -> None:
    with pytest.raises(UnsupportedModelError, match=message) as caught:
        build_network(spec, PLAIN)
    assert "\n" not in str(caught.value)


def test_a_python_factory_is_found_beside_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_own_nets.py").write_text("from torch import nn\ndef small(width=2): return nn.Linear(width, 2)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    network = build_network(ModelSpec("python", "my_own_nets:small", {"width": 5}), PLAIN)
    assert network.in_features == 5


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, "No module named 'odd_nets'; run mascli in the folder that holds it, or put that folder on PYTHONPATH"),
        ("import no_such_library", r"No module named 'no_such_library' \(odd_nets.py:1\)$"),
        ("x = 1\ny = x.z", r"cannot import odd_nets .* AttributeError: .* \(odd_nets.py:2\)$"),
        ("import sys\nsys.exit(3)", r"SystemExit: 3 \(odd_nets.py:2\)$"),
        ("def make(\n", "SyntaxError"),
        ("def make():\n    import sys\n    sys.exit('no')", r"cannot build .*: SystemExit: no \(odd_nets.py:3\); see"),
        ("from torch import nn\ndef make():\n    return nn.Linear('x', 1)", r"TypeError.*\(odd_nets.py:3\); see"),
    ],
)
def test_what_a_module_of_the_user_does_wrong_is_told_with_its_line(
    source: str | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if source is not None:
        (tmp_path / "odd_nets.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    sys.modules.pop("odd_nets", None)
    importlib.invalidate_caches()
    with pytest.raises(UnsupportedModelError, match=message) as caught:
        build_network(ModelSpec("python", "odd_nets:make"), PLAIN)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", models.list_models(module=models))
def test_usual_preprocessing_is_that_of_the_published_weights(name: str) -> None:
    weights = models.get_model_weights(name)
    usual = (getattr(weights, "IMAGENET1K_V1", None) or weights.DEFAULT).transforms()
    got = usual_preprocessing(parse_model_spec(f"torchvision:{name}"))
    assert got.size == (usual.crop_size[0],) * 2 and got.resize_to == usual.resize_size[0] and got.resize == "shorter"
    assert (got.mean, got.std) == (tuple(usual.mean), tuple(usual.std))
    assert got.interpolation == usual.interpolation.value


def test_flags_change_the_usual_preprocessing() -> None:
    spec = parse_model_spec("torchvision:resnet18")
    got = usual_preprocessing(spec, image_size=(48,))
    assert (got.size, got.resize, got.resize_to) == ((48, 48), "shorter", 0)
    got = usual_preprocessing(spec, image_size=(20, 30), resize="squash", channels=1)
    assert (got.size, got.resize, got.channels, got.mean) == ((20, 30), "squash", 1, (0.5,))
    with pytest.raises(UsageError, match="1 for 1 channels"):
        usual_preprocessing(spec, channels=1, mean=(0.1, 0.2, 0.3))
