"""The reliability of an omega: what two halves of the images agree about, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata, spearmanr
from torch import Tensor

from mascli.errors import CheckpointError
from mascli.importance.reliability import (
    SAMPLES_PER_LAYER,
    Halves,
    average_ranks,
    enough,
    spearman,
)
from mascli.records import FEWEST_IMAGES, Reliability

Sums = dict[str, Tensor]
SHAPES = {"conv.weight": torch.zeros(40, 30, 3, 3), "conv.bias": torch.zeros(40), "fc.weight": torch.zeros(20, 40)}


def halves_of(*batches: Sums, seed: int = 0, images: int = 8) -> Halves:
    shapes = batches[0]
    halves = Halves(shapes, seed)
    for sums in batches:
        halves.add(sums, images)
    return halves


def known(halves: Halves) -> Reliability:
    found = halves.reliability()
    assert found is not None
    return found


def vectors(*values: Sequence[float]) -> list[Sums]:
    return [{"layer.weight": torch.tensor(half, dtype=torch.float64)} for half in values]


def noisy(count: int, noise: float, seed: int = 0) -> list[Sums]:
    """`count` batches of eight images that share an importance and differ by `noise` times as much."""
    generator = torch.Generator().manual_seed(seed)
    true = {name: torch.rand(like.shape, generator=generator) for name, like in SHAPES.items()}
    return [
        {n: 8 * (value + noise * torch.rand(value.shape, generator=generator)) for n, value in true.items()}
        for _ in range(count)
    ]


values_with_ties = st.lists(st.sampled_from([0.0, 0.1, 0.5, 2.0, 1e30]) | st.floats(0, 1e6), min_size=2, max_size=60)


@given(one=values_with_ties, seed=st.integers(0, 1000))
def test_ranks_and_their_correlation_are_those_of_scipy(one: list[float], seed: int) -> None:
    first = np.array(one)
    other = np.random.default_rng(seed).permutation(first) + np.arange(len(one)) % 3
    assert average_ranks(first).tolist() == rankdata(first, "average").tolist()
    if np.ptp(first) and np.ptp(other):
        expected = float(spearmanr(first, other).statistic)
        assert spearman(first, other) == pytest.approx(expected, abs=1e-12)
    assert spearman(first, first) in (1.0, None)


def test_no_order_has_no_correlation() -> None:
    assert spearman(np.ones(3), np.arange(3)) is None
    assert spearman(np.zeros(0), np.zeros(0)) is None
    assert spearman(np.arange(3), -np.arange(3)) == -1.0


def test_batches_of_even_and_odd_index_are_the_halves() -> None:
    a, b, c, d = [1.0, 2.0, 5.0, 9.0], [0.0, 4.0, 3.0, 5.0], [3.0, 1.0, 2.0, 8.0], [1.0, 1.0, 2.0, 9.0]
    one, other = np.add(a, c) / 16, np.add(b, d) / 16
    r = float(spearmanr(one, other).statistic)
    found = known(halves_of(*vectors(a, b, c, d)))
    assert found.overall == found.lowest == pytest.approx(2 * r / (1 + r), abs=1e-12)
    assert found.lowest_layer == "layer" and found.images == 32
    expected = np.abs(one - other).sum() / (one + other).sum()
    assert found.half_difference == pytest.approx(float(expected), abs=1e-12)
    assert found != known(halves_of(*vectors(a, c, b, d)))  # negative control


def test_each_half_is_divided_by_its_own_images() -> None:
    halves = Halves(vectors([0.0] * 4)[0], seed=0)
    for images in (6, 5):
        halves.add({"layer.weight": torch.arange(4.0) * images}, images)
    found = known(halves)
    assert (found.overall, found.images) == (1.0, 11)
    assert found.half_difference == pytest.approx(0, abs=1e-12)


def test_nothing_is_known_while_a_half_is_empty() -> None:
    halves = Halves(SHAPES, seed=0)
    first, second = noisy(2, 0.1)
    assert halves.reliability() is None
    halves.add(first, 8)
    assert halves.reliability() is None
    halves.add(second, 8)
    assert halves.reliability() is not None


def test_a_negative_correlation_counts_as_none() -> None:
    found = known(halves_of(*vectors([1.0, 2.0, 3.0], [3.0, 2.0, 1.0])))
    assert (found.overall, found.lowest) == (0.0, 0.0)


def test_layers_weigh_as_many_as_their_parameters_not_as_their_samples() -> None:
    size = 3 * SAMPLES_PER_LAYER
    rising, noise = torch.arange(1.0, size + 1), torch.rand(4, generator=torch.Generator().manual_seed(0))
    batches = [{"large.weight": rising, "small.weight": values} for values in (noise, -noise + 1)]
    found = known(halves_of(*batches))
    assert found.overall == pytest.approx(size / (size + 4), abs=1e-12)
    assert (found.lowest, found.lowest_layer) == (0.0, "small")
    half = (batches[0]["small.weight"] - batches[1]["small.weight"]).abs().sum()
    total = float(2 * rising.sum() + 4)
    assert found.half_difference == pytest.approx(float(half) / total, rel=0.01)  # the large layer is sampled


def test_a_layer_is_all_parameters_of_one_module() -> None:
    ab = {"fc.weight": torch.tensor([[1.0, 2.0]]), "fc.bias": torch.tensor([3.0])}
    ba = {"fc.weight": torch.tensor([[1.0, 3.0]]), "fc.bias": torch.tensor([2.0])}
    found = known(halves_of(ab, ba))
    assert found.overall == pytest.approx(2 * 0.5 / 1.5) and found.lowest_layer == "fc"


def test_what_nothing_depends_on_does_not_count() -> None:
    plain = noisy(2, 0.5)
    unused = [{**sums, "aux.weight": torch.zeros(10_000)} for sums in plain]
    left_out = Halves(unused[0], seed=0)
    for sums in plain:
        left_out.add(sums, 8)
    assert known(halves_of(*unused)) == known(left_out) == known(halves_of(*plain))
    assert halves_of(*vectors([0.0, 0.0], [0.0, 0.0])).reliability() is None
    generator = torch.Generator().manual_seed(1)
    live = [{**sums, "aux.weight": torch.rand(10_000, generator=generator)} for sums in plain]
    assert known(halves_of(*live)).overall < 0.6 * known(halves_of(*plain)).overall  # negative control


@pytest.mark.parametrize(
    ("one", "other", "agreement"),
    [
        ([2.0, 2.0], [3.0, 3.0], None),  # constant but unequal: no order in either
        ([2.0], [5.0], None),
        ([0.0, 0.0], [1.0, 2.0], 0.0),  # an order in one half only
        ([1.0, 2.0], [3.0, 4.0], 1.0),
    ],
)
def test_a_layer_without_an_order(one: list[float], other: list[float], agreement: float | None) -> None:
    alone = halves_of(*vectors(one, other)).reliability()
    assert (None if alone is None else alone.overall) == agreement
    beside = [{**half, "more.weight": torch.arange(6.0)} for half in vectors(one, other)]
    expected = 1.0 if agreement is None else (6 + len(one) * agreement) / (6 + len(one))
    assert known(halves_of(*beside)).overall == pytest.approx(expected)


def test_dead_units_tie_at_zero() -> None:
    one, other = [0.0, 0.0, 0.0, 1.0, 2.0, 3.0], [0.0, 0.0, 0.0, 2.0, 1.0, 3.0]
    r = float(spearmanr(one, other).statistic)
    assert known(halves_of(*vectors(one, other))).overall == pytest.approx(2 * r / (1 + r), abs=1e-12)


def test_sums_that_are_not_finite_are_not_ranked() -> None:
    for value in (math.nan, math.inf):
        assert halves_of(*vectors([1.0, value], [1.0, 2.0])).reliability() is None


def test_the_order_of_layers_and_other_layers_do_not_matter() -> None:
    batches = noisy(4, 0.7)
    found = known(halves_of(*batches))
    assert known(halves_of(*({n: sums[n] for n in reversed(sums)} for sums in batches))) == found
    alone = known(halves_of(*({n: sums[n] for n in sums if n != "fc.weight"} for sums in batches)))
    whole = known(halves_of(*({n: sums[n] for n in sums if n == "fc.weight"} for sums in batches)))
    sizes = 40 * 30 * 9 + 40, 20 * 40
    assert found.overall == pytest.approx(float(np.average([alone.overall, whole.overall], weights=sizes)), abs=1e-12)


def test_the_sample_depends_on_the_seed_and_stands_for_the_layer() -> None:
    batches = noisy(2, 0.7)
    drawn = [known(halves_of(*batches, seed=seed)) for seed in range(3)]
    assert len(set(map(astuple, drawn))) == 3
    flat = [torch.cat([sums[n].flatten() for n in ("conv.bias", "conv.weight")]).numpy() for sums in batches]
    r = float(spearmanr(*flat).statistic)
    every = [halves_of(*({n: s[n] for n in s if n != "fc.weight"} for s in batches), seed=seed) for seed in range(20)]
    errors = [known(halves).overall - 2 * r / (1 + r) for halves in every]
    assert abs(float(np.mean(errors))) < 0.01 and max(map(abs, errors)) < 0.05


@given(st.integers(1, 3 * SAMPLES_PER_LAYER), st.integers(0, 2**63))
def test_a_sample_has_no_value_twice_and_all_of_a_small_layer(size: int, seed: int) -> None:
    halves = Halves({"w": torch.zeros(size)}, seed)
    halves.add({"w": torch.arange(1.0, size + 1)}, 1)
    sums = halves.state()["sums"][0].tolist()
    assert len(set(sums)) == len(sums) == min(size, SAMPLES_PER_LAYER)
    assert all(1 <= value <= size for value in sums)


def test_more_noise_is_less_reliable_and_more_images_are_more() -> None:
    by_noise = [known(halves_of(*noisy(2, noise))) for noise in (0.0, 0.3, 1.0, 5.0)]
    assert by_noise[0].overall == 1.0 and by_noise[0].half_difference == 0.0
    by_images = [known(halves_of(*noisy(count, 2.0))) for count in (64, 16, 4)]
    for better, worse in (*pairwise(by_noise), *pairwise(by_images)):
        assert better.overall > worse.overall and better.half_difference < worse.half_difference


def test_the_figure_is_the_correlation_with_as_many_other_images() -> None:
    layers, sizes = (("conv.bias", "conv.weight"), ("fc.weight",)), (10_840, 800)
    said, true = [], []
    for seed in range(12):
        batches = noisy(16, 2.0, seed)
        said.append(known(halves_of(*batches[:8])).overall)
        one, other = (
            {n: torch.stack([b[n] for b in part]).sum(0) for n in SHAPES} for part in (batches[:8], batches[8:])
        )
        found = [
            spearman(*(torch.cat([o[n].flatten() for n in names]).numpy() for o in (one, other))) for names in layers
        ]
        true.append(np.average([r or 0.0 for r in found], weights=sizes))
    assert 0.5 < np.mean(true) < 0.8
    assert np.mean(said) == pytest.approx(np.mean(true), abs=0.015)


def test_restored_halves_continue_to_the_same_bits() -> None:
    batches = [{n: part / 3 for n, part in sums.items()} for sums in noisy(7, 0.7)]
    whole = halves_of(*batches)
    for done in range(8):
        begun = Halves(SHAPES, seed=0)
        for sums in batches[:done]:
            begun.add(sums, 8)
        state = begun.state()
        assert {tensor.dtype for tensor in state.values()} == {torch.float64, torch.int64}
        for sums in batches[done:]:
            begun.add(sums, 8)  # what goes on does not change what was kept
        restored = Halves(SHAPES, seed=0)
        restored.load_state(state)
        for sums in batches[done:]:
            restored.add(sums, 8)
        assert restored.reliability() == whole.reliability()
        assert all(torch.equal(tensor, whole.state()[name]) for name, tensor in restored.state().items())


@pytest.mark.parametrize("damage", ["missing", "shape", "dtype"])
def test_a_state_that_does_not_fit_is_one_line(damage: str) -> None:
    halves = Halves(SHAPES, seed=0)
    state = halves.state()
    if damage == "missing":
        del state["images"]
    else:
        state["sums"] = state["sums"][:, 1:] if damage == "shape" else state["sums"].float()
    with pytest.raises(CheckpointError, match=r"^[^\n]*does not fit this model[^\n]*start it anew$"):
        halves.load_state(state)


def test_an_estimate_stops_at_its_target_and_not_before_64_images() -> None:
    reached = replace(known(halves_of(*noisy(8, 0.5))), overall=0.95)
    assert enough(reached, 0.95, FEWEST_IMAGES)
    assert not enough(reached, 0.95, FEWEST_IMAGES - 1)
    assert not enough(reached, 0.951, 10_000)
    assert not enough(None, 0.0, 10_000)
