"""The record of an omega that a benchmark makes up: one estimate of 100 images that nobody has."""

from __future__ import annotations

from mascli.data.fingerprint import fingerprint, packed
from mascli.records import Contribution, ModelSpec, OmegaRecord, Preprocessing, Statistics


def made_record(network: str, classifier: str, seed: int = 0) -> OmegaRecord:
    """That of MAS on a torchvision network; another `seed` stands for other images, with which it can be pooled."""
    images = [bytes([seed, number, *range(6)]) for number in range(100)]
    estimate = Contribution(
        heads=("base",),
        images=len(images),
        shared_sha256="a" * 64,
        fingerprint=fingerprint(images),
        image_hashes=packed(images),
        mean_squared_norm=3.0 + seed,
        statistics=Statistics(1e-3, 1e-3, 1.0, 0.0),
        preprocessing=Preprocessing((224, 224), resize_to=256),
    )
    return OmegaRecord(ModelSpec("torchvision", network, {}, classifier), "mas", "squared-l2", "abs", (estimate,))
