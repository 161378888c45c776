"""Normalisation of each task's own: its running statistics, scale and shift (`--batchnorm per-task`).

What a batch norm has learned fits the images that it has seen. Where each task keeps its own, another
task's images change nothing of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call


def normalisation_tensors(network: nn.Module) -> tuple[str, ...]:
    """The names of all parameters and stored buffers of layers that normalise by running statistics.

    Such a layer has a stored floating-point buffer `running_...` of its own: every batch norm (with
    SyncBatchNorm, subclasses and timm's BatchNormAct2d), an instance norm that tracks statistics, an
    EvoNorm. What it has inside of it, as an activation with weights, is not part of it; neither is a
    parameter that another kind of layer uses too. A norm without running statistics is none of them.
    """
    inside, outside = set[int](), set[int]()
    for module in network.modules():
        own = {*map(id, module.parameters(recurse=False)), *map(id, module.buffers(recurse=False))}
        (inside if _normalises(module) else outside).update(own)
    stored = network.state_dict(keep_vars=True)
    every = (*network.named_parameters(), *network.named_buffers())
    return tuple(name for name, tensor in every if id(tensor) in inside - outside and name in stored)


def stored_statistics(module: nn.Module) -> list[str]:
    """The floating-point buffers that a layer itself stores, by name: a mask or a table that is not stored is none."""
    stored = module._buffers.keys() - module._non_persistent_buffers_set
    return [
        n for n, tensor in module._buffers.items() if n in stored and tensor is not None and tensor.is_floating_point()
    ]


def _normalises(module: nn.Module) -> bool:
    return any(name.startswith("running_") for name in stored_statistics(module))


class OwnTensors(nn.Module):
    """The tensors of a network that each task has of its own, by the network's names; at first there are none.

    Tasks whose values are equal share a set of them. The network itself holds the current set; the
    others wait here, as buffers, so that they follow the model to a device, a dtype or a copy of it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.names: tuple[str, ...] = ()
        self._known: frozenset[str] = frozenset()
        self._set_of: dict[str, int] = {}
        self._sets = 0
        self._current = 0

    def __contains__(self, name: str) -> bool:
        """Whether the tensor `name` of the network is each task's own."""
        return name in self._known

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that have tensors of their own, in the order they got them."""
        return tuple(self._set_of)

    def begin(self, network: nn.Module, names: Iterable[str], tasks: Iterable[str]) -> None:
        """From now on the tensors `names` are each task's own: those of `tasks` are what the network holds."""
        self.names = tuple(names)
        self._known = frozenset(self.names)
        self._buffers.clear()
        self._set_of = dict.fromkeys(tasks, 0)
        self._current, self._sets = 0, 0
        if self._set_of:
            self._new_set(network)

    def add(self, network: nn.Module, task: str, values: Mapping[str, Tensor] | None = None) -> None:
        """Give `task` tensors of its own, and let the network hold them: `values`, else those of the newest task."""
        if self._set_of:
            self.use(network, self.tasks[-1])
        self._keep(network)
        self._set_of[task] = self._new_set(network)
        self._current = self._set_of[task]
        if values is not None:
            _copy(values, _tensors(network, self.names))

    def restore(self, network: nn.Module, stored: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Take the tensors of each task from a file, the newest task last; the network holds that one's."""
        self.begin(network, next(iter(stored.values()), {}), ())
        for task, values in stored.items():
            equal = (other for other in self.tasks if _are_equal(stored[other], values))
            known = next(equal, None)
            if known is None:
                self.add(network, task, values)
            else:
                self._set_of[task] = self._set_of[known]
        if stored:
            self.use(network, self.tasks[-1])

    def use(self, network: nn.Module, task: str) -> None:
        """Let the network hold the tensors of `task`, as it then is trained, measured or exported."""
        wanted = self._set_of.get(task, self._current)
        if wanted == self._current:
            return
        self._keep(network)
        _copy(self._waiting(wanted), _tensors(network, self.names))
        self._current = wanted

    def values(self, network: nn.Module, task: str) -> dict[str, Tensor]:
        """The tensors of `task` as they are now, by the network's names."""
        if self._set_of[task] == self._current:
            return _tensors(network, self.names)
        return self._waiting(self._set_of[task])

    def passes(self, tasks: Iterable[str]) -> list[tuple[str, ...]]:
        """`tasks` in groups that the network can answer for in one pass."""
        groups: dict[int, list[str]] = {}
        for task in tasks:
            groups.setdefault(self._set_of.get(task, self._current), []).append(task)
        return [tuple(group) for group in groups.values()]

    def run(self, network: nn.Module, images: Tensor, task: str) -> object:
        """What the network gives for images [N, C, H, W] with the tensors of `task`.

        Those that the network does not hold are constants here: they get no gradient, and train mode
        does not move them.
        """
        if self._set_of.get(task, self._current) == self._current:
            return network(images)
        with _still(network, self.names):
            return functional_call(network, self._waiting(self._set_of[task]), (images,))

    def still(self, network: nn.Module) -> AbstractContextManager[None]:
        """Keep the layers with tensors of each task's own in eval mode inside this context."""
        return _still(network, self.names)

    def _new_set(self, network: nn.Module) -> int:
        for place, tensor in enumerate(_tensors(network, self.names).values()):
            self.register_buffer(f"set{self._sets}_{place}", tensor.detach().clone(), persistent=False)
        self._sets += 1
        return self._sets - 1

    def _keep(self, network: nn.Module) -> None:
        """Copy what the network holds to where it waits."""
        if self._sets:
            _copy(_tensors(network, self.names), self._waiting(self._current))

    def _waiting(self, number: int) -> dict[str, Tensor]:
        return {name: self.get_buffer(f"set{number}_{place}") for place, name in enumerate(self.names)}


def _tensors(network: nn.Module, names: Iterable[str]) -> dict[str, Tensor]:
    """The parameters and buffers of `network` that are called `names`."""
    return {name: getattr(network.get_submodule(path), last) for name in names for path, last in [_split(name)]}


def _copy(values: Mapping[str, Tensor], into: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, tensor in into.items():
            tensor.copy_(values[name])


def _split(name: str) -> tuple[str, str]:
    path, _, last = name.rpartition(".")
    return path, last


def _are_equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@contextmanager
def _still(network: nn.Module, names: Iterable[str]) -> Iterator[None]:
    """Keep the layers that own `names` in eval mode inside this context."""
    modes = {layer: layer.training for layer in {network.get_submodule(_split(name)[0]) for name in names}}
    for layer in modes:
        layer.training = False
    try:
        yield
    finally:
        for layer, mode in modes.items():
            layer.training = mode
