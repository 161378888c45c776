"""The pass of `mascli estimate` over the images: in batches, until all are seen or enough is known."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import torch

from mascli.data.decode import UnreadableImage, image_bytes
from mascli.data.loader import Batch, ImageReader, normalize
from mascli.errors import DataError, printable
from mascli.importance.batch_size import even_batches
from mascli.importance.engine import Estimate, Estimator
from mascli.importance.images import Images
from mascli.importance.reliability import enough
from mascli.observer import Observer
from mascli.records import Preprocessing
from mascli.reports.estimate import ways_text
from mascli.reports.numbers import plural
from mascli.workflows.estimating.measuring import Given
from mascli.workflows.estimating.unfinished_estimate import Position, UnfinishedEstimate
from mascli.workflows.stopping import asked_to_stop


class ImageSource:
    """The images of an estimate, in their order, as batches for the model.

    Args:
        files: all files of the folder.
        order: the places in `files` to measure, in the order to do so.
        given: what an objective needs of each image beside its pixels.
    """

    def __init__(
        self,
        files: Sequence[Path],
        order: Sequence[int],
        reader: ImageReader,
        preprocessing: Preprocessing,
        device: torch.device,
        given: Given,
    ) -> None:
        self.files, self.order, self.reader = files, order, reader
        self.batch_size = 1
        self._preprocessing, self._device, self._given = preprocessing, device, given

    def split(self, most: int, *, exactly: bool = False) -> None:
        """Make an even number of batches of at most `most` images, or batches of `most` if `exactly`."""
        self.batch_size = most if exactly else even_batches(len(self.order), most)

    def first(self, most: int) -> Images:
        """The first `most` readable images of the order."""
        with closing(self.reader.batches(self.order, most)) as batches:
            batch = next(batches, None)
        if batch is None:
            raise DataError("there is no image to estimate importance from")
        return self.prepared(batch)

    def batches(self, start: int) -> Iterator[Batch]:
        """The decoded batches from place `start` of the order on."""
        with closing(self.reader.batches(self.order[start:], self.batch_size)) as batches:
            yield from batches

    def prepared(self, batch: Batch) -> Images:
        """A decoded batch, ready for the model."""
        return Images(normalize(batch.pixels, self._preprocessing, self._device), self._given(batch))


def measure_images(
    source: ImageSource,
    estimator: Estimator,
    unfinished: UnfinishedEstimate,
    resume: bool,
    until: float | None,
    observer: Observer,
) -> tuple[Estimate, Position]:
    """Measure the images of `source`, from where `unfinished` is if `resume`.

    The sums are written from time to time, and when the user stops the program.

    Args:
        until: the reliability at which to stop before all images are seen.
    """
    places = {file: place for place, file in enumerate(source.order)}
    with observer.phase("planning"):
        estimator.prepare(source.first(source.batch_size))
    _tell_plan(estimator, source, observer)
    position = unfinished.load(estimator) if resume else Position()
    _check_same_images(source, position)
    if position.next:
        observer.step(f"going on after {estimator.images} images")
    with (
        observer.phase("measuring"),
        observer.progress("estimate", len(source.order)) as advance,
        asked_to_stop() as stop,
    ):
        advance(position.next)
        for batch in source.batches(position.next):
            estimator.add(source.prepared(batch))
            before, position.next = position.next, places[batch.positions[-1]] + 1
            position.digests += batch.digests
            _note_unreadable(position, source, before)
            advance(position.next - before)
            if stop.is_set():
                unfinished.save(estimator, position)
                raise KeyboardInterrupt
            unfinished.save_in_time(estimator, position)
            if until is not None and estimator.halves_are_even:
                reliability = estimator.reliability()
                if reliability is not None and enough(reliability, until, estimator.images):
                    break
        else:
            _note_unreadable(position, source, position.next, to=len(source.order))
    return estimator.result(), position


def _tell_plan(estimator: Estimator, source: ImageSource, observer: Observer) -> None:
    plan = estimator.plan
    parts = f", {plan.pass_size} at a time through the network" if 0 < plan.pass_size < source.batch_size else ""
    observer.step(f"batches of {plural(source.batch_size, 'image')}{parts}")
    observer.step(f"parameter tensors: {ways_text(plan.counts())}")


def _check_same_images(source: ImageSource, position: Position) -> None:
    """Check that the files measured before the stop hold the same bytes now.

    Raises:
        DataError: one has changed or is gone, so that no uninterrupted run could have measured it.
    """
    measured = [place for place in source.order[: position.next] if place not in position.unreadable]
    for place, digest in zip(measured, position.digests, strict=True):
        file = source.files[place]
        try:
            same = hashlib.sha256(image_bytes(file)).digest() == digest
        except UnreadableImage:
            same = False
        if not same:
            raise DataError(
                f"--resume: {printable(file)} has changed since it was measured; put it back, or give --overwrite to "
                "start anew"
            )


def _note_unreadable(position: Position, source: ImageSource, start: int, to: int | None = None) -> None:
    """Keep the reasons of the files that were left out between two places of the order."""
    reasons = source.reader.reasons
    for place in source.order[start : position.next if to is None else to]:
        if place in reasons:
            position.unreadable[place] = reasons[place]
