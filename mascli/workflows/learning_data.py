"""The images that a new task is learned from, and those it is validated on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mascli.config import ImageOptions, TrainTaskConfig
from mascli.data.augment import augment
from mascli.data.folders import LabelledFolder, labelled_folder, labels_for
from mascli.data.loader import Cache, ImageSet, load_image_set, normalize
from mascli.data.order import stratified_split
from mascli.errors import DataError, listed, printable
from mascli.evaluation.predict import predict
from mascli.models.heads import MultiHeadModel
from mascli.observer import Observer
from mascli.records import Preprocessing
from mascli.workflows.chosen_folders import training_folder


@dataclass(frozen=True)
class LearningData:
    """Which images of `images` to learn from, and which of `val_set` to validate on.

    `val_set` is `images` itself where the validation images were split off.
    """

    classes: tuple[str, ...]
    images: ImageSet
    training: list[int]
    val_set: ImageSet
    validating: list[int]
    preprocessing: Preprocessing
    batch_size: int
    device: torch.device

    @property
    def digests(self) -> list[bytes]:
        """The content hashes of the images learned from."""
        return [self.images.digests[index] for index in self.training]

    @property
    def unreadable(self) -> tuple[tuple[str, str], ...]:
        """The files left out, with the reason."""
        sets = [self.images] if self.val_set is self.images else [self.images, self.val_set]
        return tuple((str(item.file), item.reason) for images in sets for item in images.unreadable)

    def training_batches(self, augmentation: str, seed: int) -> Callable[[], Iterator[tuple[Tensor, Tensor]]]:
        """A function that gives an epoch: batches in a new seeded order each time, ready for the network."""
        generator = torch.Generator().manual_seed(derived_seed(seed, "order and augmentation"))

        def batches() -> Iterator[tuple[Tensor, Tensor]]:
            order = [self.training[i] for i in torch.randperm(len(self.training), generator=generator).tolist()]
            for pixels, labels in self.images.batches(order, self.batch_size):
                changed = augment(pixels, augmentation, generator)  # type: ignore[arg-type]
                yield normalize(changed, self.preprocessing, self.device), labels.to(self.device)

        return batches

    def validation(self, model: MultiHeadModel, task: str) -> Callable[[], float] | None:
        """A function that measures validation accuracy in percent; None without validation images."""
        if not self.validating:
            return None
        labels = self.val_set.labels[self.validating]

        def validate() -> float:
            predicted = predict(model, task, self.inputs(self.val_set, self.validating))
            return 100 * float((predicted == labels).double().mean())

        return validate

    def some_training_images(self, most: int = 256) -> Iterator[Tensor]:
        """About `most` of the training images, spread over all, as the network wants them."""
        return self.inputs(self.images, self.training[:: max(1, len(self.training) // most)])

    def inputs(self, images: ImageSet, order: Sequence[int]) -> Iterator[Tensor]:
        """The preprocessed images of `order`, batch by batch."""
        for pixels, _ in images.batches(order, self.batch_size):
            yield normalize(pixels, self.preprocessing, self.device)


def learning_data(
    config: TrainTaskConfig, preprocessing: Preprocessing, device: torch.device, observer: Observer
) -> LearningData:
    """Read the folder of a new task, and split off or read its validation images.

    Raises:
        DataError: fewer than two classes, a class without a readable image, or a validation class
            that is not trained.
    """
    folder = training_folder(config.data)
    images = read_folder(folder, folder.labels, preprocessing, config, observer, config.cache)
    present = set(images.labels.tolist())
    missing = [name for number, name in enumerate(folder.classes) if number not in present]
    if missing:
        raise DataError(f"{printable(config.data)}: no image of class {listed(missing)} can be read")
    if config.val is None:
        val_set = images
        training, validating = stratified_split(images.labels.tolist(), config.val_split, config.seed)
    else:
        val_folder = labelled_folder(config.val)
        labels = labels_for(val_folder, folder.classes, config.task)
        val_set = read_folder(val_folder, labels, preprocessing, config, observer, config.cache)
        training, validating = list(range(len(images))), list(range(len(val_set)))
    if not validating:
        observer.note("there are no validation images: the last epoch is kept")
    return LearningData(folder.classes, images, training, val_set, validating, preprocessing, config.batch_size, device)


def derived_seed(seed: int, purpose: str) -> int:
    """A seed of its own for each purpose, so that one stream of numbers cannot shift another."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{purpose}".encode()).digest()[:6], "big")


def read_folder(
    folder: LabelledFolder,
    labels: Sequence[int],
    preprocessing: Preprocessing,
    options: ImageOptions,
    observer: Observer,
    cache: Cache = "auto",
) -> ImageSet:
    """Read all images of a labelled folder, and say which lie outside class folders.

    Raises:
        DataError: none of them can be read, or one cannot and `--on-error fail` is given.
    """
    if folder.strays:
        count, root = len(folder.strays), printable(folder.root)
        observer.note(f"{count} images of {root} lie outside class folders and are left out")
    return load_image_set(
        folder.files,
        labels,
        preprocessing,
        cache=cache,
        workers=options.workers,
        on_error=options.on_error,
        observer=observer,
        label_text=f"read {printable(folder.root)}",
    )
