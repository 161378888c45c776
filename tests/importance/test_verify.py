"""What --verify promises: a rule that is wrong is found, and named by its parameter."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mascli.errors import NumericsError
from mascli.importance import passes
from mascli.importance.images import Images
from mascli.importance.objective import Measure
from mascli.importance.verify import verify
from mascli.models.heads import MultiHeadModel


def model() -> MultiHeadModel:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))
    wrapped = MultiHeadModel(network, "", torch.zeros(2, 3, 8, 8))
    wrapped.import_head("base")
    return wrapped


def images(count: int) -> Images:
    return Images(torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(1)))


@pytest.mark.parametrize("count", [1, 2, 9])
def test_right_rules_pass_and_the_model_stays_as_it_is(count: int) -> None:
    wrapped = model()
    before = {name: value.clone() for name, value in wrapped.state_dict().items()}
    verified = verify(wrapped, images(count), ("base",), Measure())
    assert verified.images == count and verified.error <= 1e-12
    for name, value in wrapped.state_dict().items():
        assert torch.equal(value, before[name]) and value.dtype == before[name].dtype


def test_an_error_that_the_trial_lets_pass_is_found_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    right = passes.rule_sums

    def slightly_wrong(*arguments: object) -> tuple[dict[str, Tensor], Tensor]:
        sums, values = right(*arguments)  # type: ignore[arg-type]
        sums["1.bias"] = sums["1.bias"] * (1 + 1e-6)
        return sums, values

    monkeypatch.setattr(passes, "rule_sums", slightly_wrong)
    with pytest.raises(NumericsError, match=r"1\.bias") as raised:
        verify(model(), images(4), ("base",), Measure())
    assert raised.value.exit_code == 6
