"""Kills a command at random moments, lets it go on, and compares what it writes with an uninterrupted run.

    python benchmarks/kills.py train-task base.st --task birds --data birds/train --omega base.omega
    python benchmarks/kills.py --kills 20 run sequence.yaml

Give the command as for `mascli`, without `-o`, `--resume` and `--overwrite`. First it runs once, to
its end. Then, `--kills` times over, it is killed (SIGKILL) at a moment drawn evenly from that run's
duration and resumed until it has ended: one to three kills for each file compared. Its progress is
written every `--seconds`, so that short runs leave some behind.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Reports hold durations.
_NOT_COMPARED = (".json", ".csv", ".md")

START = (
    "import mascli.workflows.unfinished as unfinished; unfinished.SECONDS_BETWEEN = {seconds}; "
    "from mascli.__main__ import main; main()"
)


def main() -> None:
    """Run, kill, resume, compare; exits with 1 if a file differs."""
    options = _options()
    drawn = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as scratch:
        whole = Path(scratch) / "whole"
        started = time.monotonic()
        _finish(options, whole / "out")
        duration = time.monotonic() - started
        expected = _hashes(whole)
        print(f"uninterrupted: {duration:.1f} s, {len(expected)} files")
        kills, different, resumed = 0, 0, 0
        while kills < options.kills:
            folder = Path(scratch) / f"killed{kills}"
            moments = []
            for _ in range(drawn.randint(1, min(3, options.kills - kills))):
                moment = drawn.uniform(0, duration)
                if not _killed_at(options, folder / "out", moment):
                    break
                moments.append(moment)
                kills += 1
                resumed += any(folder.rglob("*.partial"))
            _finish(options, folder / "out")
            found = _hashes(folder)
            wrong = sorted(
                str(name) for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)
            )
            different += bool(wrong)
            told = f"different: {', '.join(wrong)}" if wrong else "the same bytes"
            print(f"killed after {', '.join(f'{moment:.1f} s' for moment in moments) or 'its end'}: {told}", flush=True)
        print(f"{kills} kills, {resumed} of them with unfinished work to go on from; runs that differ: {different}")
    sys.exit(1 if different else 0)


def _command(options: argparse.Namespace, out: Path) -> list[str]:
    out.parent.mkdir(exist_ok=True)
    return [sys.executable, "-c", START.format(seconds=options.seconds), *options.command, "-o", str(out), "-q"]


def _finish(options: argparse.Namespace, out: Path) -> None:
    """Run or go on to the end."""
    resume = ["--resume"] if options.command[0] != "run" else []
    done = subprocess.run([*_command(options, out), *resume], capture_output=True, text=True, check=False)
    if done.returncode and "exists already" not in done.stderr:  # it was killed right behind its end
        sys.exit(f"the command failed:\n{done.stderr}")


def _killed_at(options: argparse.Namespace, out: Path, moment: float) -> bool:
    """Start or go on, and kill after `moment` seconds; False if it had ended by then."""
    resume = ["--resume"] if options.command[0] != "run" else []
    process = subprocess.Popen([*_command(options, out), *resume], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        process.wait(moment)
    except subprocess.TimeoutExpired:
        process.kill()
    return process.wait() == -signal.SIGKILL


def _hashes(folder: Path) -> dict[Path, str]:
    """The sha256 of every tensor file in `folder`, by its place in it; reports hold durations."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix not in _NOT_COMPARED)
    return {path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=0.05, help="between two writes of the progress")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("command", nargs=argparse.REMAINDER, help="as for mascli, without -o and --resume")
    options = parser.parse_args()
    if not options.command:
        parser.error("name the command to kill")
    return options


if __name__ == "__main__":
    main()
