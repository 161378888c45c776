"""How much memory there is to keep decoded images in."""

from __future__ import annotations

import os
from pathlib import Path

_UNKNOWN = 2 << 30


def available_memory() -> int:
    """Bytes that may be allocated without driving the machine, or its container, out of memory.

    What neither Linux nor POSIX tells is taken to be 2 GiB.
    """
    limits = [bytes_ for bytes_ in (_machine(), _container()) if bytes_ is not None]
    return max(min(limits, default=_UNKNOWN), 0)


def _machine() -> int | None:
    try:
        fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, OSError, ValueError):
        return None


def _container(group: Path = Path("/sys/fs/cgroup")) -> int | None:
    try:
        return int((group / "memory.max").read_text()) - int((group / "memory.current").read_text())
    except (OSError, ValueError):  # no such group, or its limit is "max"
        return None
