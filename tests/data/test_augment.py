from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mascli.data.augment import Augmentation, augment


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(count: int = 64, channels: int = 3, height: int = 16, width: int = 24) -> Tensor:
    return torch.randint(0, 256, (count, channels, height, width), dtype=torch.uint8, generator=generator(1))


def test_none_changes_nothing_and_draws_nothing() -> None:
    source, pixels = generator(), images()
    state = source.get_state()
    assert torch.equal(augment(pixels, "none", source), pixels)
    assert torch.equal(source.get_state(), state)


def test_flip_mirrors_about_half_of_the_images() -> None:
    pixels = images(400)
    changed = augment(pixels, "flip", generator())
    mirrored = [torch.equal(new, old.flip(-1)) for new, old in zip(changed, pixels, strict=True)]
    kept = [torch.equal(new, old) for new, old in zip(changed, pixels, strict=True)]
    assert all(one != other for one, other in zip(mirrored, kept, strict=True))
    assert 160 < sum(mirrored) < 240


def test_standard_is_a_reflected_crop_and_a_flip() -> None:
    pixels = images()
    changed = augment(pixels, "standard", generator())
    padded = functional.pad(pixels.float(), (3, 3, 2, 2), mode="reflect").byte()
    seen: set[tuple[int, int, bool]] = set()
    for new, old in zip(changed, padded, strict=True):
        crops = {
            (top, left, flip): old[:, top : top + 16, left : left + 24].flip(-1)
            if flip
            else old[:, top : top + 16, left : left + 24]
            for top in range(5)
            for left in range(7)
            for flip in (False, True)
        }
        matches = [where for where, crop in crops.items() if torch.equal(new, crop)]
        assert len(matches) == 1
        seen.update(matches)
    assert {top for top, _, _ in seen} == set(range(5))
    assert {left for _, left, _ in seen} == set(range(7))
    assert {flip for _, _, flip in seen} == {False, True}


@pytest.mark.parametrize("kind", ["flip", "standard"])
def test_the_generator_decides(kind: Augmentation) -> None:
    pixels = images()
    before = pixels.clone()
    once = augment(pixels, kind, generator(3))
    assert torch.equal(once, augment(pixels, kind, generator(3)))
    assert not torch.equal(once, augment(pixels, kind, generator(4)))
    assert torch.equal(pixels, before)
    assert once.dtype == torch.uint8


@pytest.mark.parametrize("kind", ["none", "flip", "standard"])
@pytest.mark.parametrize(("count", "height", "width"), [(0, 8, 8), (1, 1, 1), (5, 7, 1), (2, 8, 9)])
def test_small_images_and_empty_batches(kind: Augmentation, count: int, height: int, width: int) -> None:
    pixels = images(count, 1, height, width)
    assert augment(pixels, kind, generator()).shape == pixels.shape
