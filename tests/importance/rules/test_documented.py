"""The rule that `docs/rules.md` adds works as it stands there, and its tables list every rule and every exception."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from judge import assert_exact, definition, estimated, images, wrapped
from odd_layers import LAYERS

from mascli.importance.rules import RULES

DOCUMENT = (Path(__file__).parents[3] / "docs" / "rules.md").read_text(encoding="utf-8")


@pytest.fixture
def documented(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the example defines; its rule is registered, and forgotten afterwards."""
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    monkeypatch.setitem(RULES, "PreluKernelBackward0", None)  # put back as it was: absent
    space: dict[str, Any] = {"__name__": "example"}
    exec(code, space)
    return space


@pytest.mark.parametrize("name", ["prelu", "prelu for each channel"])
def test_the_example_is_exact(name: str, documented: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model, batch = wrapped(LAYERS[name]()), images(5)
    estimate = estimated(model, batch.split(3))
    assert estimate.plan.counts() == {"convolution": 2, "prelu": 1}
    assert_exact(estimate, definition(model, batch))


def test_a_mistake_in_the_example_is_found_out(documented: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    see = documented["PReLURule"].see

    def wrong(rule: Any, visit: Any) -> Any:
        part = see(rule, visit)
        part._x = -part._x
        return part

    monkeypatch.setattr(documented["PReLURule"], "see", wrong)
    torch.manual_seed(0)
    model, batch = wrapped(LAYERS["prelu"]()), images(5)
    estimate = estimated(model, batch.split(3))
    assert estimate.plan.counts() == {"convolution": 2, "any operation": 1}
    assert_exact(estimate, definition(model, batch))


def test_the_example_is_forgotten_afterwards() -> None:
    assert "PreluKernelBackward0" not in RULES


def test_every_rule_is_listed() -> None:
    table = DOCUMENT[DOCUMENT.index("| operation |") : DOCUMENT.index("**Any operation**")]
    assert set(re.findall(r"`(\w+Backward0)`", table)) == set(RULES)
    files = {f"{type(rule).__module__.rpartition('.')[2]}.py" for rule in RULES.values()}
    assert set(re.findall(r"`(\w+\.py)`", table)) >= files
