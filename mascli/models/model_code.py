"""Tells what a model's own code raises from what this program does wrong."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from mascli.errors import MascliError, UnsupportedModelError, printable

# Between a call of ours and the model's code lie these, and the model's code calls them in turn.
_LIBRARIES = frozenset({"torch", "torchvision", "timm"})

# The one module of ours that a model calls: it stands where its classifier was.
_CALLED_BY_MODELS = "mascli.models.heads"


@contextmanager
def model_code() -> Iterator[None]:
    """Turn what the code of a network outside the known libraries raises in here into one line.

    Interrupts, memory that runs out and a closed pipe are nobody's mistake and pass; so does what
    was raised anywhere else: a bug of ours stays one.

    Raises:
        UnsupportedModelError: the exception's type, message, file and line.
    """
    try:
        yield
    except (MascliError, KeyboardInterrupt, GeneratorExit, MemoryError, BrokenPipeError):
        raise
    except BaseException as error:  # SystemExit too: a model does not end the program
        place = None if _is_memory(error) else _place_in_model(error.__traceback__)
        if place is None:
            raise
        raise UnsupportedModelError(f"the model's own code fails: {described(error)} ({place})") from error


def described(error: BaseException) -> str:
    """The type and the message of an exception, on one short line."""
    lines = str(error).strip().splitlines()
    return printable(type(error).__name__ + (f": {lines[0]}" if lines else ""))[:300]


def raised_at(error: BaseException) -> str:
    """FILE:LINE in brackets of the innermost step in code that is neither ours nor a library's; empty if none."""
    steps = reversed(list(traceback.walk_tb(error.__traceback__)))
    passed = {"mascli", *_LIBRARIES, *sys.stdlib_module_names}
    return next((f" ({_shown(frame, line)})" for frame, line in steps if _package(frame) not in passed), "")


def _place_in_model(trace: TracebackType | None) -> str | None:
    """FILE:LINE of the innermost step in a network's own package, if its code led to the end of `trace`."""
    found, own = None, None
    for frame, line in traceback.walk_tb(trace):
        package = _package(frame)
        if package == "mascli":
            if frame.f_globals.get("__name__") != _CALLED_BY_MODELS:
                found, own = None, None  # called back by the model, as a hook of ours is
        elif package not in _LIBRARIES:
            own = package if _is_of_network(frame) else own
            found = _shown(frame, line) if package == own else found
    return found


def _is_of_network(frame: FrameType) -> bool:
    """Whether a step runs for a module, or as a backward pass of its own: what its first argument says."""
    torch: Any = sys.modules.get("torch")
    code = frame.f_code
    if torch is None or not code.co_argcount:
        return False
    return isinstance(frame.f_locals.get(code.co_varnames[0]), torch.nn.Module | torch.autograd.function.FunctionCtx)


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def _shown(frame: FrameType, line: int) -> str:
    path = frame.f_code.co_filename
    near = os.path.relpath(path) if os.path.isabs(path) else path
    return printable(f"{path if near.startswith(os.pardir) else near}:{line}")


def _is_memory(error: BaseException) -> bool:
    """Memory that runs out inside the model is a matter of the batch size."""
    return type(error).__name__ == "OutOfMemoryError" or "DefaultCPUAllocator" in str(error)
