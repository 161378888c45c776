"""The batch size is a fixed function of the model and its input, and batches come in pairs."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mascli.importance.batch_size import (
    MAPPED,
    MOST_IMAGES,
    bytes_an_image,
    even_batches,
    kept_bytes,
    pass_size,
    usual_batch_size,
)
from mascli.importance.images import Images
from mascli.importance.objective import Measure
from mascli.models.heads import MultiHeadModel


@given(images=st.integers(1, 5000), most=st.integers(1, 300))
def test_an_even_number_of_nearly_equal_batches(images: int, most: int) -> None:
    size = even_batches(images, most)
    assert 1 <= size <= most
    full, rest = divmod(images, size)
    count = full + bool(rest)
    if images > 1 and size > 1:
        assert count % 2 == 0 or size - rest <= count  # unless the last one would be left with nothing
    assert size * 2 >= most or images <= 2 * most


def test_a_network_of_one_layer_keeps_its_input_and_its_output() -> None:
    model = MultiHeadModel(
        nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(256, 5)), "", torch.zeros(2, 3, 8, 8)
    )
    model.import_head("base")
    one = bytes_an_image(model, Images(torch.zeros(1, 3, 8, 8)), ("base",), Measure())
    assert one >= 4 * (3 * 64 + 256 + 5)  # what convolution, linear layer and norm each need
    assert one < 3 * 4 * (3 * 64 + 256 + 5)
    large = bytes_an_image(model, Images(torch.zeros(1, 3, 8, 8, dtype=torch.float32)), ("base",), Measure())
    assert one == large and model.training  # the same again, and the model's mode is left alone


def test_memory_bounds_the_batch() -> None:
    assert usual_batch_size(1, None) == MOST_IMAGES
    assert usual_batch_size(10**9, None) == 4
    assert usual_batch_size(10**12, None) == 1
    assert usual_batch_size(10**6, 1e9) == 512
    assert usual_batch_size(10**6, 2e9) == 1024


def test_a_pass_is_as_large_as_its_tensors_stay_small() -> None:
    assert pass_size([1000] * 100, 50, 10**6) == MOST_IMAGES
    assert pass_size([MAPPED // 8] * 100, 50, 10**6) == 8
    assert pass_size([MAPPED // 8], 50, 10**9) == MOST_IMAGES  # adding up a large omega costs more
    assert pass_size([], 0, 0) == MOST_IMAGES


@given(kept=st.lists(st.integers(1, 2**28), max_size=20), tensors=st.integers(0, 1000), omega=st.integers(0, 10**10))
def test_a_pass_is_never_larger_than_a_usual_batch(kept: list[int], tensors: int, omega: int) -> None:
    size = pass_size(kept, tensors, omega)
    assert 1 <= size <= MOST_IMAGES
    assert pass_size(kept[::-1], tensors, omega) == size


def test_what_an_image_keeps_is_not_the_batch_it_was_cut_from() -> None:
    model = MultiHeadModel(
        nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(256, 5)), "", torch.zeros(2, 3, 8, 8)
    )
    model.import_head("base")
    alone = kept_bytes(model, Images(torch.zeros(1, 3, 8, 8)), ("base",), Measure())
    assert kept_bytes(model, Images(torch.zeros(32, 3, 8, 8)[:1]), ("base",), Measure()) == alone
