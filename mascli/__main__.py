"""Where the process starts: `mascli` and `python -m mascli` alike."""

from __future__ import annotations

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line; whoever stops it while it is still being loaded gets no traceback."""
    try:
        from mascli.cli.app import main as run
    except KeyboardInterrupt:
        print("mascli: stopped", file=sys.stderr)
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
