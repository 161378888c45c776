"""Merge two large omegas by every rule, and print the time and the memory that the command takes.

    python benchmarks/merging.py [--gigabytes 1] [--folder FOLDER] [--json FILE]

Both omegas have the tensors of a large transformer: one of 64 MiB, the others of 16 MiB. Each command
runs in a process of its own. Peak memory is its largest resident set, of which mapped pages of the
files are a part; beside it stands what that is over the same command with omegas of 12 bytes.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RULES = {
    "pool": ("--combine", "pool"),
    "sum": ("--combine", "sum"),
    "sum, normalized": ("--combine", "sum", "--normalize"),
    "max": ("--combine", "max"),
    "mean": ("--combine", "mean", "--weights", "1,2"),
    "ema": ("--combine", "ema"),
}
LARGEST, USUAL = (4096, 4096), (1024, 4096)
MIB = 1 << 20


def main() -> None:
    """Print one line a rule."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=1.0, help="size of each omega")
    parser.add_argument("--folder", type=Path, help="where the omegas go meanwhile (default: a temporary folder)")
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "results" / "merging.json")
    options = parser.parse_args()
    count = max(0, round((options.gigabytes * 1e9 - 64 * MIB) / (16 * MIB)))
    shapes = {"block0.weight": LARGEST, **{f"block{number}.weight": USUAL for number in range(1, count + 1)}}
    results: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        large = _omegas(Path(folder), "large", shapes)
        small = _omegas(Path(folder), "small", {"block0.weight": (3,)})
        size = large[0].stat().st_size
        print(f"two omegas of {size / 1e9:.2f} GB, largest tensor 64 MiB\n")
        print(f"{'rule':<16} {'seconds':>8} {'peak MiB':>9} {'over the interpreter':>21}")
        for name, flags in RULES.items():
            _, alone = _measured(Path(folder) / "out", small, flags)
            seconds, peak = _measured(Path(folder) / "out", large, flags)
            results[name] = {
                "seconds": round(seconds, 2),
                "peak_mib": round(peak, 1),
                "over_interpreter_mib": round(peak - alone, 1),
            }
            print(f"{name:<16} {seconds:8.2f} {peak:9.1f} {peak - alone:21.1f}", flush=True)
    conditions = {
        "bytes_each": size,
        "largest_tensor_mib": 64,
        "tensors": len(shapes),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
    }
    options.json.write_text(json.dumps({"conditions": conditions, "rules": results}, indent=2) + "\n")


def _omegas(folder: Path, name: str, shapes: dict[str, tuple[int, ...]]) -> list[Path]:
    """Two omegas, made in another process: a process begins with the peak memory of the one that starts it."""
    paths = [folder / f"{name}{number}.omega" for number in (1, 2)]
    for seed, path in enumerate(paths):
        process = multiprocessing.get_context("spawn").Process(target=_write, args=(path, shapes, seed))
        process.start()
        process.join()
        if process.exitcode:
            raise SystemExit(f"{path} could not be made")
    return paths


def _write(path: Path, shapes: dict[str, tuple[int, ...]], seed: int) -> None:
    import numpy as np
    from made_omegas import made_record

    from mascli.files.omega_file import write_omega
    from mascli.files.tensor_file import Source, array_source

    random = np.random.default_rng(seed)
    record = made_record("vit_l_16", "heads", seed)

    def source(shape: tuple[int, ...]) -> Source:
        def read() -> memoryview | bytes:
            values = random.standard_exponential(shape, np.float32) * np.float32(1e-3)
            return array_source(values).read()

        return Source("F32", shape, read)

    write_omega(path, record, {name: source(shape) for name, shape in shapes.items()}, foreign={}, overwrite=False)


def _measured(out: Path, omegas: list[Path], flags: tuple[str, ...]) -> tuple[float, float]:
    """Seconds and peak memory in MiB of one command."""
    words = [sys.executable, "-m", "mascli", "merge", *map(str, omegas), *flags, "-o", str(out), "--overwrite", "-q"]
    begun = time.monotonic()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"the command ended with {process.returncode}: {' '.join(words)}")
    return seconds, usage.ru_maxrss / (MIB if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
