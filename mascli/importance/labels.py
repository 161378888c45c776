"""Uniform numbers that draw an image's label: a function of the seed, the image's bytes and the head alone.

There is no generator with a state, so that batch size, order and shards cannot matter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


def uniform_numbers(seed: int, digests: Sequence[bytes], heads: Sequence[str]) -> Tensor:
    """For each image and head a number that is uniform in [0, 1): float64 [N, heads].

    The first 53 bits of SHA-256 over the seed (8 bytes), the digest and the head's name, times 2^-53.

    Args:
        seed: 0 or more.
        digests: the SHA-256 of each image file.
        heads: the names of the tasks that answer.
    """
    start = b"mascli label\0" + seed.to_bytes(8, "big")
    rows = [[_number(start + digest + head.encode()) for head in heads] for digest in digests]
    return torch.tensor(rows, dtype=torch.float64).view(len(digests), len(heads))


def _number(text: bytes) -> float:
    return float((int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 11) * 2.0**-53)
