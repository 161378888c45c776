"""Compare two large omegas, and print the time and the memory that the command takes.

    python benchmarks/comparing.py [--millions 25] [--folder FOLDER] [--json FILE]

The omegas have the tensors of a ResNet-50 with a wider end: large convolutions, many small ones, and as
many vectors. A tenth of the values is exactly zero. The command runs in a process of its own, first
with omegas of three values. Peak memory is its largest resident set, of which mapped pages of the files
are a part. Seconds are medians of three rounds, memory is the largest.
Ranks need 8 bytes a value; the line says what else there is.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from conditions import cpu_model

MIB = 1 << 20
SMALL = {f"block{number}.norm.weight": (64,) for number in range(53)}
ROUNDS = 3


def main() -> None:
    """Print seconds and peak memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millions", type=float, default=25.0, help="values in each omega")
    parser.add_argument("--folder", type=Path, help="where the omegas go meanwhile (default: a temporary folder)")
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "results" / "comparing.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        alone = _measured(_omegas(Path(folder), "small", {"fc.weight": (3,)}))[1]
        sizes = shapes(round(options.millions * 1e6))
        large = _omegas(Path(folder), "large", sizes)
        rounds = [_measured(large) for _ in range(ROUNDS)]
    values = sum(map(math.prod, sizes.values()))
    seconds, busy = (statistics.median(found[place] for found in rounds) for place in (0, 2))
    peak = max(found[1] for found in rounds)
    print(f"two omegas of {values / 1e6:.1f} million values")
    print(f"{seconds:.1f} s, {busy:.1f} s of a processor, at most {peak:.0f} MiB")
    print(f"over the same command with three values: {peak - alone:.0f} MiB, of which ranks {8 * values / MIB:.0f}")
    results = {
        "conditions": {"cpu": cpu_model(), "cpus": os.cpu_count(), "rounds": ROUNDS},
        "values": values,
        "seconds": round(seconds, 2),
        "processor_seconds": round(busy, 2),
        "peak_mib": round(peak, 1),
        "over_interpreter_mib": round(peak - alone, 1),
    }
    options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def shapes(values: int) -> dict[str, tuple[int, ...]]:
    """Tensors of about so many values: kernels of 2.4 million, then of 0.15 million, and vectors."""
    found: dict[str, tuple[int, ...]] = dict(SMALL)
    left = values - 64 * len(SMALL)
    for size, channels in ((2_359_296, 512), (147_456, 128)):
        for _ in range(left // size):
            found[f"block{len(found)}.conv.weight"] = (channels, channels, 3, 3)
        left %= size
    return found


def _omegas(folder: Path, name: str, sizes: dict[str, tuple[int, ...]]) -> list[Path]:
    """Two omegas, made in another process: a process begins with the peak memory of the one that starts it."""
    paths = [folder / f"{name}{number}.omega" for number in (1, 2)]
    process = multiprocessing.get_context("spawn").Process(target=_write, args=(paths, sizes))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"{name} omegas could not be made")
    return paths


def _write(paths: list[Path], sizes: dict[str, tuple[int, ...]]) -> None:
    import numpy as np
    from made_omegas import made_record

    from mascli.files.omega_file import write_omega
    from mascli.files.tensor_file import Source, array_source

    record = made_record("resnet50", "fc")
    for noise, path in zip((0.0, 0.3), paths, strict=True):
        random, other = np.random.default_rng(0), np.random.default_rng(1)  # the first is the same in both files

        def source(shape: tuple[int, ...], random=random, other=other, noise=noise) -> Source:  # type: ignore[no-untyped-def]
            def read() -> memoryview | bytes:
                values = random.standard_exponential(shape, np.float32) ** 3 * np.float32(1e-3)
                values[random.random(shape, np.float32) < 0.1] = 0
                values *= np.exp(np.float32(noise) * other.standard_normal(shape, np.float32))
                return array_source(values).read()

            return Source("F32", shape, read)

        tensors = {name: source(shape) for name, shape in sizes.items()}
        write_omega(path, record, tensors, foreign={}, overwrite=False)


def _measured(omegas: list[Path]) -> tuple[float, float, float]:
    """Seconds, peak memory in MiB and seconds of a processor of one command."""
    words = [sys.executable, "-m", "mascli", "inspect", *map(str, omegas), "-q"]
    begun = time.monotonic()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"the command ended with {process.returncode}: {' '.join(words)}")
    memory = usage.ru_maxrss / (MIB if sys.platform == "darwin" else 1024)
    return seconds, memory, usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
