"""Records `mascli inspect` in a terminal as docs/inspect.svg: `python scripts/record_inspect.py`.

The omega is made from the handwritten digits that come with the package, by the commands themselves. What is drawn
is what the command printed, in colour, in a pseudo-terminal. The picture loads nothing, no font either.
"""

from __future__ import annotations

import argparse
import fcntl
import io
import os
import pty
import re
import shlex
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

WIDTH = 100
OUT = Path(__file__).parents[1] / "docs" / "inspect.svg"
COMMAND = "mascli inspect digits.omega"

_OUTSIDE = re.compile(r"\s*(@font-face \{\{.*?\}\}|<!--.*?-->)", re.DOTALL)  # fonts from the network, and a link
TEMPLATE = _OUTSIDE.sub("", CONSOLE_SVG_FORMAT)


def main() -> None:
    """Make the omega in a temporary folder (or use the one that is given), and record the command on it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--command", default=COMMAND, help=f"what is recorded (default: {COMMAND})")
    parser.add_argument("--folder", type=Path, help="where it runs (default: a folder with a new digits.omega)")
    parser.add_argument("-o", "--out", type=Path, default=OUT)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = asked.folder or make_omega(Path(made))
        asked.out.write_text(picture(asked.command, in_a_terminal(asked.command, folder)), encoding="utf-8")


def make_omega(folder: Path) -> Path:
    """A small convolutional network learns the ten digits, and its importance is measured: FOLDER/digits.omega."""
    from mascli.data.samples import write_digit_tasks

    write_digit_tasks(folder / "data", {"digits": tuple("0123456789")})
    network = "--model mascli:convnet --model-arg width=16 --model-arg norm=true"
    for command in (
        f"init {network} --image-size 8 --channels 1 -o start.st",
        "train-task start.st --task digits --data data/digits/train --epochs 10 --lr 0.05 -o digits.st",
        "estimate digits.st --data data/digits/train -o digits.omega",
    ):
        subprocess.run([sys.executable, "-m", "mascli", *command.split()], cwd=folder, check=True, capture_output=True)
    return folder


def in_a_terminal(command: str, folder: Path) -> str:
    """What `command` prints in a terminal of `WIDTH` columns, with its colours.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    words = [sys.executable, "-m", *shlex.split(command)]
    hidden = ("NO_COLOR", "COLUMNS", "FORCE_COLOR", "COLORTERM")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, WIDTH, 0, 0))
    environment |= {"TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8"}
    with subprocess.Popen(words, cwd=folder, stdin=theirs, stdout=theirs, env=environment) as process:
        os.close(theirs)
        printed = _read_all(ours)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, printed)
    return printed.decode("utf-8").replace("\r\n", "\n")


def _read_all(terminal: int) -> bytes:
    """All bytes until the other side of the terminal is closed, which Linux says by an error."""
    parts = []
    try:
        while part := os.read(terminal, 65_536):
            parts.append(part)
    except OSError:
        pass
    finally:
        os.close(terminal)
    return b"".join(parts)


def picture(command: str, printed: str) -> str:
    """A terminal window as SVG, with the command and what it has printed; the same text gives the same picture."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text.assemble(("$ ", "dim"), (command, "bold")))
    console.print(Text.from_ansi(printed), overflow="ignore", no_wrap=True)
    drawn = console.export_svg(title=command, code_format=TEMPLATE, unique_id="inspect")
    return "\n".join(line.rstrip() for line in drawn.splitlines()) + "\n"


if __name__ == "__main__":
    main()
