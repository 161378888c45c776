"""Whole architectures against the definition: the small ones here, all others by `benchmarks/exactness.py`.

The script's results are read, so that an architecture which is left out, or was not exact, is noticed.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parents[2]


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("exactness", ROOT / "benchmarks" / "exactness.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["exactness"] = module  # where its dataclasses look for their annotations
    spec.loader.exec_module(module)
    return module


EXACTNESS: Any = script()
ARCHITECTURES: dict[str, Any] = EXACTNESS.architectures()

# A second or two each.
SMALL = [
    *("torchvision:squeezenet1_1", "torchvision:mobilenet_v3_small", "torchvision:resnet18"),
    *("torchvision:shufflenet_v2_x0_5", "torchvision:mnasnet0_5", "torchvision:regnet_y_400mf"),
    *("torchvision:googlenet", "torchvision:efficientnet_b0", "torchvision:densenet121"),
    *(
        "timm:vit_tiny_patch16_224",
        "timm:deit_tiny_distilled_patch16_224",
        "timm:convnext_atto",
        "timm:convnextv2_atto",
    ),
    *("timm:mobilenetv4_conv_small", "timm:regnety_002", "timm:gmlp_ti16_224", "timm:mixer_s32_224"),
    *("timm:test_vit", "timm:test_vit2", "timm:test_vit4", "timm:test_resnet", "timm:test_convnext", "timm:test_nfnet"),
    *("timm:test_efficientnet", "timm:test_efficientnet_evos", "timm:test_maxvit", "timm:test_mambaout"),
    *("timm:test_byobnet", "timm:test_convnext3"),
]

# Those that go one image at a time, or are refused, and why.
EXCEPTIONS: dict[str, str] = {}

# What is wrong and known, with its reason.
KNOWN: dict[str, str] = {}

FLOAT64, FLOAT32, CONTROL = 1e-9, 1e-4, 0.01


def check(spec: str, row: Any) -> None:
    assert row.missing == ()
    assert row.tensors > 0
    assert (row.fallback or row.failed) == EXCEPTIONS.get(spec, "")
    if not row.failed:
        assert sum(row.ways.values()) == row.tensors
        assert row.float64 <= FLOAT64
        assert row.float32 <= FLOAT32
        assert row.control >= CONTROL


def marked(specs: Iterable[str]) -> list[Any]:
    known = {spec: pytest.mark.xfail(strict=True, reason=reason) for spec, reason in KNOWN.items()}
    return [pytest.param(spec, marks=known.get(spec, ())) for spec in specs]


@pytest.mark.parametrize("spec", marked(SMALL))
def test_an_architecture_equals_the_definition(spec: str) -> None:
    if spec.startswith("timm:"):
        pytest.importorskip("timm")
    check(spec, EXACTNESS.measured(ARCHITECTURES[spec]))


def test_the_list_has_all_of_torchvision_and_many_of_timm() -> None:
    from torchvision import models

    known = {f"torchvision:{name}" for name in models.list_models(module=models)}
    assert len(known) >= 80
    assert known <= ARCHITECTURES.keys()
    timm = pytest.importorskip("timm")
    listed = [spec.removeprefix("timm:") for spec in ARCHITECTURES if spec.startswith("timm:")]
    assert len(listed) >= 40
    assert [name for name in listed if not timm.is_model(name)] == []
    families = ("vit_", "deit", "swin", "convnext", "efficientnet", "mobilenetv4", "resnet", "regnet", "mixer")
    assert [family for family in families if not any(name.startswith(family) for name in listed)] == []
    assert set(SMALL) <= ARCHITECTURES.keys()


def rows() -> dict[str, Any]:
    return {spec: EXACTNESS.Row(**row) for spec, row in json.loads(EXACTNESS.RESULTS.read_text()).items()}


@pytest.mark.parametrize("spec", marked(ARCHITECTURES))
def test_an_architecture_was_compared_and_equal(spec: str) -> None:
    row = rows()[spec]
    check(spec, EXACTNESS.Row(**{**vars(row), "missing": tuple(row.missing)}))


def test_the_page_shows_the_results() -> None:
    shown = EXACTNESS.TABLE.read_text(encoding="utf-8")
    assert all(f"| {spec} |" in shown or f"| {spec};" in shown for spec in rows())
    assert EXACTNESS._line("x", EXACTNESS.Row(64, tensors=3, float64=1e-15)) not in shown


@pytest.mark.parametrize("change", ["off by 1.1", "left out", "in another place"])
def test_what_is_not_exact_is_told_apart(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: one tensor of a network's importance is wrong."""
    estimate = EXACTNESS.estimate_importance

    def wrong(*arguments: Any) -> Any:
        found = estimate(*arguments)
        name = next(name for name in found.omega if name.endswith("attn.qkv.weight"))
        values = found.omega[name]
        changed = {"off by 1.1": values * 1.1, "in another place": values.flip(0)}
        found.omega.pop(name)
        if change in changed:
            found.omega[name] = changed[change]
        return found

    monkeypatch.setattr(EXACTNESS, "estimate_importance", wrong)
    if change == "left out":
        with pytest.raises(KeyError, match=r"attn\.qkv\.weight"):
            EXACTNESS.measured(ARCHITECTURES["timm:test_vit"])
        return
    row = EXACTNESS.measured(ARCHITECTURES["timm:test_vit"])
    assert row.float64 > 0.05
    assert row.float32 > 0.05
    with pytest.raises(AssertionError):
        check("timm:test_vit", row)


def test_a_network_with_parameters_all_the_same_is_enlivened() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Conv2d(4, 2, 1)).eval()
    torch.nn.init.zeros_(network[2].weight)
    pixels = 3 + torch.randn(8, 3, 8, 8)
    EXACTNESS.enliven(network, pixels)
    assert all(len(parameter.unique()) == parameter.numel() for parameter in network.parameters())
    normed = network[1](network[0](pixels))
    assert not network[1].training and network[1].momentum == 0.1
    assert normed.var((0, 2, 3)).sqrt().allclose(network[1].weight.abs(), rtol=0.01)
