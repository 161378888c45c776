"""The rule for matrix products: `nn.Linear` on vectors, sequences and maps, and all that is made of it."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mascli.importance.layout import Layout
from mascli.importance.reduction import Pointwise, sum_dtype
from mascli.importance.rules.products import products, sum_of_products
from mascli.importance.rules.registry import Rule, Seen, Visit, rule_for


class _Product(Seen):
    """rows [N * T, in] @ matrix [in, out] (+ bias [out]), T rows an image."""

    def __init__(self, visit: Visit, rows: Tensor, matrix_slot: int, bias_slot: int | None) -> None:
        super().__init__(visit)
        self._slots = matrix_slot, bias_slot
        self._g = visit.layout.by_image(visit.gradient)  # [N, T, out]
        self._a = visit.layout.by_image(rows) if matrix_slot in visit.slots else None  # [N, T, in]

    def per_image(self, images: slice) -> dict[int, Tensor]:
        matrix, bias = self._slots
        g, found = self._g[images], {}
        if self._a is not None:
            found[matrix] = products(g, self._a[images]).transpose(1, 2)
        if bias in self.visit.slots:
            assert bias is not None
            found[bias] = g.sum(1)
        return found

    def sum_over_images(self, pointwise: Pointwise) -> dict[int, Tensor]:
        matrix, bias = self._slots
        found = {}
        if self._a is not None:
            found[matrix] = sum_of_products(self._g, self._a, pointwise).t()
        if bias in self.visit.slots:
            assert bias is not None
            found[bias] = pointwise(self._g.sum(1)).sum(0, dtype=sum_dtype(self._g))
        return found


@rule_for("AddmmBackward0")
class LinearRule(Rule):
    """Gradient of an image: A^T G over its T positions, with A [T, in] and G [T, out], and the sum of G."""

    name = "linear"

    def takes(self, node: Any, slots: tuple[int, ...], layout: Layout) -> bool:
        """See `Rule.takes`."""
        return layout.dim == 0 and 1 not in slots and node._saved_alpha == 1 and node._saved_beta == 1

    def see(self, visit: Visit) -> Seen:
        """See `Rule.see`."""
        return _Product(visit, visit.node._saved_mat1, 2, 0)


@rule_for("MmBackward0")
class ProductRule(Rule):
    """The same without a bias."""

    name = "linear"

    def takes(self, node: Any, slots: tuple[int, ...], layout: Layout) -> bool:
        """See `Rule.takes`."""
        return layout.dim == 0 and slots == (1,)

    def see(self, visit: Visit) -> Seen:
        """See `Rule.see`."""
        return _Product(visit, visit.node._saved_self, 1, None)
