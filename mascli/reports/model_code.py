"""What commands that open a model of somebody's own Python code need besides, and what to say of that."""

from __future__ import annotations

from mascli.errors import printable
from mascli.records import ModelSpec


def code_flag(model: ModelSpec) -> str:
    """The flag without which no command runs the code that a file names, with a blank before it; else nothing."""
    return " --trust-model-code" if model.source == "python" else ""


def code_remark(model: ModelSpec) -> tuple[str, ...]:
    """What that flag allows, as a line; none for other models."""
    if model.source != "python":
        return ()
    return (f"--trust-model-code runs the model's own code ({printable(str(model))}): give it only if you trust that",)
