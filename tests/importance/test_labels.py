"""Numbers that draw labels depend on the seed, the image's bytes and the head, and on nothing else."""

from __future__ import annotations

import hashlib

import torch

from mascli.importance.labels import uniform_numbers

DIGESTS = [hashlib.sha256(str(number).encode()).digest() for number in range(4000)]


def test_the_numbers_are_those_of_the_formula() -> None:
    text = b"mascli label\0" + (7).to_bytes(8, "big") + DIGESTS[0] + b"base"
    expected = (int(hashlib.sha256(text).hexdigest()[:16], 16) >> 11) / 2**53
    numbers = uniform_numbers(7, DIGESTS[:1], ("base",))
    assert numbers.dtype == torch.float64 and numbers.tolist() == [[expected]]


def test_each_image_has_its_numbers_whatever_stands_beside_it() -> None:
    every = uniform_numbers(0, DIGESTS[:10], ("a", "b"))
    backwards = uniform_numbers(0, DIGESTS[9::-1], ("b", "a"))
    assert torch.equal(backwards.flip(0).flip(1), every)
    assert torch.equal(torch.cat([uniform_numbers(0, [digest], ("a", "b")) for digest in DIGESTS[:10]]), every)
    assert uniform_numbers(0, [], ("a",)).shape == (0, 1)


def test_another_seed_image_or_head_gives_another_number() -> None:
    one = uniform_numbers(0, DIGESTS[:2], ("a", "b"))
    assert len({*one.flatten().tolist(), *uniform_numbers(1, DIGESTS[:2], ("a", "b")).flatten().tolist()}) == 8


def test_the_numbers_are_uniform() -> None:
    numbers = uniform_numbers(3, DIGESTS, ("a",))[:, 0]
    assert float(numbers.min()) >= 0 and float(numbers.max()) < 1
    assert abs(float(numbers.mean()) - 0.5) < 0.02
    counts = torch.histc(numbers, 10, 0, 1)
    assert float((counts - 400).abs().max()) < 100
