"""Finds operations that pick images, or rows of several images, by what is in them.

Where an image lies in a tensor is found out once. An operation that puts images in an order of their
own may have kept the order then and change it in another batch, and nothing would show. So models
with such an operation go one image at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mascli.importance.graph import Graph
from mascli.importance.layout import image_dimension

# Operations that take or put numbers by index, along one dimension.
ALONG_A_DIMENSION = frozenset(
    f"{name}Backward{number}"
    for name in ("IndexSelect", "Gather", "Sort", "Topk", "Scatter", "ScatterAdd", "IndexAdd", "IndexCopy", "IndexFill")
    for number in (0, 1)
)

# Operations that take or put numbers by index tensors, one a dimension.
BY_INDEX = frozenset({"IndexBackward0", "IndexPutBackward0"})

# Operations that take or put numbers from anywhere.
ANYWHERE = frozenset({"MaskedSelectBackward0", "MaskedScatterBackward0", "TakeBackward0", "PutBackward0"})


def picks_images(graphs: tuple[Graph, Graph], images: tuple[int, int], dependent: Sequence[int]) -> str | None:
    """The name of an operation among the places `dependent` that may pick images by content; None if there is none."""
    for place in dependent:
        name, nodes = graphs[0].name(place), (graphs[0].nodes[place], graphs[1].nodes[place])
        if name in ANYWHERE or (name in BY_INDEX and _indices_grow(nodes)):
            return name
        if name in ALONG_A_DIMENSION:
            shape = graphs[0].shapes(place)[0]
            grown = image_dimension(shape, graphs[1].shapes(place)[0], images)
            if grown is None or _dimension(nodes[0]) % max(len(shape), 1) == grown[0]:
                return name
    return None


def _indices_grow(nodes: tuple[Any, Any]) -> bool:
    """Whether an index tensor grows with the number of images, so that it speaks of images."""
    return any(
        one is not None and other is not None and one.shape != other.shape
        for one, other in zip(nodes[0]._saved_indices, nodes[1]._saved_indices, strict=True)
    )


def _dimension(node: Any) -> int:
    dim = int(node._saved_dim)
    return dim - (1 << 64) if dim >= 1 << 63 else dim  # a negative one is kept as an unsigned number
