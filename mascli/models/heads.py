"""One trunk, one head a task: the module that takes the classifier's place in a network."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import cast

import torch
from torch import Tensor, nn

from mascli.errors import UnsupportedModelError
from mascli.models.batchnorm import OwnTensors, normalisation_tensors
from mascli.models.classifier import (
    check_classifier_runs_once,
    find_classifier,
    read_classifier,
    replace_everywhere,
)
from mascli.models.kept_tensors import forgetting
from mascli.records import head_tensor


class _AllAnswered(Exception):
    """Leaves a pass as soon as every head has answered: what follows may not fit their outputs."""


class TaskHeads(nn.Module):
    """The heads of all tasks, called by the network where its classifier layer was.

    An imported head, one that came with the weights, answers through the rest of the network, so its
    outputs stay as they were, whatever follows (in SqueezeNet a ReLU and pooling). A head of our own
    is read right here, averaged over positions if there are any: nothing that follows can silence it.
    """

    def __init__(self, template: nn.Linear | nn.Conv2d) -> None:
        super().__init__()
        self.fresh = _fresh_head(template)
        self.class_dimension = -1 if isinstance(template, nn.Linear) else 1
        self.heads = nn.ModuleDict()  # keys start with "task-", since a module may not be called "keys"
        self.imported: set[str] = set()
        self.active: tuple[str, ...] = ()
        self.answers: dict[str, Tensor] = {}

    def forward(self, features: Tensor) -> Tensor:
        """Answer for the active tasks, from the features that the classifier layer used to get.

        Raises:
            _AllAnswered: no imported head is asked, and the rest of the network need not run.
        """
        passed_on: Tensor | None = None
        for task in self.active:
            answer: Tensor = self.heads[f"task-{task}"](features)
            if task in self.imported:
                passed_on = answer
            else:
                self.answers[task] = self._averaged(answer)
        if passed_on is None:
            raise _AllAnswered
        return passed_on

    def _averaged(self, answer: Tensor) -> Tensor:
        positions = [d for d in range(1, answer.dim()) if d != self.class_dimension % answer.dim()]
        return answer.mean(positions) if positions else answer  # [N, classes]


class MultiHeadModel(nn.Module):
    """A network whose classifier layer has been replaced by heads: one for each task, or for several.

    Args:
        network: any network whose classifier is one Linear or Conv2d layer.
        classifier: the path of that layer; found by running `example` through if it is empty.
        example: preprocessed images [n, C, H, W].
    """

    def __init__(self, network: nn.Module, classifier: str, example: Tensor) -> None:
        super().__init__()
        self.classifier = classifier or find_classifier(network, example)
        layer = read_classifier(network, self.classifier)
        check_classifier_runs_once(network, layer, example)
        self.original = (layer,)  # in a tuple: not a submodule any more
        self.network = network
        self.own = OwnTensors()
        self._owners: dict[str, str] = {}  # task -> the task whose head it uses, where that is not its own
        self._counted: set[str] = set()
        self._paths = replace_everywhere(network, layer, TaskHeads(layer))

    @property
    def task_heads(self) -> TaskHeads:
        """The module that stands where the classifier was."""
        heads = self.network.get_submodule(self.classifier)
        assert isinstance(heads, TaskHeads)
        return heads

    @property
    def tasks(self) -> tuple[str, ...]:
        """The names of all tasks: those that have a head, then those that use one of these, as they were added."""
        return (*(key.removeprefix("task-") for key in self.task_heads.heads), *self._owners)

    def head(self, task: str) -> nn.Module:
        """The head that `task` uses."""
        return self.task_heads.heads[f"task-{self.head_owner(task)}"]

    def head_owner(self, task: str) -> str:
        """The task that the head of `task` was made for: most often itself."""
        return self._owners.get(task, task)

    @property
    def common_heads(self) -> tuple[str, ...]:
        """The heads that several tasks use, by the task that each was made for: their tensors are shared."""
        return tuple(dict.fromkeys(self._owners.values()))

    def is_imported(self, task: str) -> bool:
        """Whether the head of `task` came with the weights, and answers through the rest of the network."""
        return self.head_owner(task) in self.task_heads.imported

    def use_head(self, task: str, of: str) -> None:
        """Let a new `task` use the head of `of`, whose tensors are shared from now on, for good.

        Where each task has its own normalisation, the new task starts from the newest one's.
        """
        self._owners[task] = self.head_owner(of)
        if self.own.names:
            self.own.add(self.network, task)

    def count_heads(self, tasks: Iterable[str]) -> None:
        """Count the tensors of the heads of `tasks` among the shared ones, whether or not several tasks use them."""
        self._counted |= {self.head_owner(task) for task in tasks}

    def answering(self, tasks: Sequence[str]) -> tuple[str, ...]:
        """`tasks` without those that answer as an earlier one: by the same head, with the same tensors of their own."""
        groups = {task: number for number, group in enumerate(self.own.passes(tasks)) for task in group}
        first = {(self.head_owner(task), number): task for task, number in reversed(groups.items())}
        return tuple(task for task in tasks if first[self.head_owner(task), groups[task]] == task)

    def add_head(self, task: str, classes: int) -> nn.Module:
        """Add a head with random weights for a new task of `classes` classes.

        Where each task has its own normalisation, the new task starts from the newest one's.
        """
        head = self.task_heads.fresh(classes).to(next(self.network.parameters()).device)
        self.task_heads.heads[f"task-{task}"] = head
        if self.own.names:
            self.own.add(self.network, task)
        return head

    def import_head(self, task: str) -> nn.Module:
        """Make the network's own classifier, with the weights it has, the head of `task`."""
        self.task_heads.heads[f"task-{task}"] = copy.deepcopy(self.original[0])
        self.task_heads.imported.add(task)
        return self.head(task)

    def take_head(self, task: str, other: MultiHeadModel) -> None:
        """Copy the head of `task`, and the tensors it has of its own, from `other`, a model of the same network.

        Of a task that uses the head of another one, it is copied that it does.
        """
        if other.head_owner(task) != task:
            self._owners[task] = other.head_owner(task)
        else:
            self.task_heads.heads[f"task-{task}"] = copy.deepcopy(other.head(task))
            imported = self.task_heads.imported
            (imported.add if other.is_imported(task) else imported.discard)(task)
        if self.own.names:
            stored = {name: self.own.values(self.network, name) for name in self.own.tasks}
            stored = {name: {n: t.clone() for n, t in values.items()} for name, values in stored.items()}
            stored[task] = other.own.values(other.network, task)
            self.own.restore(self.network, stored)

    def own_normalisation(self) -> int:
        """From now on each task has its own normalisation; returns how many of the network's tensors that is.

        The tasks there are keep what the network holds now, a task added later starts from the newest
        one's. These tensors are no longer shared, for good. 0: the network has none, and nothing changes.
        """
        names = () if self.own.names else normalisation_tensors(self.network)
        if names:
            self.own.begin(self.network, names, self.tasks)
        return len(self.own.names)

    def use(self, task: str) -> None:
        """Let the network hold what `task` has of its own, to be trained, measured or exported.

        Answers are right without it: `forward` makes one pass for each set of tensors it needs.
        """
        self.own.use(self.network, task)

    def forward(self, images: Tensor, tasks: tuple[str, ...]) -> tuple[Tensor, ...]:
        """The raw outputs [N, classes] of each of `tasks` for images [N, C, H, W]."""
        heads, answers = self.task_heads, dict[str, Tensor]()
        for group in self.own.passes(tasks):
            final = None
            owners = dict.fromkeys(self.head_owner(task) for task in group)
            with heads_active(heads, tuple(owners)):
                with suppress(_AllAnswered), forgetting(self.network, but=heads):
                    final = self.own.run(self.network, images, group[0])
                found = {o: final_outputs(final) if o in heads.imported else heads.answers[o] for o in owners}
            answers |= {task: found[self.head_owner(task)] for task in group}
        return tuple(answers[task] for task in tasks)

    def shared_parameters(self) -> dict[str, nn.Parameter]:
        """All shared parameters: those of the network, and of the heads that several tasks use, by their names."""
        heads = [owner for owner in self.tasks if owner in self._counted or owner in self.common_heads]
        return {**self.network_parameters(), **self.head_parameters(heads)}

    def learning_parameters(self, tasks: Iterable[str]) -> dict[str, nn.Parameter]:
        """The shared parameters that learn along with `tasks`: without the common heads that none of them uses."""
        used = {self.head_owner(task) for task in tasks}
        return {**self.network_parameters(), **self.head_parameters(o for o in self.common_heads if o in used)}

    def network_parameters(self) -> dict[str, nn.Parameter]:
        """Parameters outside the heads that no task has of its own, by the network's own names, a tied one once."""
        return {name: p for name, p in self.network.named_parameters() if self._is_shared(name)}

    def head_parameters(self, tasks: Iterable[str]) -> dict[str, nn.Parameter]:
        """The parameters of the heads of `tasks`, each once, by the names that they have in files."""
        owners = dict.fromkeys(self.head_owner(task) for task in tasks)
        return {head_tensor(o, name): p for o in owners for name, p in self.head(o).named_parameters()}

    def shared_buffers(self) -> dict[str, Tensor]:
        """Persistent buffers outside the heads that no task has of its own, by the network's own names."""
        stored = self.network.state_dict(keep_vars=True)
        return {name: b for name, b in self.network.named_buffers() if name in stored and self._is_shared(name)}

    def own_parameters(self) -> dict[str, nn.Parameter]:
        """Parameters that the task in use has of its own, by the network's own names: they learn with its head."""
        return {name: p for name, p in self.network.named_parameters() if name in self.own}

    def own_tensors(self) -> dict[str, dict[str, Tensor]]:
        """What each task has of its own, by task and by the network's own names."""
        return {task: self.own.values(self.network, task) for task in self.own.tasks}

    def aliases(self) -> dict[str, str]:
        """Second names of tied shared parameters, each with the name it is stored under."""
        first = {id(p): name for name, p in self.network_parameters().items()}
        every = self.network.named_parameters(remove_duplicate=False)
        return {n: first[id(p)] for n, p in every if id(p) in first and first[id(p)] != n}

    def head_tensors(self) -> dict[str, dict[str, Tensor]]:
        """The tensors of every head, by the task that it was made for and by the head's own names."""
        owners = (task for task in self.tasks if self.head_owner(task) == task)
        return {task: dict(self.head(task).state_dict()) for task in owners}

    def load(
        self,
        shared: Mapping[str, Tensor],
        buffers: Mapping[str, Tensor],
        heads: Mapping[str, Mapping[str, Tensor]],
        owned: Mapping[str, Mapping[str, Tensor]] | None = None,
    ) -> None:
        """Copy stored values into the parameters, buffers and heads that have their names.

        `owned` is what each task has of its own, the newest task's last; the network then holds these.
        """
        if owned:
            self.own.restore(self.network, owned)
        with torch.no_grad():
            for name, target in (*self.network_parameters().items(), *self.shared_buffers().items()):
                target.copy_(shared[name] if name in shared else buffers[name])
            for task, tensors in heads.items():
                self.head(task).load_state_dict(dict(tensors))

    def _is_shared(self, name: str) -> bool:
        return name not in self.own and not any(name.startswith(f"{path}.") for path in self._paths)


@contextmanager
def heads_active(heads: TaskHeads, tasks: tuple[str, ...]) -> Iterator[None]:
    """Let `tasks` answer inside this context, and keep no answer of theirs after it."""
    heads.active, heads.answers = tasks, {}
    try:
        yield
    finally:
        heads.active, heads.answers = (), {}


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put every module in eval mode, and each back into its own mode afterwards."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _fresh_head(layer: nn.Linear | nn.Conv2d) -> Callable[[int], nn.Module]:
    """Makes heads of the classifier's type and configuration, with random weights, for any number of classes."""
    bias = layer.bias is not None
    if isinstance(layer, nn.Linear):
        inputs = layer.in_features
        return lambda classes: nn.Linear(inputs, classes, bias)
    channels, kernel = layer.in_channels, cast(tuple[int, int], layer.kernel_size)
    stride, dilation = cast(tuple[int, int], layer.stride), cast(tuple[int, int], layer.dilation)
    padding = layer.padding if isinstance(layer.padding, str) else cast(tuple[int, int], layer.padding)
    return lambda classes: nn.Conv2d(channels, classes, kernel, stride, padding, dilation, bias=bias)


def final_outputs(final: object) -> Tensor:
    """The main output [N, classes] of a network that may return auxiliary ones beside it."""
    if isinstance(final, tuple | list) and final:
        final = final[0]
    if not isinstance(final, Tensor):
        raise UnsupportedModelError(f"the network returns a {type(final).__name__}, not a tensor of outputs")
    return final if final.dim() == 2 else final.flatten(1)
