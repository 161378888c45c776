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


class Surprise(Exception):
    """A pass that does not run as planned: what the layer at `path` did otherwise is the `reason`."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class Capture:
    """Runs one pass of a model and hands each layer's inputs and output gradients to `receive`.

    Args:
        layers: the modules to listen to, by path.
        idle: modules that are not to run at all.
        copied: paths whose input is overwritten later in the pass and has to be copied.
        images: number of images in the pass; every layer has to get all of them.
    """

    def __init__(
        self,
        layers: Mapping[str, nn.Module],
        idle: Mapping[str, nn.Module],
        copied: Collection[str],
        images: int,
        receive: Receive,
    ) -> None:
        self._layers = layers
        self._idle = idle
        self._copied = copied
        self._images = images
        self._receive = receive
        self._uses: dict[str, list[_Use]] = {}
        self._token = torch.empty(0, requires_grad=True)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Listen to the layers inside this context."""
        handles = [layer.register_forward_hook(self._tap(path)) for path, layer in self._layers.items()]
        handles += [layer.register_forward_pre_hook(_alarm(path)) for path, layer in self._idle.items()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            self._uses = {}

    def backward(self, values: Tensor) -> None:
        """Run the backward pass of `values` [N] through all taps, down to the first layer.

        Raises:
            Surprise: the input of a layer was overwritten meanwhile.
        """
        torch.autograd.grad(values.sum(), self._token, allow_unused=True)
        for path in list(self._uses):
            self._deliver(path)  # layers of which some use does not reach the objective

    def _tap(self, path: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
        def hook(module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> Tensor:
            inputs = arguments[0].detach()
            if len(inputs) != self._images or len(output) != self._images:
                raise Surprise(path, f"it is called with {len(inputs)} of {self._images} images")
            use = _Use(inputs.clone() if path in self._copied else inputs, 0)
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
        if any(use.inputs._version != use.version for use in uses):
            raise Surprise(path, "its input is overwritten later in the pass")
        with torch.no_grad():
            seen = [(use.inputs, use.gradient) for use in uses if use.gradient is not None]
            if seen:
                self._receive(path, seen)


def _alarm(path: str) -> Callable[..., None]:
    def hook(*_: Any) -> None:
        raise Surprise(path, "it runs for some images and not for others")

    return hook
