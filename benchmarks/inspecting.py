"""How long `mascli inspect` takes and how much memory: headers, and omegas of 100 million parameters.

    python benchmarks/inspecting.py [--parameters 100000000] [--rounds 5] [--folder FOLDER] [--json FILE]

All files are made here. Each command runs in a process of its own, with compiled Python files, as an
installed package has them, and with the omega in the system's cache, which a first, uncounted run puts
it into. Seconds and processor seconds are medians, peak memory is the largest resident set of all rounds.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conditions import cpu_model

MIB = 1 << 20
PART = 1 << 20  # values that are drawn at a time


@dataclass(frozen=True)
class Case:
    """A command, and what it may take."""

    name: str
    words: tuple[str, ...]
    most_seconds: float
    most_mib: float


def main() -> None:
    """Print one line a command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parameters", type=int, default=100_000_000, help="values of each omega")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the files go meanwhile (default: a temporary folder)")
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "results" / "inspecting.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        maker = multiprocessing.get_context("spawn").Process(target=_make, args=(Path(folder), options.parameters))
        maker.start()  # a process begins with the peak memory of the one that starts it
        maker.join()
        if maker.exitcode:
            raise SystemExit("the files could not be made")
        os.environ["PYTHONPYCACHEPREFIX"] = str(Path(folder) / "compiled")
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        cases = list(_cases(Path(folder)))
        runs: dict[str, list[tuple[float, float, float]]] = {case.name: [] for case in cases}
        for number in range(options.rounds + 1):
            for case in cases:
                measured = _measured(case.words)
                runs[case.name] += [measured] if number else []
    print(f"omegas of {options.parameters:,} parameters, {options.rounds} rounds, load {os.getloadavg()[0]:.1f}\n")
    print(f"{'command':<42} {'seconds':>8} {'of':>5} {'processor':>10} {'peak MiB':>9} {'of':>5}")
    results: dict[str, Any] = {}
    for case in cases:
        seconds, processor, peaks = zip(*runs[case.name], strict=True)
        found = (statistics.median(seconds), statistics.median(processor), max(peaks))
        limits = f"{case.most_seconds:5.1f}", f"{case.most_mib:5.0f}"
        print(f"{case.name:<42} {found[0]:8.2f} {limits[0]} {found[1]:10.2f} {found[2]:9.1f} {limits[1]}")
        results[case.name] = {
            "seconds": round(found[0], 3),
            "fastest_seconds": round(min(seconds), 3),
            "processor_seconds": round(found[1], 3),
            "peak_mib": round(found[2], 1),
            "most_seconds": case.most_seconds,
            "most_mib": case.most_mib,
        }
    conditions = {
        "parameters": options.parameters,
        "rounds": options.rounds,
        "load": round(os.getloadavg()[0], 1),
        "cpu": cpu_model(),
        "cpus": os.cpu_count(),
        "python": sys.version.split()[0],
    }
    options.json.write_text(json.dumps({"conditions": conditions, "commands": results}, indent=2) + "\n")


def _cases(folder: Path) -> Iterator[Case]:
    header, omega = (0.3, 300.0), (5.0, 300.0)
    yield Case("mascli --help (for comparison)", ("--help",), *header)
    yield Case("plain weights", ("inspect", str(folder / "plain.safetensors")), *header)
    yield Case("checkpoint", ("inspect", str(folder / "checkpoint.st")), *header)
    for name, about in (("layers", "96 layers"), ("single", "one tensor"), ("zeros", "half zeros")):
        yield Case(f"omega, {about}", ("inspect", str(folder / f"{name}.omega")), *omega)
    file = str(folder / "layers.omega")
    yield Case("the same, each layer's histogram", ("inspect", file, "--histogram"), *omega)
    for by in ("parameters", "filters"):
        yield Case(f"the same, --top 20 --by {by}", ("inspect", file, "--top", "20", "--by", by), *omega)
    yield Case("the same, --map", ("inspect", file, "--map", "block7.fc1"), *omega)


def _make(folder: Path, parameters: int) -> None:
    """Two headers of a ResNet-50's size, and omegas: of many layers, of one tensor, half of zeros."""
    import numpy as np

    from mascli.files.records_json import checkpoint_metadata
    from mascli.files.tensor_file import Source, array_source, write_tensor_file
    from mascli.records import CheckpointRecord, ModelSpec, Preprocessing, Step, Task

    side = round((parameters / 96) ** 0.5)
    shapes = {f"block{number}.fc{half}.weight": (side, side) for number in range(48) for half in (1, 2)}
    _write_omega(folder / "layers.omega", shapes, 0.02)
    _write_omega(folder / "single.omega", {"layer.weight": (parameters // 1000, 1000)}, 0.02)
    _write_omega(folder / "zeros.omega", {"layer.weight": (parameters // 1000, 1000)}, 0.5)
    names = [
        f"layer{number}.conv{part}.{kind}" for number in range(80) for part in (1, 2) for kind in ("weight", "bias")
    ]
    small: dict[str, Source] = {name: array_source(np.zeros((8, 8), np.float32)) for name in names}
    write_tensor_file(folder / "plain.safetensors", small, {}, overwrite=False)
    classes = tuple(f"class {number}" for number in range(1000))
    record = CheckpointRecord(
        model=ModelSpec("torchvision", "resnet50", {}, "fc"),
        preprocessing=Preprocessing((224, 224), resize_to=256),
        tasks=(Task("base", classes),),
        lineage=tuple(Step("train-task", "a" * 64, task=f"task{number}") for number in range(10)),
        shared=tuple(names),
        buffers=(),
        heads={"base": {"weight": "mascli.head.base.weight"}},
    )
    tensors = {**small, "mascli.head.base.weight": array_source(np.zeros((1000, 8), np.float32))}
    write_tensor_file(folder / "checkpoint.st", tensors, checkpoint_metadata(record, {}), overwrite=False)


def _write_omega(path: Path, shapes: dict[str, tuple[int, ...]], zeros: float) -> None:
    """Importance as it is: over many orders of magnitude, with exact zeros."""
    import numpy as np
    from made_omegas import made_record

    from mascli.files.omega_file import write_omega
    from mascli.files.tensor_file import Source

    random = np.random.default_rng(0)
    record = made_record("vit_l_16", "heads")

    def source(shape: tuple[int, ...]) -> Source:
        def read() -> memoryview | bytes:
            values = np.empty(shape, np.float32).reshape(-1)
            for start in range(0, values.size, PART):
                part = values[start : start + PART]
                part[:] = random.standard_exponential(part.size, np.float32) ** 3 * np.float32(1e-3)
                part[random.random(part.size, np.float32) < zeros] = 0
            return values.data.cast("B")

        return Source("F32", shape, read)

    write_omega(path, record, {name: source(shape) for name, shape in shapes.items()}, foreign={}, overwrite=False)


def _measured(words: tuple[str, ...]) -> tuple[float, float, float]:
    """Seconds, processor seconds and peak memory in MiB of one command."""
    begun = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "mascli", *words], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"the command ended with {process.returncode}: {' '.join(words)}")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / (MIB if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
