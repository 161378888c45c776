"""Reads model specs such as `torchvision:resnet18`. No torch: bad specs are told before it loads."""

from __future__ import annotations

import json
import re
from typing import Any

from mascli.errors import UnsupportedModelError, UsageError, closest, printable
from mascli.records import ModelSpec

SOURCES = ("torchvision", "timm", "mascli", "python")
SMALL_NETS = ("mlp", "convnet")
MOST_ARGUMENTS = 64
LARGEST_NUMBER = 1_000_000
REFUSED_ARGUMENTS = {"cache_dir", "checkpoint_path", "pretrained", "pretrained_backbone", "pretrained_cfg"}
REFUSED_ARGUMENTS |= {"pretrained_cfg_overlay", "pretrained_strict", "weights", "weights_backbone"}

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.]+")
_FACTORY = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def parse_model_spec(text: str, arguments: tuple[str, ...] = ()) -> ModelSpec:
    """The spec `source:name` with its `KEY=VALUE` arguments, values as JSON scalars or plain text.

    Raises:
        UnsupportedModelError: no such source, or a name that cannot name a network there.
        UsageError: an argument that is not KEY=VALUE with a bounded scalar.
    """
    source, colon, name = text.partition(":")
    if not colon or source not in SOURCES:
        hint = closest(text, [f"mascli:{net}" for net in SMALL_NETS]) or ", as in torchvision:resnet18"
        raise UnsupportedModelError(
            f"unknown model '{printable(text)}': write SOURCE:NAME with one of {', '.join(SOURCES)}{hint}"
        )
    spec = ModelSpec(source, name, dict(_argument(item) for item in arguments))
    check_model_spec(spec)
    return spec


def check_model_spec(spec: ModelSpec) -> None:
    """Check that a spec, typed or read from a file, is one that may be built.

    Raises:
        UnsupportedModelError: naming what about it cannot be.
    """
    wanted = _FACTORY if spec.source == "python" else _PLAIN_NAME
    if spec.source not in SOURCES or not wanted.fullmatch(spec.name):
        form = "python:package.module:factory" if spec.source == "python" else "a plain name, without ':' or '/'"
        raise UnsupportedModelError(f"unknown model '{printable(str(spec))}': expected {form}")
    if spec.source == "mascli" and spec.name not in SMALL_NETS:
        known = ", ".join(f"mascli:{net}" for net in SMALL_NETS)
        raise UnsupportedModelError(f"unknown model '{spec}': there are {known}{closest(spec.name, SMALL_NETS)}")
    if len(spec.arguments) > MOST_ARGUMENTS:
        raise UnsupportedModelError(f"model '{spec}' has more than {MOST_ARGUMENTS} arguments")
    for key in REFUSED_ARGUMENTS & spec.arguments.keys():
        raise UnsupportedModelError(
            f"model '{spec}': the argument '{key}' would fetch or open other weights; give weights to mascli init"
        )
    for key, value in spec.arguments.items():
        if not _is_bounded_scalar(value):
            raise UnsupportedModelError(
                f"model '{spec}': argument '{printable(key)}' must be true, false, null, text of at most 256 "
                f"characters or a number of at most {LARGEST_NUMBER:,}"
            )


def _argument(item: str) -> tuple[str, Any]:
    key, equals, text = item.partition("=")
    if not equals or not key.isidentifier():
        raise UsageError(f"--model-arg '{printable(item)}': write KEY=VALUE, as in num_layers=12")
    try:
        return key, json.loads(text)
    except ValueError:
        return key, text


def _is_bounded_scalar(value: Any) -> bool:
    if isinstance(value, bool) or value is None:
        return True
    if isinstance(value, int | float):
        return abs(value) <= LARGEST_NUMBER
    return isinstance(value, str) and len(value) <= 256
