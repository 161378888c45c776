"""How a command ends: every error as a line on standard error and an exit code."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from contextlib import suppress

from typer.exceptions import Abort, Exit, TyperException

from mascli.errors import MascliError, printable

STOPPED, CLOSED_PIPE, BUG, USAGE = 130, 141, 1, 2

# what the machine refuses, as opposed to what is wrong in this program
_REFUSALS = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENOTDIR}
_REFUSALS |= {errno.EFBIG, errno.ENAMETOOLONG, errno.EISDIR, errno.ENOMEM, errno.ELOOP, errno.ENOENT}

_INSTALL = (
    "torch and torchvision do not fit together or are not installed; install both from one source, as in: "
    "pip install --force-reinstall torch torchvision"
)


def exit_code_of(error: BaseException) -> int:
    """Say on standard error how the command ended, unless silence is due; returns the exit code."""
    if isinstance(error, BrokenPipeError) or isinstance(error.__context__, BrokenPipeError):
        return CLOSED_PIPE
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else BUG
    if isinstance(error, Exit):
        return error.exit_code
    if isinstance(error, KeyboardInterrupt | Abort):
        say("stopped")
        return STOPPED
    if isinstance(error, MascliError):
        say(str(error))
        return error.exit_code
    if isinstance(error, TyperException):
        say(" ".join(error.format_message().split()) + _help_hint(error))
        return USAGE
    refusal = _refusal(error)
    if refusal is not None:
        line, code = refusal
        say(line)
        return code
    traceback.print_exception(error)
    say("this is a bug: please report it with the lines above and the command")
    return BUG


def flush(code: int) -> int:
    """Empty standard output before the process ends; a pipe closed meanwhile is a silent end."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = CLOSED_PIPE
    except OSError as error:
        say(f"standard output: {error.strerror}")
        code = USAGE
    if code == CLOSED_PIPE or sys.stdout is not sys.__stdout__:
        _forget_output()
    return code


def say(message: str) -> None:
    """Print `message` on standard error, each line with the name of the program."""
    with suppress(OSError):  # nobody may be listening
        for line in message.splitlines():
            print(f"mascli: {line}", file=sys.stderr)


def _refusal(error: BaseException) -> tuple[str, int] | None:
    """One line for what is no fault of this program, with the exit code; None for a bug."""
    text = str(error)
    if isinstance(error, ImportError) and (error.name or "").split(".")[0] in ("torch", "torchvision"):
        return f"{_INSTALL} ({printable(text)})", BUG
    if isinstance(error, RuntimeError) and "torchvision::" in text:
        return _INSTALL, BUG
    is_memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    if is_memory or (isinstance(error, RuntimeError) and "DefaultCPUAllocator" in text):
        return "out of memory: try a smaller --batch-size, or --device cpu", BUG
    if isinstance(error, OSError) and error.errno in _REFUSALS:
        where = printable(os.fspath(error.filename)) if isinstance(error.filename, str | os.PathLike) else "output"
        return f"{where}: {error.strerror}", USAGE
    return None


def _help_hint(error: TyperException) -> str:
    context = getattr(error, "ctx", None)
    return f" (see {context.command_path} --help)" if context is not None else ""


def _forget_output() -> None:
    """Keep the interpreter from writing to the closed pipe once more when it ends."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
