"""Importance of every shared parameter, from batches of images: the method itself."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from types import TracebackType

import torch
from torch import Tensor

from mascli.errors import DataError, NumericsError, UsageError
from mascli.files.tensors import shared_sha256
from mascli.importance.accumulator import Accumulator
from mascli.importance.images import Images
from mascli.importance.objective import Measure
from mascli.importance.passes import Surprise
from mascli.importance.plan import Plan
from mascli.importance.reliability import Halves
from mascli.importance.sums import planned, sums_of
from mascli.models.heads import MultiHeadModel, evaluating
from mascli.records import Reliability


@dataclass(frozen=True)
class Estimate:
    """Importance of each shared parameter: omega, over how many images, and what is known of it.

    `mean_value` is E|F|^2, the mean squared norm of the outputs, whatever the objective.
    """

    omega: dict[str, Tensor]
    images: int
    mean_value: float
    plan: Plan
    reliability: Reliability | None = None


@dataclass(frozen=True)
class EstimatorState:
    """Everything that an unfinished estimate has added up: `Estimator.load_state` goes on from it to the same bits.

    `sums` and `halves` are tensors by name, `value` the sum of |F|^2 over the images, and
    `fallback` the parameters that a batch sent to the one-image pass, with the reason.
    """

    sums: Mapping[str, Tensor]
    halves: Mapping[str, Tensor]
    images: int
    value: float
    fallback: Mapping[str, str]


class Estimator:
    """Adds up importance batch by batch; a context, in which the model is in eval mode.

        Omega = (1/N) sum over images of |d objective / d theta|      (paper, Eq. 2)

    exact for each image. The model is left exactly as it was: its tensors are hashed before and
    after. A batch that does not run as planned goes, with all later ones, one image at a time.

    Args:
        tasks: whose heads answer; their outputs count as one long vector.
        seed: draws the parameters of which the two halves of the images are compared.
    """

    def __init__(self, model: MultiHeadModel, tasks: tuple[str, ...], measure: Measure, seed: int = 0) -> None:
        self._model, self._tasks, self._measure = model, tasks, measure
        self._before = _fingerprint(model)
        self._total = Accumulator({})
        self._halves = Halves(model.shared_parameters(), seed)
        self._context = ExitStack()
        self.plan = Plan()

    def __enter__(self) -> Estimator:
        self._context.enter_context(evaluating(self._model))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._context.close()

    @property
    def images(self) -> int:
        """The number of images so far."""
        return self._total.images

    def prepare(self, images: Images) -> None:
        """Make the plan, and try it on the first of `images`.

        Raises:
            UnsupportedModelError: images of a batch influence each other, or answers are random.
            NumericsError: the model changed itself.
        """
        self.plan = planned(self._model, images, self._tasks, self._measure)
        self._check_unchanged()
        self._total = Accumulator(self._model.shared_parameters())  # after the trial, which needs memory too

    def add(self, images: Images) -> None:
        """Add one batch, of at least one image."""
        try:
            sums, values = self._sums_of(images)
        except torch.OutOfMemoryError as error:
            raise UsageError(
                f"the device has no memory for {len(images)} images at a time: give a smaller --batch-size"
            ) from error
        self._total.add(sums, values)
        self._halves.add(sums, len(images))

    def _sums_of(self, images: Images) -> tuple[dict[str, Tensor], Tensor]:
        try:
            return sums_of(self.plan, self._model, images, self._tasks, self._measure)
        except Surprise as surprise:
            self.plan = self.plan.falling_back(dict.fromkeys(self.plan.leaves, str(surprise)))
            return sums_of(self.plan, self._model, images, self._tasks, self._measure)

    @property
    def halves_are_even(self) -> bool:
        """Whether each half of the images has had the same number of batches."""
        return self._halves.batches % 2 == 0

    def reliability(self) -> Reliability | None:
        """How well the two halves of the images agree so far."""
        return self._halves.reliability()

    def result(self) -> Estimate:
        """The estimate from all images so far.

        Raises:
            DataError: no image at all.
            NumericsError: an importance that is not finite, or a model that the estimate changed.
        """
        if not self.images:
            raise DataError("there is no image to estimate importance from")
        self._check_unchanged()
        omega = self._total.mean()
        for name, values in omega.items():
            if not values.isfinite().all():
                raise NumericsError(
                    f"the importance of {name} is not finite: the model's outputs or gradients overflow on these "
                    "images; check the weights and the preprocessing (mascli inspect)"
                )
        if not math.isfinite(self._total.mean_value):
            raise NumericsError(
                "the mean squared norm of the model's outputs is not finite: they are too large; check the weights "
                "and the preprocessing (mascli inspect)"
            )
        unused = tuple(name for name in self.plan.unused if not omega[name].any())
        self.plan = replace(self.plan, unused=unused)
        return Estimate(omega, self.images, self._total.mean_value, self.plan, self.reliability())

    def state(self) -> EstimatorState:
        """What has been added up so far."""
        total = self._total
        return EstimatorState(total.state(), self._halves.state(), total.images, total.value, self.plan.fallback)

    def load_state(self, state: EstimatorState) -> None:
        """Go on from `state`, which an estimator of the same model and settings gave, after `prepare`."""
        self._total.load_state(state.sums, state.images, state.value)
        self._halves.load_state(state.halves)
        self.plan = self.plan.falling_back(state.fallback)

    def _check_unchanged(self) -> None:
        if _fingerprint(self._model) != self._before:
            raise NumericsError(
                "the estimate changed the model's parameters or buffers, so nothing was written; does its forward "
                "pass update itself in eval mode?"
            )


def estimate_importance(
    model: MultiHeadModel, batches: Iterable[Images], tasks: tuple[str, ...], measure: Measure, seed: int = 0
) -> Estimate:
    """Importance from all `batches` in one go (see `Estimator`)."""
    with Estimator(model, tasks, measure, seed) as estimator:
        for number, images in enumerate(batches):
            if number == 0:
                estimator.prepare(images)
            estimator.add(images)
        return estimator.result()


def _fingerprint(model: MultiHeadModel) -> str:
    """A hash of all parameters and all buffers, also those that no file keeps."""
    return shared_sha256({**model.state_dict(), **dict(model.named_buffers())})
