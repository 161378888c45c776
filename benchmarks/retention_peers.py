"""Avalanche's own strategies on the same images, network, start, optimiser and number of epochs.

Taken as they come. Known of them, and left alone: MAS and EWC measure the sum over a batch, MAS in
train mode (dropout on, batch norm moves) and as a moving average that halves older tasks; SI cuts
importance off at 0.001; the penalty is added to the loss, so that a large strength diverges; batch
norm always learns; the optimiser keeps its momentum from task to task; the last epoch is kept.

Its SI keeps the parameters before a step as a view of the parameters themselves, if they are on the
CPU: the step it sees is 0, all its importance too, and lambda has no effect. `si` is that;
`si-mended` is the same with copies. Two things that stop it are gone around: its MAS takes a loss of exactly 0 for
one that is not there, and its SI stops at a head that has no gradient.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from retention_data import Subject
from torch import Tensor, nn

from mascli.data.folders import labelled_folder
from mascli.data.loader import load_image_set, normalize
from mascli.models.heads import MultiHeadModel
from mascli.observer import Observer
from mascli.records import Preprocessing
from mascli.workflows.loading import start_checkpoint

Labelled = tuple[Tensor, Tensor]
Matrix = tuple[tuple[float, ...], ...]

# Our families of strengths, whose grids these share.
PEERS = {"naive": None, "mas": "mas", "ewc": "ewc", "si": "si", "si-mended": "si", "lwf": "lwf"}


def version() -> str | None:
    """The version of Avalanche, or None where it is not installed."""
    if importlib.util.find_spec("avalanche") is None:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import avalanche
    return str(avalanche.__version__)


class Peers:
    """Avalanche on one sequence; images are read once."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._images: dict[str, tuple[Labelled, Labelled]] = {}

    def matrix(self, method: str, strength: float | None, seed: int) -> Matrix:
        """The accuracy matrix of `method` (a name in `PEERS`) in percent.

        Row i holds the accuracies on the test images of tasks 0 to i after learning task i. A network
        whose parameters are not finite any more answers as it does.
        """
        model = self._start(seed)
        torch.manual_seed(seed)
        with warnings.catch_warnings(), _copied_weights() if method == "si-mended" else nullcontext():
            warnings.simplefilter("ignore")
            network = _multi_task(model, self._subject.tasks)
            strategy = _strategy(method, strength, network, self._subject)
            rows = []
            for number, experience in enumerate(self._experiences()):
                strategy.train(experience)
                rows.append(tuple(self._accuracy(model, task) for task in self._subject.tasks[: number + 1]))
        return tuple(rows)

    def _start(self, seed: int) -> MultiHeadModel:
        """The network that `mascli run` starts from under this seed."""
        torch.manual_seed(seed)
        opened = start_checkpoint(self._subject.model, self._subject.weights, torch.device("cpu"), Observer())
        if not self._images:
            self._images = {task: self._read(task, opened.preprocessing) for task in self._subject.tasks}
        return opened.model

    def _read(self, task: str, preprocessing: Preprocessing) -> tuple[Labelled, Labelled]:
        return (
            _pixels(self._subject.folder(task, "train"), preprocessing),
            _pixels(self._subject.folder(task, "test"), preprocessing),
        )

    def _experiences(self) -> Sequence[Any]:
        from avalanche.benchmarks import benchmark_from_datasets, with_classes_timeline, with_task_labels
        from avalanche.benchmarks.utils.classification_dataset import _make_taskaware_classification_dataset
        from torch.utils.data import TensorDataset

        datasets = [
            _make_taskaware_classification_dataset(
                TensorDataset(pixels, labels),
                targets=labels.tolist(),
                task_labels=0 if self._subject.heads == "one" else n,
            )
            for n, (pixels, labels) in enumerate(self._images[task][0] for task in self._subject.tasks)
        ]
        return with_classes_timeline(with_task_labels(benchmark_from_datasets(train=datasets))).train_stream

    def _accuracy(self, model: MultiHeadModel, task: str) -> float:
        pixels, labels = self._images[task][1]
        head = self._subject.tasks[0] if self._subject.heads == "one" else task
        model.eval()
        with torch.inference_mode():
            guesses = torch.cat([model(part, (head,))[0].argmax(1) for part in pixels.split(64)])
        return 100 * float((guesses == labels).double().mean())


def _pixels(folder: Path, preprocessing: Preprocessing) -> Labelled:
    """All images of a labelled folder as the network wants them [N, C, H, W], and their labels [N]."""
    found = labelled_folder(folder)
    images = load_image_set(found.files, found.labels, preprocessing)
    ((pixels, labels),) = images.in_parts([range(len(images))])
    return normalize(pixels, preprocessing, torch.device("cpu")), labels


def _multi_task(model: MultiHeadModel, tasks: Sequence[str]) -> nn.Module:
    """Our network as one of Avalanche's, which adds a head when it meets a task."""
    from avalanche.models import MultiTaskModule

    class MultiTask(MultiTaskModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def adaptation(self, experience: Any) -> None:
            super().adaptation(experience)
            task = tasks[experience.task_label]
            if task not in self.model.tasks:
                self.model.add_head(task, len(experience.classes_in_this_experience))

        def forward_single_task(self, x: Tensor, task_label: int) -> Tensor:
            (outputs,) = self.model(x, (tasks[task_label],))
            return outputs

    return MultiTask()


def _strategy(method: str, strength: float | None, network: nn.Module, subject: Subject) -> Any:
    from avalanche.training import EWC, MAS, LwF, Naive, SynapticIntelligence
    from avalanche.training.plugins import EvaluationPlugin

    training = subject.training
    common = {
        "model": network,
        "optimizer": torch.optim.SGD(network.parameters(), lr=training.lr, momentum=0.9),
        "criterion": nn.CrossEntropyLoss(),
        "train_mb_size": training.batch_size,
        "train_epochs": training.epochs,
        "evaluator": EvaluationPlugin(),
    }
    if method == "naive":
        return Naive(**common)
    if method == "mas":
        return MAS(lambda_reg=strength, **{**common, "criterion": _never_zero})
    if method == "ewc":
        return EWC(ewc_lambda=strength, **common)
    if method == "lwf":
        return LwF(alpha=strength, temperature=2.0, **common)
    strategy = SynapticIntelligence(si_lambda=strength, **common)
    plugin = next(plugin for plugin in strategy.plugins if type(plugin).__name__ == "SynapticIntelligencePlugin")
    if subject.heads == "own":
        plugin.excluded_parameters.add("*.heads.task-*")
    return strategy


def _never_zero(outputs: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy, and a number so small that nothing else changes."""
    return nn.functional.cross_entropy(outputs, labels) + 1e-30


@contextmanager
def _copied_weights() -> Iterator[None]:
    """Let Avalanche's SI keep copies of the parameters, not views."""
    from avalanche.training.plugins import SynapticIntelligencePlugin

    def copied(model: nn.Module, target: Any, excluded: set[str]) -> None:
        for name, parameter in SynapticIntelligencePlugin.allowed_parameters(model, excluded):
            target[name].data = parameter.detach().flatten().clone()

    with patch.object(SynapticIntelligencePlugin, "extract_weights", staticmethod(copied)):
        yield
