"""Which images an estimate has seen: short hashes that tell sets apart, and that can be joined.

An image is known by the first 8 bytes of the sha256 of its file. Sets of images pack into text, so
that sets can be told to overlap, and the fingerprint of a union follows from its parts.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable

PREFIX_BYTES = 8


def fingerprint(digests: Iterable[bytes]) -> str:
    """The sha256 over the sorted first 8 bytes of each digest, in hexadecimal: the same in any order."""
    return hashlib.sha256(b"".join(_prefixes(digests))).hexdigest()


def packed(digests: Iterable[bytes]) -> str:
    """The first 8 bytes of each digest, sorted, in base64."""
    return base64.b64encode(b"".join(_prefixes(digests))).decode("ascii")


def unpacked(text: str) -> list[bytes]:
    """The 8-byte prefixes that `packed` put into `text`.

    Raises:
        ValueError: `text` is not such a list.
    """
    try:
        joined = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error
    if len(joined) % PREFIX_BYTES:
        raise ValueError("not a list of 8-byte hashes")
    return [joined[start : start + PREFIX_BYTES] for start in range(0, len(joined), PREFIX_BYTES)]


def _prefixes(digests: Iterable[bytes]) -> list[bytes]:
    return sorted(digest[:PREFIX_BYTES] for digest in digests)
