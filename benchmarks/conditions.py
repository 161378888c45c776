"""Under what conditions a benchmark ran: what its table says and its JSON keeps. No dates, paths or names."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Any

Conditions = dict[str, Any]


def conditions(device: str, threads: int) -> Conditions:
    """Versions, processor and, on CUDA, the GPU. Sets the number of threads."""
    import torch

    torch.set_num_threads(threads)
    found: Conditions = {
        "device": device,
        "threads": torch.get_num_threads(),
        "cpu": cpu_model(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    if device.startswith("cuda"):
        found |= {"gpu": torch.cuda.get_device_name(device), "cuda": torch.version.cuda}
    return found


def cpu_model() -> str:
    """The processor's name, as far as the system tells it."""
    about = Path("/proc/cpuinfo")
    lines = about.read_text(encoding="utf-8").splitlines() if about.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def described(found: Conditions) -> str:
    """The conditions in one line."""
    return ", ".join(f"{name} {value}" for name, value in found.items())


def peak_mib() -> float:
    """The largest resident set of this process so far, in MiB."""
    import resource  # not on every platform

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)


def resident_mib() -> float:
    """The resident set of this process now, in MiB; its largest where the system does not tell."""
    pages = Path("/proc/self/statm")
    if not pages.exists():
        return peak_mib()
    return int(pages.read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
