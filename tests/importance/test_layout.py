"""Where the images lie in a tensor: by counting, by shapes of two passes, by gradients of single images."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mascli.importance.layout import Layout, agrees, image_dimension, layouts

ANY = st.builds(
    lambda dim, before, after: Layout(dim, before, after), st.integers(0, 2), st.integers(1, 3), st.integers(1, 3)
)


def numbered(layout: Layout, count: int) -> tuple[Tensor, Tensor]:
    """A tensor of different numbers with images laid out in it, and the image of each place in that dimension."""
    shape = [2, 3, 4]
    shape[layout.dim] = layout.before * count * layout.after
    image = [(b, n, a) for b in range(layout.before) for n in range(count) for a in range(layout.after)]
    size = shape[0] * shape[1] * shape[2]
    return torch.arange(float(size)).view(shape), torch.tensor([n for _, n, _ in image])


@given(layout=ANY, count=st.integers(1, 4))
def test_each_image_gets_its_own_part_in_its_order(layout: Layout, count: int) -> None:
    tensor, owner = numbered(layout, count)
    assert layout.fits(tensor.shape, count)
    assert layout.images(tensor.shape) == count
    parts = layout.by_image(tensor)
    assert parts.shape[0] == count
    for image in range(count):
        assert torch.equal(parts[image], tensor.index_select(layout.dim, (owner == image).nonzero()[:, 0]))


@pytest.mark.parametrize(
    "layout",
    [
        Layout(0),
        Layout(1, 1, 3),
        Layout(2, 3, 1),
        *(Layout(dim, 2, 3) for dim in range(3)),
    ],
    ids=str,
)
def test_one_image_alone(layout: Layout) -> None:
    tensor, owner = numbered(layout, 3)
    alone = layout.alone(tensor, 1)
    shape = [-1 if dim == layout.dim else 1 for dim in range(3)]
    assert torch.equal(alone, tensor * (owner == 1).view(shape))


@given(before=st.integers(1, 3), after=st.integers(1, 3), count=st.integers(1, 4))
def test_the_rows_of_an_image_are_brought_together(before: int, after: int, count: int) -> None:
    layout = Layout(0, before, after)
    tensor, owner = numbered(layout, count)
    brought = layout.image_major(tensor)
    assert torch.equal(brought, tensor[owner.argsort(stable=True)])


@given(layout=ANY, count=st.integers(1, 4))
def test_what_does_not_fit(layout: Layout, count: int) -> None:
    tensor, _ = numbered(layout, count)
    assert not layout.fits(tensor.shape, count + 1)
    assert not Layout(3).fits(tensor.shape, count)
    assert not layout.fits((), count)


@pytest.mark.parametrize(
    ("small", "large", "found"),
    [
        ((2, 5), (3, 5), (0, 1)),
        ((5, 2), (5, 3), (1, 1)),
        ((8, 5), (12, 5), (0, 4)),
        ((5, 5), (5, 5), None),  # the same for any number of images
        ((2, 2), (3, 3), None),  # images against images
        ((2, 5), (2, 5, 1), None),
        ((3, 5), (4, 5), None),  # one more than images
        ((5, 2), (4, 2), None),  # grows the wrong way
        ((8, 5), (11, 5), None),
        ((), (), None),
    ],
)
def test_the_dimension_that_grows(
    small: tuple[int, ...], large: tuple[int, ...], found: tuple[int, int] | None
) -> None:
    assert image_dimension(small, large, (2, 3)) == found
    assert image_dimension(large, small, (3, 2)) == found


@given(each=st.integers(1, 60))
def test_all_layouts_are_tried_the_usual_ones_first(each: int) -> None:
    found = layouts(1, each)
    assert found[0] == Layout(1, 1, each)
    assert each == 1 or found[1] == Layout(1, each, 1)
    assert {layout.before for layout in found} == {n for n in range(1, each + 1) if each % n == 0}
    assert all(layout.dim == 1 and layout.before * layout.after == each for layout in found)
    assert len(set(found)) == len(found)


def all_agree(layout: Layout, gradients: list[torch.Tensor]) -> bool:
    return all(agrees(layout, gradient, image) for image, gradient in enumerate(gradients))


@given(layout=ANY)
def test_only_the_true_layout_agrees_with_the_images_gradients(layout: Layout) -> None:
    tensor, owner = numbered(layout, 3)
    shape = [-1 if dim == layout.dim else 1 for dim in range(3)]
    gradients = [(tensor + 1) * (owner == image).view(shape) for image in range(3)]
    each = layout.before * layout.after
    assert [other for other in layouts(layout.dim, each) if all_agree(other, gradients)] == [layout]


def test_a_gradient_at_another_images_part_or_that_is_no_number_does_not_agree() -> None:
    gradients = [torch.eye(3)[image] for image in range(3)]
    assert all_agree(Layout(0), gradients)
    assert not all_agree(Layout(0), gradients[::-1])
    gradients[1][2] = torch.nan
    assert not all_agree(Layout(0), gradients)
    assert all_agree(Layout(0), [torch.zeros(3)] * 3)  # nothing speaks against it
