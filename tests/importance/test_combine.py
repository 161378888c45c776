"""What may be combined, and what the result says about itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import stored

from mascli.errors import CheckpointError, NumericsError, UsageError
from mascli.importance.combine import Combination, Part, Rule, combination, with_statistics
from mascli.records import ModelSpec, OmegaRecord, Preprocessing, Reliability, Statistics

SHAPES = {"body.weight": (2, 3), "body.bias": (2,)}
SUCCESSIVE: tuple[Rule, ...] = ("sum", "max", "mean", "ema")
EACH = pytest.mark.parametrize("rule", SUCCESSIVE)


def part(record: OmegaRecord, where: str = "one", shapes: dict[str, tuple[int, ...]] | None = None) -> Part:
    return Part(where, record, SHAPES if shapes is None else shapes)


def task(name: str, norm: float = 2.0, **changes: Any) -> Part:
    """One estimate of the answers of a task, on images of its own."""
    return part(stored.omega(stored.contribution(name, heads=(name,), mean_squared_norm=norm, **changes)), name)


def merged(found: Combination, where: str = "merged") -> Part:
    return part(found.record, where)


def weights(found: Combination) -> list[float]:
    return [estimate.weight for estimate in found.record.contributions]


ONE = part(stored.omega(stored.contribution("a", "b", mean_squared_norm=1.0)), "one")
OTHER = part(stored.omega(stored.contribution("c", mean_squared_norm=4.0)), "other")
A, B, C = task("A"), task("B"), task("C")
SURE = Reliability(0.9, 0.8, "body", 0.1, 2)


def test_pooled_parts_are_the_estimate_of_the_whole() -> None:
    whole = stored.omega(stored.contribution("a", "b", "c", mean_squared_norm=2.0))
    assert combination([ONE, OTHER], "pool") == Combination(whole, (2 / 3, 1 / 3))
    assert combination([OTHER, ONE], "pool") == Combination(whole, (1 / 3, 2 / 3))


def test_pooling_in_steps_is_pooling_at_once() -> None:
    third = part(stored.omega(stored.contribution("d", mean_squared_norm=1.0)), "third")
    steps = combination([merged(combination([ONE, OTHER], "pool")), third], "pool")
    assert steps.record == combination([ONE, OTHER, third], "pool").record
    assert steps.factors == (3 / 4, 1 / 4)


def test_a_parameter_that_some_images_use_is_not_unused() -> None:
    def routed(image: str, *unused: str) -> Part:
        return part(stored.omega(stored.contribution(image, unused=unused)), image)

    found = combination([routed("a", "w", "x", "y"), routed("b", "x", "y", "z"), routed("c", "x", "y")], "pool")
    assert found.record.contributions[0].unused == ("x", "y")
    assert combination([routed("a", "w"), routed("b")], "pool").record.contributions[0].unused == ()


@EACH
def test_each_estimate_keeps_its_own_reliability_through_any_number_of_merges(rule: Rule) -> None:
    sure, less = (replace(one.record, reliability=replace(SURE, overall=level)) for one, level in ((A, 0.9), (B, 0.7)))
    both = merged(combination([part(sure), part(less)], rule))
    again = combination([both, C], rule).record
    assert [known and known.overall for known in again.reliabilities] == [0.9, 0.7, None]
    assert again.reliability is None
    alone = combination([part(sure)], rule).record
    assert alone.contributions[0].reliability is None and alone.reliabilities == (sure.reliability,)


def test_pooled_parts_are_one_estimate_without_a_reliability() -> None:
    sure = part(replace(ONE.record, reliability=SURE))
    record = combination([sure, OTHER], "pool").record
    assert record.reliabilities == (None,) and record.contributions[0].reliability is None


@pytest.mark.parametrize("rule", ["pool", *SUCCESSIVE])
def test_a_measured_reliability_holds_for_one_omega_alone(rule: Rule) -> None:
    sure = part(replace(ONE.record, reliability=SURE))
    assert combination([sure, OTHER], rule).record.reliability is None
    assert combination([sure], rule).record.reliability == SURE


def other(**changes: Any) -> Part:
    """A part like `OTHER` whose record differs."""
    return part(replace(OTHER.record, **changes), "other")


def differing(**changes: Any) -> Part:
    """A part like `OTHER` whose estimate differs."""
    return other(contributions=(replace(OTHER.record.contributions[0], **changes),))


TALLER = Preprocessing((9, 8), channels=1, mean=(0.5,), std=(0.25,))
STRANGERS = [
    (other(model=ModelSpec("mascli", "convnet")), "in the model (mascli:mlp and mascli:convnet)"),
    (
        other(model=replace(stored.MODEL, arguments={"hidden": "8"})),
        "in the model's arguments ({'hidden': '4'} and {'hidden': '8'})",
    ),
    (other(model=replace(stored.MODEL, classifier="fc")), "in the classifier layer (head and fc)"),
    (other(method="ewc"), "in the method (mas and ewc)"),
    (other(objective="entropy"), "in the objective"),
    (other(reduction="square"), "in the reduction"),
    (part(OTHER.record, "other", {"body.weight": (2, 3)}), "tensor body.bias is [2] and absent"),
    (part(OTHER.record, "other", {**SHAPES, "body.weight": (3, 2)}), "tensor body.weight is [2, 3] and [3, 2]"),
]


@pytest.mark.parametrize(
    ("second", "said"),
    [
        *STRANGERS,
        (differing(heads=("birds",)), "in the heads (base and birds)"),
        (differing(shared_sha256="b"), "in the weights, by shared_sha256 (aaaa"),
        (differing(weight=2.0), "has been weighed already (factor 2)"),
        (differing(normalized=True), "has been weighed already (factor 1)"),
        (
            differing(preprocessing=replace(stored.GREY, resize="squash")),
            "in the preprocessing's resize (shorter and sq",
        ),
        (differing(preprocessing=TALLER), "in the preprocessing's size (8, 8 and 9, 8)"),
        (other(contributions=OTHER.record.contributions * 2), "other holds 2 estimates"),
    ],
)
def test_what_differs_is_not_pooled(second: Part, said: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        combination([ONE, second], "pool")
    assert said in str(caught.value)
    assert "other" in str(caught.value)
    assert "\n" not in str(caught.value)


@EACH
@pytest.mark.parametrize(("second", "said"), STRANGERS)
def test_other_methods_or_shapes_are_not_combined(second: Part, said: str, rule: Rule) -> None:
    with pytest.raises(CheckpointError) as caught:
        combination([ONE, second], rule)
    assert str(caught.value).startswith("one and other cannot be combined: ")
    assert said in str(caught.value)


def test_overlapping_sets_of_images_are_not_pooled() -> None:
    shuffled = part(stored.omega(stored.contribution("b", "c", "a")), "other")
    with pytest.raises(CheckpointError, match="one and other cannot be pooled: 2 images are in both"):
        combination([ONE, shuffled], "pool")
    with pytest.raises(CheckpointError, match="2 images are in both"):
        combination([ONE, ONE], "pool")


@pytest.mark.parametrize("changes", [{"image_hashes": "?"}, {"images": 7}, {"fingerprint": "0"}, {"image_hashes": ""}])
def test_damaged_image_hashes_are_one_line(changes: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match="other is damaged: its image hashes"):
        combination([ONE, differing(**changes)], "pool")


@EACH
def test_all_estimates_are_listed_with_their_own_facts(rule: Rule) -> None:
    found = combination([A, B, C], rule)
    assert found.record.combine == rule
    assert found.largest == (rule == "max")
    plain = [replace(estimate, weight=1.0) for estimate in found.record.contributions]
    assert plain == [each.record.contributions[0] for each in (A, B, C)]
    assert found.notes == ()


@pytest.mark.parametrize(
    ("rule", "options", "factors"),
    [
        ("sum", {}, [1, 1, 1]),
        ("sum", {"weights": (1, 2, 0.5)}, [1, 2, 0.5]),
        ("max", {}, [1, 1, 1]),
        ("max", {"weights": (1, 2, 0)}, [1, 2, 0]),
        ("mean", {}, [1 / 3, 1 / 3, 1 / 3]),
        ("mean", {"weights": (1, 2, 5)}, [1 / 8, 2 / 8, 5 / 8]),
        ("mean", {"weights": (1e308, 1e308, 0)}, [0.5, 0.5, 0]),
        ("ema", {}, [0.25, 0.25, 0.5]),
        ("ema", {"decay": 0.9}, [0.81, 0.09, 0.1]),
        ("ema", {"decay": 0.0}, [0, 0, 1]),
        ("ema", {"decay": 0.9, "weights": (1, 2, 3)}, [0.81, 0.18, 0.3]),
    ],
)
def test_each_rule_has_its_factors(rule: Rule, options: dict[str, Any], factors: list[float]) -> None:
    found = combination([A, B, C], rule, **options)
    assert found.factors == pytest.approx(factors)
    assert weights(found) == list(found.factors)


def test_ema_in_steps_is_ema_at_once() -> None:
    steps = combination([merged(combination([A, B], "ema", decay=0.9)), C], "ema", decay=0.9)
    assert weights(steps) == pytest.approx(weights(combination([A, B, C], "ema", decay=0.9)))


def test_a_weight_is_the_product_of_all_factors() -> None:
    first = combination([A, B], "mean", weights=(1, 3))
    found = combination([merged(first), C], "sum", weights=(2, 5))
    assert weights(found) == [0.5, 1.5, 5.0]
    assert found.factors == (2, 5)
    assert found.record.combine == "sum"


def test_what_does_not_count_does_not_cover_its_task() -> None:
    assert combination([A, B], "sum", weights=(0, 1)).record.covered_tasks == {"B"}
    assert combination([A, B], "ema", decay=0.0).record.covered_tasks == {"B"}


@EACH
def test_normalized_estimates_are_divided_by_their_scale(rule: Rule) -> None:
    small, large = task("small", 0.5), task("large", 100.0)
    plain = combination([small, large], rule)
    found = combination([small, large], rule, normalize=True)
    assert found.factors == tuple(factor / norm for factor, norm in zip(plain.factors, (0.5, 100.0), strict=True))
    assert weights(found) == list(found.factors)
    assert all(estimate.normalized for estimate in found.record.contributions)
    assert [estimate.mean_squared_norm for estimate in found.record.contributions] == [0.5, 100.0]
    assert found.notes == ()
    assert len(plain.notes) == 1


def test_what_is_normalized_already_is_not_divided_again() -> None:
    first = merged(combination([task("small", 0.5), task("large", 100.0)], "sum", normalize=True))
    found = combination([first, task("third", 4.0)], "sum", normalize=True)
    assert found.factors == (1.0, 0.25)
    assert weights(found) == [2.0, 0.01, 0.25]


def test_estimates_of_one_scale_can_still_be_normalized_together() -> None:
    found = combination([merged(combination([A, B], "sum")), task("C", 4.0)], "sum", normalize=True)
    assert found.factors == (0.5, 0.25)
    assert weights(found) == [0.5, 0.5, 0.25]


def test_estimates_that_cannot_be_told_apart_are_not_normalized() -> None:
    mixed = merged(combination([task("small", 0.5), task("large", 100.0)], "sum"))
    half = merged(combination([merged(combination([A], "sum", normalize=True)), B], "sum"))
    for file in (mixed, half):
        with pytest.raises(CheckpointError, match="merged holds 2 estimates of different scales that can no longer"):
            combination([file, C], "sum", normalize=True)
    unheard = merged(combination([task("small", 0.5), B], "sum", weights=(0, 1)))
    assert combination([unheard, C], "sum", normalize=True).factors == (0.5, 0.5)


@pytest.mark.parametrize("norm", [0.0, 5e-324])
def test_a_scale_of_zero_is_one_line(norm: float) -> None:
    with pytest.raises(NumericsError, match="B cannot be normalized: its mean squared norm"):
        combination([A, task("B", norm)], "sum", normalize=True)


def test_factors_that_are_not_finite_are_one_line() -> None:
    heavy = merged(combination([A], "sum", weights=(1e200,)))
    with pytest.raises(NumericsError, match="--weights are too large"):
        combination([heavy], "sum", weights=(1e200,))


@EACH
def test_a_maximum_and_a_sum_do_not_mix(rule: Rule) -> None:
    largest = merged(combination([A, B], "max"))
    added = merged(combination([A, B], "mean"))
    refused, taken = (added, largest) if rule == "max" else (largest, added)
    with pytest.raises(CheckpointError, match="combine the files it was made from") as caught:
        combination([C, refused], rule)
    assert "\n" not in str(caught.value)
    assert len(combination([C, taken], rule).record.contributions) == 3
    alone = merged(combination([A], "mean" if rule == "max" else "max"))
    assert len(combination([alone, B], rule).record.contributions) == 2


def test_a_maximum_of_maxima_has_all_factors() -> None:
    first = combination([A, B], "max", weights=(1, 3))
    assert weights(combination([merged(first), C], "max", weights=(2, 5))) == [2.0, 6.0, 5.0]


@EACH
def test_one_estimate_does_not_count_twice(rule: Rule) -> None:
    both = merged(combination([A, B], rule), "both")
    for parts in ([A, A], [both, B], [B, both]):
        with pytest.raises(CheckpointError, match="hold the same estimate"):
            combination(parts, rule)


@pytest.mark.parametrize(("norm", "noted"), [(19.0, False), (21.0, True), (0.19, True), (0.0, True)])
def test_other_scales_are_noted(norm: float, noted: bool) -> None:
    found = combination([A, task("B", norm)], "sum")
    assert len(found.notes) == noted
    if noted:
        assert "A (A) 2" in found.notes[0]
        assert f"B (B) {norm:g}" in found.notes[0]


def test_weights_make_up_for_other_scales() -> None:
    large = task("B", 200.0)
    assert combination([A, large], "sum", weights=(1, 0.01)).notes == ()
    assert combination([A, large], "sum", weights=(1, 0)).notes == ()
    (note,) = combination([A, B], "sum", weights=(1, 100)).notes
    assert "weight * E|F|^2: A (A) 2, B (B) 200" in note


def test_a_normalized_estimate_beside_one_that_is_not_is_noted() -> None:
    first = merged(combination([task("A", 100.0)], "sum", normalize=True))
    assert len(combination([first, task("B", 100.0)], "sum").notes) == 1
    assert combination([first, task("B", 100.0)], "sum", normalize=True).notes == ()


@EACH
def test_parts_of_one_estimate_are_noted(rule: Rule) -> None:
    (note,) = combination([ONE, OTHER], rule).notes
    assert "one and other measure the same answers (base) at the same weights" in note
    assert "--combine pool" in note
    later = part(stored.omega(stored.contribution("d", shared_sha256="b")), "later")
    assert combination([OTHER, later], rule).notes == ()


@EACH
def test_pooling_is_advised_only_where_it_can_be_done(rule: Rule) -> None:
    sharing = part(stored.omega(stored.contribution("b", "x")), "sharing")
    (note,) = combination([ONE, sharing], rule).notes
    assert note.endswith("and share 1 of their images, which count twice") and "pool" not in note
    squashed = differing(preprocessing=replace(stored.GREY, resize="squash"))
    assert combination([ONE, squashed], rule).notes == ()
    if rule != "max":
        several = merged(combination([A, ONE], rule))
        assert combination([several, OTHER], rule).notes == ()


@pytest.mark.parametrize(
    ("second", "possible"),
    [
        (differing(heads=("birds",)), True),
        (other(contributions=(*OTHER.record.contributions, C.record.contributions[0])), True),
        (other(method="ewc"), False),
        (other(model=ModelSpec("mascli", "convnet")), False),
        (other(contributions=OTHER.record.contributions * 2), False),
        (part(OTHER.record, "other", {"body.weight": (2, 3)}), False),
    ],
)
def test_a_sum_is_advised_only_where_it_can_be_done(second: Part, possible: bool) -> None:
    with pytest.raises(CheckpointError) as caught:
        combination([ONE, second], "pool")
    assert ("--combine sum" in str(caught.value)) is possible
    if possible:
        combination([ONE, second], "sum")


def measured_as(objective: str, reduction: str, *parts: Part) -> list[Part]:
    return [replace(p, record=replace(p.record, objective=objective, reduction=reduction)) for p in parts]


@pytest.mark.parametrize("reduction", ["abs", "batch-200"])
def test_what_is_proportional_to_the_squared_norm_is_normalized(reduction: str) -> None:
    parts = measured_as("squared-l2", reduction, task("small", 0.5), task("large", 100.0))
    assert combination(parts, "sum", normalize=True).factors == (2, 0.01)
    assert "mascli merge --normalize makes them count alike" in combination(parts, "sum").notes[0]


@pytest.mark.parametrize(
    ("objective", "reduction"),
    [("entropy", "taylor"), ("log-likelihood", "square"), ("l1", "abs"), ("squared-l2", "square"), ("local", "abs")],
)
def test_what_has_another_scale_is_not_normalized(objective: str, reduction: str) -> None:
    parts = measured_as(objective, reduction, task("small", 0.5), task("large", 100.0))
    with pytest.raises(UsageError, match=f"not the scale of {objective} with {reduction}.*--weights") as caught:
        combination(parts, "sum", normalize=True)
    assert "\n" not in str(caught.value)
    assert combination(parts, "sum").notes == ()  # the norms say nothing here
    small = Statistics(0.01, 0.01, 0.01, 0.0)
    faint = measured_as(objective, reduction, task("faint", 2.0, statistics=small))
    (note,) = combination([parts[0], *faint], "sum").notes
    assert "mean importance: faint (faint) 0.01, small (small) 1;" in note
    assert "--weights" in note and "--normalize" not in note


def test_normalizing_is_advised_only_where_it_can_be_done() -> None:
    mixed = merged(combination([task("small", 0.5), task("large", 100.0)], "sum"))
    assert "of files of one estimate each" in combination([mixed, C], "sum").notes[0]
    assert "--normalize" not in combination([A, task("B", 0.0)], "sum").notes[0]


def test_statistics_are_put_in() -> None:
    new = Statistics(3.0, 2.0, 9.0, 0.5)
    assert with_statistics(ONE.record, new).contributions[0] == replace(ONE.record.contributions[0], statistics=new)
