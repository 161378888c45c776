"""Fingerprints of sets of images."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mascli.data.fingerprint import fingerprint, packed, unpacked

sets = st.lists(st.binary(min_size=32, max_size=32), max_size=6)


@given(one=sets, other=sets)
def test_parts_have_the_fingerprint_of_the_whole(one: list[bytes], other: list[bytes]) -> None:
    parts = [*unpacked(packed(one)), *unpacked(packed(other))]
    assert fingerprint(parts) == fingerprint([*other, *one])
    assert packed(parts) == packed([*other, *one])


@given(digests=sets)
def test_a_set_comes_back_sorted(digests: list[bytes]) -> None:
    assert unpacked(packed(digests)) == sorted(digest[:8] for digest in digests)


def test_the_fingerprint_is_what_the_documents_say() -> None:
    one, two = hashlib.sha256(b"1").digest(), hashlib.sha256(b"2").digest()
    assert fingerprint([two, one]) == hashlib.sha256(min(one, two)[:8] + max(one, two)[:8]).hexdigest()
    assert fingerprint([one]) != fingerprint([one, one])


@pytest.mark.parametrize("text", ["AAAA", "?", "AAAAAAAAAAA", "é"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        unpacked(text)
