"""How far an omega would come out the same from other images of the same kind: its reliability.

The images fall into two halves. Per layer, r is the Spearman rank correlation of the two halves'
omegas over sampled parameters, 0 if it is negative. Each half has only half of the images, so the
correlation that the whole has with an omega of as many other images follows by Spearman and Brown,

    reliability = 2 r / (1 + r),

and the overall figure is the mean over layers, weighted by their number of parameters. The half
difference of the halves' omegas A and B,

    1/2 sum |A - B| / sum 1/2 (A + B),

is, on average, a lower bound of the whole's relative error: for independent errors X and Y of one
distribution, E|X - Y| <= E|X + Y|. Both measure the noise of having few images. Neither can know
whether these images resemble those that the model learned from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mascli.errors import CheckpointError
from mascli.importance.layer_names import layer_of, natural_order
from mascli.records import FEWEST_IMAGES, Reliability

Float64 = NDArray[np.float64]

SAMPLES_PER_LAYER = 2048  # the error of r from sampling is about (1 - r^2) / 45


@dataclass(frozen=True)
class _Layer:
    """One layer: its number of parameters, and where its sampled values are in a half's sums."""

    name: str
    parameters: int
    values: slice


class Halves:
    """Sums of sampled parameters over two halves of the images, batch by batch in turn.

    All parameters of one module are a layer; at most `SAMPLES_PER_LAYER` of each are kept, drawn by
    (`seed`, the layer's name) alone: neither the order of layers nor another layer changes them.

    Args:
        shapes: a tensor like each parameter, on its device.
        seed: from 0.
    """

    def __init__(self, shapes: Mapping[str, Tensor], seed: int) -> None:
        members: dict[str, list[str]] = {}
        for name in natural_order(shapes):
            members.setdefault(layer_of(name), []).append(name)
        self._layers: list[_Layer] = []
        self._positions: dict[str, Tensor] = {}  # of the sampled values in each flattened parameter
        self._values: dict[str, slice] = {}  # where these are in a half's sums
        end = 0
        for layer, names in members.items():
            start, parameters = end, sum(shapes[name].numel() for name in names)
            sample, before = _sample(parameters, seed, layer), 0
            for name in names:
                after = before + shapes[name].numel()
                own = sample[(sample >= before) & (sample < after)] - before
                self._positions[name] = torch.from_numpy(own).to(shapes[name].device)
                self._values[name] = slice(end, end + len(own))
                before, end = after, end + len(own)
            self._layers.append(_Layer(layer, parameters, slice(start, end)))
        self._sums = torch.zeros(2, end, dtype=torch.float64)
        self._images = torch.zeros(2, dtype=torch.int64)
        self.batches = 0

    def add(self, sums: Mapping[str, Tensor], images: int) -> None:
        """Add a batch of `images` to the half whose turn it is: sums over its images for each parameter.

        A parameter that is left out is zero. All tensors are on one device; only sampled values leave it.
        """
        half = self.batches % 2
        picked = [sums[name].reshape(-1).index_select(0, self._positions[name]) for name in sums]
        if picked:
            values = torch.cat(picked).cpu().double()  # not every accelerator has float64
            for name, part in zip(sums, values.split([len(part) for part in picked]), strict=True):
                self._sums[half, self._values[name]] += part
        self._images[half] += images
        self.batches += 1

    def reliability(self) -> Reliability | None:
        """How well the halves agree; None while one is empty, or where there is nothing to compare.

        A layer whose values are all the same within each half (all zero: nothing depends on it; or
        a single value) has no order to agree about and does not count. If only one half has an
        order, the layer counts as 0. Within a layer, values that are zero in both halves (dead
        units) are ties that agree. Sums that are not finite give None: the estimate refuses them.
        """
        if not self._images.all() or not self._sums.isfinite().all():
            return None
        one, other = (self._sums / self._images[:, None]).numpy()
        found = []
        for layer in self._layers:
            agreement = _agreement(one[layer.values], other[layer.values])
            if agreement is not None:
                found.append((agreement, layer))
        if not found:
            return None
        lowest, lowest_layer = min(found, key=lambda pair: pair[0])
        counts = [layer.parameters for _, layer in found]
        return Reliability(
            overall=float(np.average([agreement for agreement, _ in found], weights=counts)),
            lowest=lowest,
            lowest_layer=lowest_layer.name,
            half_difference=self._half_difference(one, other),
            images=int(self._images.sum()),
        )

    def state(self) -> dict[str, Tensor]:
        """All that later batches and results depend on, besides shapes and seed: float64 and int64 tensors."""
        batches = torch.tensor(self.batches, dtype=torch.int64)
        return {"sums": self._sums.clone(), "images": self._images.clone(), "batches": batches}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on, to the same bits, where halves of the same shapes and seed had this `state`.

        Raises:
            CheckpointError: tensors that are missing, or of other shapes or dtypes.
        """
        for name, own in self.state().items():
            if name not in state or (state[name].shape, state[name].dtype) != (own.shape, own.dtype):
                raise CheckpointError(
                    f"the estimate that was begun does not fit this model: its halves lack {name} {list(own.shape)}; "
                    "start it anew"
                )
        self._sums = state["sums"].cpu().clone()
        self._images = state["images"].cpu().clone()
        self.batches = int(state["batches"])

    def _half_difference(self, one: Float64, other: Float64) -> float:
        """1/2 sum |A - B| / sum 1/2 (A + B) over all parameters: a layer's sample stands for all of it."""
        difference = total = 0.0
        for layer in self._layers:
            a, b = one[layer.values], other[layer.values]
            weight = layer.parameters / max(a.size, 1)
            difference += weight * float(np.abs(a - b).sum())
            total += weight * float((a + b).sum())
        return difference / total


def enough(reliability: Reliability | None, target: float, images: int) -> bool:
    """Whether an estimate from `images` images may stop: the overall reliability is `target` (0 to 1) or more.

    Never below `FEWEST_IMAGES` images, and never where the reliability is not known.
    """
    return images >= FEWEST_IMAGES and reliability is not None and reliability.overall >= target


def spearman(one: NDArray[Any], other: NDArray[Any]) -> float | None:
    """Spearman's rank correlation of two vectors, -1 to 1: Pearson's correlation of their average ranks.

    None where it is not defined: all values of one vector are the same.
    """
    x, y = (2 * average_ranks(values) - (values.size + 1) for values in (one, other))  # whole numbers, mean 0
    scale = np.sqrt((x @ x) * (y @ y))
    return float(np.clip(x @ y / scale, -1, 1)) if scale > 0 else None


def average_ranks(values: NDArray[Any]) -> Float64:
    """The rank of each value, from 1; equal values get the mean of the ranks that they take together."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Float64 = (last - (counts - 1) / 2)[group]
    return ranks


def _agreement(one: Float64, other: Float64) -> float | None:
    """The reliability of one layer, 0 to 1; None where neither half has an order."""
    if _constant(one) and _constant(other):
        return None
    r = max(spearman(one, other) or 0.0, 0.0)
    return 2 * r / (1 + r)


def _constant(values: Float64) -> bool:
    return values.size == 0 or bool((values == values[0]).all())


def _sample(count: int, seed: int, layer: str) -> NDArray[np.int64]:
    """Up to `SAMPLES_PER_LAYER` of the numbers 0 to `count` - 1, rising: a random one from each equal stretch.

    From the raw output of a PCG64 generator, which numpy keeps the same for ever.
    """
    size = min(count, SAMPLES_PER_LAYER)
    edges = np.arange(size + 1, dtype=np.int64) * count // max(size, 1)
    key = int.from_bytes(hashlib.sha256(layer.encode()).digest()[:8], "big")
    raw = np.random.PCG64((seed, key)).random_raw(size)
    return edges[:-1] + (raw % np.diff(edges).astype(np.uint64)).astype(np.int64)
