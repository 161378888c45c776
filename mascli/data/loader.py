"""Reading images ahead of the network: threads, batches, a cache in memory, and files that cannot be read."""

from __future__ import annotations

import hashlib
import math
import os
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mascli.data.decode import UnreadableImage, decode, image_bytes
from mascli.data.kept_images import kept_images
from mascli.data.memory import available_memory
from mascli.errors import DataError, printable
from mascli.observer import Observer
from mascli.records import Preprocessing

OnError = Literal["skip", "fail"]
Cache = Literal["auto", "memory", "none"]


@dataclass(frozen=True)
class Unreadable:
    """An image file that was left out, and why."""

    file: Path
    reason: str


@dataclass(frozen=True)
class DecodedImage:
    """One decoded file: its place in the list of files, the sha256 of its bytes, its pixels [C, H, W]."""

    position: int
    digest: bytes
    pixels: NDArray[np.uint8]


@dataclass(frozen=True)
class Batch:
    """Images ready for `normalize`: uint8 pixels [N, C, H, W], and position and digest of each."""

    pixels: Tensor
    positions: tuple[int, ...]
    digests: tuple[bytes, ...]


class ImageReader:
    """Reads image files in any order, each once a pass, decoding ahead in `workers` threads.

    None workers are as many as there are cores, at most 8; 0 decodes in the calling thread. A file
    that cannot be read is left out and kept in `unreadable`, or with `on_error="fail"` ends the pass.
    """

    def __init__(
        self, files: Sequence[Path], preprocessing: Preprocessing, *, workers: int | None = None, on_error: OnError
    ) -> None:
        self.files = files
        self._preprocessing = preprocessing
        self._workers = min(_cores(), 8) if workers is None else workers
        self._on_error = on_error
        self._reasons: dict[int, str] = {}
        self._kept = kept_images(preprocessing)

    @property
    def reasons(self) -> dict[int, str]:
        """Why each file, by its place in the list of files, was left out so far; may be read ahead of the batches."""
        return self._reasons

    @property
    def unreadable(self) -> tuple[Unreadable, ...]:
        """The files left out so far, in the order of the list of files."""
        return tuple(Unreadable(self.files[position], reason) for position, reason in sorted(self._reasons.items()))

    def images(self, order: Sequence[int], ahead: int = 64) -> Generator[DecodedImage, None, None]:
        """The readable images at the positions `order`, one by one, at most `ahead` of them decoded early.

        Raises:
            DataError: a file cannot be read and `on_error` is "fail", or none at all can be read.
        """
        found = False
        with closing(self._read_ahead(order, ahead)) as results:
            for position, result in results:
                if isinstance(result, DecodedImage):
                    found = True
                    yield result
                    continue
                self._reasons[position] = str(result)
                if self._on_error == "fail":
                    raise DataError(f"{printable(self.files[position])}: {result}; remove it or use --on-error skip")
        if order and not found:
            first = f"{printable(self.files[order[0]])}: {self._reasons[order[0]]}"
            raise DataError(f"none of the {len(order)} images can be read; the first is {first}")

    def batches(self, order: Sequence[int], batch_size: int) -> Generator[Batch, None, None]:
        """The same images in batches, all of `batch_size` but the last: unreadable files leave no gaps.

        Raises:
            DataError: as for `images`.
        """
        with closing(self.images(order, ahead=2 * batch_size)) as images:
            waiting: list[DecodedImage] = []
            for image in images:
                waiting.append(image)
                if len(waiting) == batch_size:
                    yield _batch(waiting)
                    waiting = []
            if waiting:
                yield _batch(waiting)

    def _read_ahead(
        self, order: Sequence[int], ahead: int
    ) -> Generator[tuple[int, DecodedImage | UnreadableImage], None, None]:
        kept = self._kept
        if not self._workers or (kept and all(self.files[position] in kept for position in order)):
            yield from ((position, self._read(position)) for position in order)
            return
        started: deque[tuple[int, Future[DecodedImage | UnreadableImage]]] = deque()
        threads = ThreadPoolExecutor(self._workers, thread_name_prefix="images")
        try:
            for position in order:
                started.append((position, threads.submit(self._read, position)))
                if len(started) > max(ahead, self._workers):
                    position, future = started.popleft()
                    yield position, future.result()
            while started:
                position, future = started.popleft()
                yield position, future.result()
        finally:  # also when the consumer stops early
            threads.shutdown(wait=True, cancel_futures=True)

    def _read(self, position: int) -> DecodedImage | UnreadableImage:
        if position in self._reasons:
            return UnreadableImage(self._reasons[position])
        file = self.files[position]
        if self._kept and file in self._kept:
            return DecodedImage(position, *self._kept[file])
        try:
            data = image_bytes(file)
            image = DecodedImage(position, hashlib.sha256(data).digest(), decode(data, self._preprocessing))
            if self._kept is not None:
                self._kept.keep(file, image.digest, image.pixels)
            return image
        except UnreadableImage as problem:
            return problem


class ImageSet:
    """Labelled images that were all read once, for training: made by `load_image_set`.

    `labels` is int64 [N]; `digests` holds the sha256 of each file; `unreadable` what was left out.
    """

    def __init__(
        self,
        reader: ImageReader,
        labels: Tensor,
        digests: tuple[bytes, ...],
        unreadable: tuple[Unreadable, ...],
        pixels: Tensor | None,
    ) -> None:
        self.labels = labels
        self.digests = digests
        self.unreadable = unreadable
        self._reader = reader
        self._pixels = pixels

    def __len__(self) -> int:
        return len(self.digests)

    @property
    def cached(self) -> bool:
        """Whether the pixels are in memory, or read from the files again in each pass."""
        return self._pixels is not None

    def batches(self, order: Sequence[int], batch_size: int) -> Generator[tuple[Tensor, Tensor], None, None]:
        """The images numbered by `order`, as (uint8 pixels [N, C, H, W], labels [N]).

        A last batch of a single image joins the one before it: BatchNorm needs two.

        Raises:
            DataError: a file that is read again has changed or gone.
        """
        yield from self.in_parts(parts_of(order, batch_size))

    def in_parts(self, parts: Sequence[Sequence[int]]) -> Generator[tuple[Tensor, Tensor], None, None]:
        """The images numbered by each of `parts`, none of which is empty, as `batches` gives them.

        Raises:
            DataError: a file that is read again has changed or gone.
        """
        if self._pixels is not None:
            for part in parts:
                index = torch.tensor(part)
                yield self._pixels[index], self.labels[index]
            return
        with closing(self._read_again(parts)) as pixels:
            for part in parts:
                yield torch.from_numpy(np.stack([next(pixels) for _ in part])), self.labels[torch.tensor(part)]

    def _read_again(self, parts: Sequence[Sequence[int]]) -> Generator[NDArray[np.uint8], None, None]:
        order = [number for part in parts for number in part]
        with closing(self._reader.images(order, ahead=2 * max(map(len, parts), default=1))) as images:
            for image in images:
                if image.digest != self.digests[image.position]:
                    file = printable(self._reader.files[image.position])
                    raise DataError(f"{file}: changed while it was in use; run again, or use --cache memory")
                yield image.pixels


def load_image_set(
    files: Sequence[Path],
    labels: Sequence[int],
    preprocessing: Preprocessing,
    *,
    cache: Cache = "auto",
    workers: int | None = None,
    on_error: OnError = "skip",
    observer: Observer | None = None,
    label_text: str = "reading images",
) -> ImageSet:
    """Decode every file once, leave out the unreadable ones, and keep the pixels in memory if `cache` says so.

    `auto` keeps them if they take at most a quarter of the memory available, `none` reads the files
    again in each pass; the batches are the same.

    Raises:
        DataError: a file cannot be read and `on_error` is "fail", or none at all can be read, or `cache`
            is "memory" and there is not enough of it.
    """
    reader = ImageReader(files, preprocessing, workers=workers, on_error=on_error)
    shape = (len(files), preprocessing.channels, *preprocessing.size)
    pixels = torch.empty(shape, dtype=torch.uint8) if _keep(math.prod(shape), cache) else None
    rows = torch.empty(0).numpy() if pixels is None else pixels.numpy()  # the same memory, quicker to fill
    positions: list[int] = []
    digests: list[bytes] = []
    with (observer or Observer()).progress(label_text, len(files)) as advance:
        done = 0
        for image in reader.images(range(len(files))):
            if pixels is not None:
                rows[len(positions)] = image.pixels
            positions.append(image.position)
            digests.append(image.digest)
            advance(image.position + 1 - done)
            done = image.position + 1
        advance(len(files) - done)
    again = ImageReader([files[position] for position in positions], preprocessing, workers=workers, on_error="fail")
    kept = torch.tensor([labels[position] for position in positions], dtype=torch.int64)
    return ImageSet(again, kept, tuple(digests), reader.unreadable, None if pixels is None else pixels[: len(kept)])


def normalize(
    pixels: Tensor, preprocessing: Preprocessing, device: torch.device | str, dtype: torch.dtype = torch.float32
) -> Tensor:
    """A network's input from uint8 pixels [N, C, H, W]: (pixels / 255 - mean) / std for each channel.

    Computed on `device` in `dtype`, to the bit what torchvision's presets compute on a CPU.
    """
    mean, std = (
        torch.tensor(values, dtype=dtype, device=device).view(-1, 1, 1)
        for values in (preprocessing.mean, preprocessing.std)
    )
    # a tensor, because CUDA divides by a number through its rounded reciprocal
    white = torch.tensor(255, dtype=dtype, device=device)
    return pixels.to(device).to(dtype).div_(white).sub_(mean).div_(std)


def parts_of(order: Sequence[int], batch_size: int) -> list[list[int]]:
    """`order` in pieces of `batch_size`; a last piece of a single image joins the one before it."""
    parts = [list(order[start : start + batch_size]) for start in range(0, len(order), batch_size)]
    if len(parts) > 1 and batch_size > 1 and len(parts[-1]) == 1:
        alone = parts.pop()
        parts[-1] += alone
    return parts


def _keep(needed: int, cache: Cache) -> bool:
    available = available_memory()
    if cache == "memory" and needed > available:
        sizes = f"{needed / 2**30:.1f} GiB in memory, of which {available / 2**30:.1f} GiB are free"
        raise DataError(f"the decoded images take {sizes}; use --cache auto")
    return cache == "memory" or (cache == "auto" and needed <= available // 4)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _batch(images: Sequence[DecodedImage]) -> Batch:
    pixels = torch.from_numpy(np.stack([image.pixels for image in images]))
    return Batch(pixels, tuple(image.position for image in images), tuple(image.digest for image in images))
