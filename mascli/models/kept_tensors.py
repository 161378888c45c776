"""Networks that keep tensors from one pass to the next, beside their parameters and buffers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

# What every module has: its parameters and buffers, which stay as a pass leaves them, and its hooks.
_OF_EVERY_MODULE = frozenset(vars(nn.Module()))


@contextmanager
def forgetting(network: nn.Module, but: nn.Module | None = None) -> Iterator[None]:
    """Let the network keep no tensor of the passes in this context, if it is in eval mode.

    Some networks keep in a plain attribute what they have made of parameters (timm's LeViT: its
    attention biases), as long as they are in eval mode. Another pass would use it without the graph
    that leads to the parameters, and after other weights were loaded, with the old ones.

    Args:
        but: a module whose attributes are left alone.
    """
    if network.training:
        yield
        return
    before = {module: _kept(module) for module in network.modules() if module is not but}
    try:
        yield
    finally:
        for module, kept in before.items():
            _restore(module, kept)


def _kept(module: nn.Module) -> dict[str, tuple[Any, Any]]:
    """Each plain attribute of a module, and what it holds now if it is a dict or a list."""
    return {
        name: (value, value.copy() if type(value) in (dict, list) else None)
        for name, value in vars(module).items()
        if name not in _OF_EVERY_MODULE
    }


def _restore(module: nn.Module, kept: dict[str, tuple[Any, Any]]) -> None:
    attributes = vars(module)
    for name in [name for name in attributes if name not in _OF_EVERY_MODULE]:
        now = attributes[name]
        if name not in kept:
            if _holds_tensor(now):
                del attributes[name]
            continue
        value, held = kept[name]
        if now is not value and (_holds_tensor(now) or _holds_tensor(value)):
            attributes[name] = now = value
        if held is not None and now is value and (_holds_tensor(now) or _holds_tensor(held)):
            now.clear()
            now.update(held) if isinstance(held, dict) else now.extend(held)


def _holds_tensor(value: Any) -> bool:
    if isinstance(value, dict):
        return any(isinstance(member, Tensor) for member in value.values())
    if isinstance(value, list | tuple):
        return any(isinstance(member, Tensor) for member in value)
    return isinstance(value, Tensor)
