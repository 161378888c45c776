"""The coverage gate is for the whole suite: a run of some tests only reports nothing and gates nothing."""

from __future__ import annotations

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Lift the gate when the user names files or selects tests."""
    whole = config.args == config.getini("testpaths") and not config.option.keyword and not config.option.markexpr
    if not whole:
        config.option.no_cov = True
