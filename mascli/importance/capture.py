"""Gets hold of what each layer sees: its input on the way forward, the gradient on the way back.

A tap sits on the output of each layer that a rule is responsible for. It is an identity with a
backward of its own, and depends on a token, so that asking for the gradient at the token runs the
backward pass through every tap and computes no parameter's gradient on the side.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from mascli.errors import NumericsError

# Called with the uses of one layer in a pass, each its input and the gradient at its output, as
# soon as the backward pass has come by all of them.
Receive = Callable[[str, list[tuple[Tensor, Tensor]]], None]


@dataclass
class _Use:
    inputs: Tensor
    version: int
    gradient: Tensor | None = None


class _Tap(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, output: Tensor, token: Tensor, receive: Callable[[Tensor], None]) -> Tensor:
        ctx.receive = receive
        ctx.mark_dirty(output)  # handed on as it is: a later in-place operation is none of our business
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        ctx.receive(gradient)
        return gradient, None, None


class Capture:
    """Runs passes of a model and hands each layer's inputs and output gradients to `receive`.

    Args:
        layers: the modules to listen to, by path.
        copied: paths whose input is overwritten later in the pass and has to be copied.
    """

    def __init__(self, layers: Mapping[str, nn.Module], copied: Collection[str], receive: Receive) -> None:
        self.layers = layers
        self.copied = copied
        self.receive = receive
        self._uses: dict[str, list[_Use]] = {}
        self._token = torch.empty(0, requires_grad=True)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Listen to the layers inside this context."""
        handles = [layer.register_forward_hook(self._hook(path)) for path, layer in self.layers.items()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            self._uses = {}

    def backward(self, values: Tensor) -> None:
        """Run the backward pass of `values` [N] through all taps, down to the first layer."""
        torch.autograd.grad(values.sum(), self._token, allow_unused=True)
        for path in list(self._uses):
            self._deliver(path)  # layers of which some use does not reach the objective
        self._uses = {}

    def _hook(self, path: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
        def hook(module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> Tensor:
            inputs = arguments[0].detach()
            use = _Use(inputs.clone() if path in self.copied else inputs, 0)
            use.version = use.inputs._version
            self._uses.setdefault(path, []).append(use)

            def receive(gradient: Tensor) -> None:
                use.gradient = gradient
                if all(other.gradient is not None for other in self._uses[path]):
                    self._deliver(path)

            base = output.clone() if output._is_view() else output
            return cast(Tensor, _Tap.apply(base, self._token, receive))

        return hook

    def _deliver(self, path: str) -> None:
        uses = self._uses.pop(path)
        for use in uses:
            if use.inputs._version != use.version:
                raise NumericsError(
                    f"the input of layer {path} was overwritten during the pass, though it was not when the pass "
                    "was planned; please report this model"
                )
        with torch.no_grad():
            seen = [(use.inputs, use.gradient) for use in uses if use.gradient is not None]
            if seen:
                self.receive(path, seen)
