"""What may be combined, and what comes out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stored

from mascli.errors import CheckpointError, NumericsError
from mascli.files.tensor_file import read_header
from mascli.importance.combine import Part, combined, pool, pool_weights, sum_of, with_statistics
from mascli.records import ModelSpec, OmegaRecord, Preprocessing, Statistics

SHAPES = {"body.weight": (2, 3), "body.bias": (2,)}


def part(record: OmegaRecord, where: str = "one", shapes: dict[str, tuple[int, ...]] | None = None) -> Part:
    return Part(where, record, SHAPES if shapes is None else shapes)


ONE = part(stored.omega(stored.contribution("a", "b", mean_squared_norm=1.0)), "one")
OTHER = part(stored.omega(stored.contribution("c", mean_squared_norm=4.0)), "other")


def test_pooled_parts_are_the_estimate_of_the_whole() -> None:
    whole = stored.omega(stored.contribution("a", "b", "c", mean_squared_norm=2.0))
    assert pool([ONE, OTHER]) == whole
    assert pool([OTHER, ONE]) == whole
    assert pool_weights([ONE, OTHER]) == [2 / 3, 1 / 3]


def test_pooling_in_steps_is_pooling_at_once() -> None:
    third = part(stored.omega(stored.contribution("d", mean_squared_norm=1.0)), "third")
    steps = pool([part(pool([ONE, OTHER])), third])
    assert steps == pool([ONE, OTHER, third])


def test_a_measured_reliability_does_not_hold_for_the_whole() -> None:
    sure = part(replace(ONE.record, reliability=0.9))
    assert pool([sure, OTHER]).reliability is None
    assert sum_of([sure, OTHER])[0].reliability is None


def other(**changes: Any) -> Part:
    """A part like `OTHER` whose record differs."""
    return part(replace(OTHER.record, **changes), "other")


def differing(**changes: Any) -> Part:
    """A part like `OTHER` whose estimate differs."""
    return other(contributions=(replace(OTHER.record.contributions[0], **changes),))


WIDER = replace(stored.MODEL, arguments={"hidden": "8"})
TALLER = Preprocessing((9, 8), channels=1, mean=(0.5,), std=(0.25,))


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (other(model=ModelSpec("mascli", "convnet")), "in the model (mascli:mlp and mascli:convnet)"),
        (other(model=WIDER), "in the model's arguments ({'hidden': '4'} and {'hidden': '8'})"),
        (other(model=replace(stored.MODEL, classifier="fc")), "in the classifier layer (head and fc)"),
        (other(method="ewc"), "in the method (mas and ewc)"),
        (other(objective="entropy"), "in the objective"),
        (other(reduction="square"), "in the reduction"),
        (differing(heads=("birds",)), "in the heads (base and birds)"),
        (differing(shared_sha256="b"), "in the weights, by shared_sha256 (aaaa"),
        (differing(weight=2.0), "in the factor (1.0 and 2.0)"),
        (differing(unused=("aux",)), "in the unused parameters (none and aux)"),
        (
            differing(preprocessing=replace(stored.GREY, resize="squash")),
            "in the preprocessing's resize (shorter and sq",
        ),
        (differing(preprocessing=TALLER), "in the preprocessing's size (8, 8 and 9, 8)"),
        (part(OTHER.record, "other", {"body.weight": (2, 3)}), "tensor body.bias is [2] and absent"),
        (part(OTHER.record, "other", {**SHAPES, "body.weight": (3, 2)}), "tensor body.weight is [2, 3] and [3, 2]"),
        (other(contributions=OTHER.record.contributions * 2), "other holds 2 estimates"),
    ],
)
def test_what_differs_is_not_pooled(second: Part, said: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        pool([ONE, second])
    assert said in str(caught.value)
    assert "other" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_overlapping_sets_of_images_are_not_pooled() -> None:
    shuffled = part(stored.omega(stored.contribution("b", "c", "a")), "other")
    with pytest.raises(CheckpointError, match="one and other cannot be pooled: 2 images are in both"):
        pool([ONE, shuffled])
    with pytest.raises(CheckpointError, match="2 images are in both"):
        pool([ONE, ONE])


@pytest.mark.parametrize("changes", [{"image_hashes": "?"}, {"images": 7}, {"fingerprint": "0"}, {"image_hashes": ""}])
def test_damaged_image_hashes_are_one_line(changes: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match="other is damaged: its image hashes"):
        pool([ONE, differing(**changes)])


def test_a_sum_lists_all_contributions() -> None:
    later = part(stored.omega(stored.contribution("a", "b", heads=("birds",), shared_sha256="b")), "later")
    record, notes = sum_of([ONE, OTHER, later])
    assert record.contributions == (*ONE.record.contributions, *OTHER.record.contributions, *later.record.contributions)
    assert record.combine == "sum"
    assert notes == ()
    again, _ = sum_of([part(sum_of([ONE, OTHER])[0]), later])
    assert again == record


def test_one_estimate_is_not_summed_twice() -> None:
    both = part(sum_of([ONE, OTHER])[0], "both")
    for parts in ([ONE, ONE], [both, OTHER], [OTHER, both]):
        with pytest.raises(CheckpointError, match="hold the same estimate"):
            sum_of(parts)


def test_other_methods_or_shapes_are_not_summed() -> None:
    with pytest.raises(CheckpointError, match="cannot be summed: they differ in the method"):
        sum_of([ONE, other(method="ewc")])
    with pytest.raises(CheckpointError, match=r"cannot be summed: tensor body\.bias is \[2\] and absent"):
        sum_of([ONE, part(OTHER.record, "other", {"body.weight": (2, 3)})])


@pytest.mark.parametrize(("norm", "noted"), [(9.0, False), (11.0, True), (0.09, True), (0.0, True)])
def test_other_scales_are_noted(norm: float, noted: bool) -> None:
    _, notes = sum_of([ONE, part(stored.omega(stored.contribution("c", mean_squared_norm=norm)), "other")])
    assert len(notes) == noted
    if noted:
        assert "one (base) 1" in notes[0]
        assert f"other (base) {norm:g}" in notes[0]


def test_statistics_are_put_in() -> None:
    new = Statistics(3.0, 2.0, 9.0, 0.5)
    assert with_statistics(ONE.record, new).contributions[0] == replace(ONE.record.contributions[0], statistics=new)


def test_values_are_weighted_in_float64(tmp_path: Path) -> None:
    one = read_header(stored.write(tmp_path / "one", {"w": [[1.0, 2.0**-24]], "e": np.zeros(0), "s": 3.0}))
    other = read_header(stored.write(tmp_path / "other", {"w": [[0.0, 1.0]], "e": np.zeros(0), "s": 5.0}))
    third = read_header(stored.write(tmp_path / "third", {"w": [[0.0, 2.0**-24]], "e": np.zeros(0), "s": 0.0}))
    values = dict(combined([one, other, third], [1.0, 1.0, 1.0]))
    assert {name: array.dtype for name, array in values.items()} == dict.fromkeys(("w", "e", "s"), np.float32)
    assert values["w"].tolist() == [[1.0, 1.0 + 2.0**-23]]  # float32 sums would give 1.0
    assert (values["s"].tolist(), values["e"].shape) == (8.0, (0,))
    assert dict(combined([one, other], [0.25, 0.75]))["s"] == 4.5


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf"), -float("inf")])
def test_values_that_cannot_be_are_one_line(tmp_path: Path, value: float) -> None:
    header = read_header(stored.write(tmp_path / "one", {"w": [0.0, value]}))
    with pytest.raises(CheckpointError, match="importance of w is negative or not finite"):
        list(combined([header], [1.0]))


def test_a_sum_beyond_float32_is_one_line(tmp_path: Path) -> None:
    header = read_header(stored.write(tmp_path / "one", {"w": [3e38]}))
    with pytest.raises(NumericsError, match="w is too large"):
        list(combined([header, header], [1.0, 1.0]))
