"""What becomes of each class: how many of its images are answered rightly, and which classes are taken for which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class ClassCounts:
    """Numbers of images of one class: all, those answered rightly, and those `lost` and `gained` since a baseline.

    `predicted` counts the images of any class that are put into this one.
    """

    images: int
    correct: int
    predicted: int
    lost: int = 0
    gained: int = 0


def class_counts(
    classes: int, truth: Sequence[int], predicted: Sequence[int], before: Sequence[bool] | None = None
) -> tuple[ClassCounts, ...]:
    """The numbers of each of `classes` classes, from the classes that images have and those they are put into [N].

    Args:
        predicted: the class of each image; a number below 0 is no answer.
        before: whether a baseline put each image into its own class.
    """
    pairs = list(zip(truth, predicted, strict=True))
    was_right = [own == found for own, found in pairs] if before is None else before
    images, answers = Counter(truth), Counter(predicted)
    correct = Counter(own for own, found in pairs if own == found)
    lost = Counter(own for (own, found), right in zip(pairs, was_right, strict=True) if right and own != found)
    gained = Counter(own for (own, found), right in zip(pairs, was_right, strict=True) if own == found and not right)
    return tuple(ClassCounts(images[c], correct[c], answers[c], lost[c], gained[c]) for c in range(classes))


def confusion(truth: Sequence[int], predicted: Sequence[int]) -> tuple[tuple[int, int, int], ...]:
    """How many images of each class are put into each: (class, class they are put into, images > 0), in order.

    Images without an answer (below 0) are in none.
    """
    found = Counter(pair for pair in zip(truth, predicted, strict=True) if pair[1] >= 0)
    return tuple((own, other, images) for (own, other), images in sorted(found.items()))
