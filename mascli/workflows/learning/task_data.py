"""The images that a new task is learned from, and those it is validated on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mascli.config import ImageOptions, TrainTaskConfig, rehearsal_folders
from mascli.data.augment import Augmentation
from mascli.data.folders import LabelledFolder, labelled_folder, labels_for
from mascli.data.loader import Cache, ImageSet, load_image_set, normalize
from mascli.data.order import stratified_split
from mascli.errors import DataError, listed, printable
from mascli.evaluation.predict import answers
from mascli.files.records_json import canonical_json
from mascli.models.heads import MultiHeadModel
from mascli.observer import Observer
from mascli.records import Preprocessing, Task
from mascli.reports.evaluate_classes import absence
from mascli.reports.numbers import plural
from mascli.training.history import Validation
from mascli.workflows.chosen_folders import classes_to_learn, training_folder
from mascli.workflows.learning.task_batches import ImageBatches, Source


@dataclass(frozen=True)
class LearningData:
    """Which images of `images` to learn from, and which of `val_set` to validate on.

    `val_set` is `images` itself where the validation images were split off. `rehearsed` are images of
    old tasks to learn along.
    """

    classes: tuple[str, ...]
    images: ImageSet
    training: list[int]
    val_set: ImageSet
    validating: list[int]
    preprocessing: Preprocessing
    batch_size: int
    device: torch.device
    rehearsed: tuple[Source, ...] = ()

    @property
    def digests(self) -> list[bytes]:
        """The content hashes of the images learned from."""
        return [self.images.digests[index] for index in self.training]

    @property
    def sha256(self) -> str:
        """A hash of all images with their labels, in their order: of what is learned from, validated on, rehearsed."""
        digest = hashlib.sha256(canonical_json(self.classes).encode())
        parts = [(self.images, self.training), (self.val_set, self.validating)]
        for images, chosen in (*parts, *((source.images, source.chosen) for source in self.rehearsed)):
            labels = images.labels.tolist()
            digest.update(b"".join(images.digests[n] + labels[n].to_bytes(8, "little") for n in chosen) + b"|")
        return digest.hexdigest()

    @property
    def unreadable(self) -> tuple[tuple[str, str], ...]:
        """The files left out, with the reason."""
        sets = [self.images] if self.val_set is self.images else [self.images, self.val_set]
        sets += [source.images for source in self.rehearsed]
        return tuple((str(item.file), item.reason) for images in sets for item in images.unreadable)

    def training_batches(self, task: str, augmentation: Augmentation, seed: int) -> ImageBatches:
        """The epochs of a training from its beginning: of `task`, and of what is rehearsed."""
        sources = [Source(task, self.images, self.training), *self.rehearsed]
        shuffled = derived_seed(seed, "order and augmentation")
        return ImageBatches(sources, self.batch_size, self.preprocessing, self.device, augmentation, shuffled)

    def validation(self, model: MultiHeadModel, task: str) -> Callable[[], Validation] | None:
        """A function that measures how the model does on the validation images; None without any."""
        if not self.validating:
            return None
        labels = self.val_set.labels[self.validating]

        def validate() -> Validation:
            outputs = answers(model, task, self.inputs(self.val_set, self.validating))
            accuracy = 100 * float((outputs.argmax(1) == labels).double().mean())
            return Validation(accuracy, float(F.cross_entropy(outputs.double(), labels)))

        return validate

    def some_training_images(self, most: int = 256) -> Iterator[Tensor]:
        """About `most` of the training images, spread over all, as the network wants them."""
        return self.inputs(self.images, self.training[:: max(1, len(self.training) // most)])

    def inputs(self, images: ImageSet, order: Sequence[int]) -> Iterator[Tensor]:
        """The preprocessed images of `order`, batch by batch."""
        for pixels, _ in images.batches(order, self.batch_size):
            yield normalize(pixels, self.preprocessing, self.device)


def learning_data(
    config: TrainTaskConfig,
    preprocessing: Preprocessing,
    tasks: Sequence[Task],
    device: torch.device,
    observer: Observer,
) -> LearningData:
    """Read the folder of a new task, split off or read its validation images, and read what is rehearsed.

    Args:
        tasks: the tasks that the checkpoint has.

    Raises:
        DataError: fewer than two classes, a class without a readable image, or a validation class
            that is not trained.
    """
    folder = training_folder(config.data)
    classes = classes_to_learn(config, folder, tasks)
    labels = labels_for(folder, classes, config.task)
    images = read_folder(folder, labels, preprocessing, config, observer, config.cache)
    present = set(images.labels.tolist())
    missing = [name for number, name in enumerate(classes) if number not in present]
    if missing:
        raise DataError(f"{printable(config.data)}: no image of class {listed(missing)} can be read")
    if config.val is None:
        val_set = images
        training, validating = stratified_split(images.labels.tolist(), config.val_split, config.seed)
    else:
        val_folder = labelled_folder(config.val, allow_empty=True)
        labels = labels_for(val_folder, classes, config.task)
        val_set = read_folder(val_folder, labels, preprocessing, config, observer, config.cache)
        training, validating = list(range(len(images))), list(range(len(val_set)))
        both = len(set(images.digests).intersection(val_set.digests))
        if both:
            observer.note(
                f"--val: {plural(both, 'image')} to learn from too: what is learned by heart looks right there"
            )
        unseen = sorted(set(range(len(classes))) - set(val_set.labels.tolist()))
        if unseen:
            lacking = absence("--val", tuple(classes[label] for label in unseen), len(classes))
            observer.note(f"{lacking}; the epoch, and lambda if it is searched for, are chosen without them")
    if not validating:
        observer.note("there are no validation images: the last epoch is kept")
    return LearningData(
        classes,
        images,
        training,
        val_set,
        validating,
        preprocessing,
        config.batch_size,
        device,
        tuple(_rehearsed(config, preprocessing, tasks, observer)),
    )


def _rehearsed(
    config: TrainTaskConfig, preprocessing: Preprocessing, tasks: Sequence[Task], observer: Observer
) -> Iterator[Source]:
    """The images of each old task to learn along, in the order of the tasks."""
    folders = rehearsal_folders(config.rehearse)
    for task in tasks:
        if task.name in folders:
            folder = labelled_folder(folders[task.name])
            labels = labels_for(folder, task.classes, task.name)
            images = read_folder(folder, labels, preprocessing, config, observer, config.cache)
            yield Source(task.name, images, range(len(images)))


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
        lie = "lies outside class folders and is" if count == 1 else "lie outside class folders and are"
        observer.note(f"{plural(count, 'image')} of {root} {lie} left out")
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
