"""`mascli inspect` of one file, as typed: the same known numbers in every form, and nothing hidden."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stored
from commands import Run, in_a_process
from rich.cells import cell_len

from mascli.files.records_json import omega_metadata
from mascli.files.tensor_file import Source, array_source, write_tensor_file
from mascli.records import Reliability

# Sum 200: a holds 40, b.1 holds 150, b.2 holds 10.
KNOWN = {
    "a.weight": [[1.0, 2.0, 3.0], [4.0, 5.0, 15.0]],
    "a.bias": [0.0, 10.0],
    "b.1.weight": [[[[100.0]]], [[[50.0]]]],
    "b.2.weight": [0.0, 0.0, 0.0, 10.0],
}
LAYERS = {  # parameters, share, mean, median, p99, maximum, zeros, not finite, p10, p90, minimum, negative
    "a": (8, 0.2, 5.0, 3.5, 15.0, 15.0, 0.125, 0, 0.0, 15.0, 0.0, 0),
    "b.1": (2, 0.75, 75.0, 75.0, 100.0, 100.0, 0.0, 0, 50.0, 100.0, 50.0, 0),
    "b.2": (4, 0.05, 2.5, 0.0, 10.0, 10.0, 0.75, 0, 0.0, 10.0, 0.0, 0),
}
KEYS = ("name", "parameters", "share", "mean", "median", "p99", "maximum", "zeros", "not_finite")
KEYS += ("p10", "p90", "minimum", "negative")
TABLE = [
    "a               8  20.00 %     5     3.5   15   15       15  12.50 %",
    "b.1             2  75.00 %    75      75  100  100      100   0.00 %",
    "b.2             4   5.00 %   2.5       0   10   10       10  75.00 %",
]


@pytest.fixture
def known(tmp_path: Path) -> Path:
    reliability = Reliability(0.95, 0.93, "a", 0.1, 500)
    return stored.write(tmp_path / "known.omega", KNOWN, stored.omega(reliability=reliability))


def drawn(run: Run, *words: str | Path) -> str:
    code, out, err = run("inspect", *words)
    assert (code, err) == (0, "")
    return out


def on_terminal(width: int, *words: str | Path, **environment: str) -> str:
    """What the command prints on a terminal of that width."""
    import fcntl
    import pty
    import struct
    import termios

    clean = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "COLUMNS", "FORCE_COLOR")}
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "mascli", "inspect", *map(str, words)],
        stdin=follower,
        stdout=follower,
        stderr=subprocess.STDOUT,
        env={**clean, "TERM": "xterm-256color", "COLORTERM": "truecolor", **environment},
    )
    os.close(follower)
    parts = []
    while True:
        try:
            part = os.read(leader, 1 << 16)
        except OSError:  # how Linux says that the other end is closed
            break
        if not part:
            break
        parts.append(part)
    os.close(leader)
    assert process.wait(timeout=60) == 0
    return b"".join(parts).decode().replace("\r\n", "\n")


def test_known_numbers_in_the_table(known: Path, run: Run) -> None:
    lines = drawn(run, known).splitlines()
    start = lines.index("importance by layer")
    assert [line[: len(TABLE[0])] for line in lines[start + 2 : start + 5]] == TABLE
    assert "importance    mean 14.29, median 3.5, maximum 100" in lines
    assert "quantiles     10 % 0, 90 % 50, 99 % 100" in lines
    assert "exactly zero  28.57 % of the parameters" in lines


def test_known_numbers_in_json(known: Path, run: Run) -> None:
    words = ("--format", "json", "--histogram", "--bins", "2", "--top", "2", "--by", "filters", "--map", "a")
    payload: dict[str, Any] = json.loads(drawn(run, known, *words))
    assert payload["layers"] == [dict(zip(KEYS, (name, *row), strict=True)) for name, row in LAYERS.items()]
    overall = (14, 1.0, 200 / 14, 3.5, 100.0, 100.0, 4 / 14, 0, 0.0, 50.0, 0.0, 0)
    assert payload["overall"] == dict(zip(KEYS, ("", *overall), strict=True))
    assert payload["histogram"] == {
        "zeros": 4,
        "not_finite": 0,
        "negative": 0,
        "edges": [1.0, 10.0, 100.0],
        "counts": [5, 5],
    }
    assert {name: one["counts"] for name, one in payload["histograms"].items()} == {
        "a": [5, 2],
        "b.1": [0, 2],
        "b.2": [0, 1],
    }
    assert payload["top"] == [
        {"rank": 1, "name": "b.1.weight[0]", "parameters": 1, "importance": 100.0, "share": 0.5},
        {"rank": 2, "name": "b.1.weight[1]", "parameters": 1, "importance": 50.0, "share": 0.25},
    ]
    assert payload["top_left_out"] == 0
    assert payload["map"] == {"layer": "a", "tensor": "a.weight", "shape": [2, 3], "importance": [6.0, 24.0]}
    assert (payload["by"], payload["dtypes"]) == ("filters", {"F32": 14})
    assert json.loads(drawn(run, known, "--format", "json"))["histograms"] == {}


def test_known_numbers_in_csv(known: Path, run: Run) -> None:
    def rows(*words: str) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(drawn(run, known, "--format", "csv", *words))))

    assert rows() == [dict(zip(KEYS, map(str, (name, *row)), strict=True)) for name, row in LAYERS.items()]
    assert rows("--top", "1", "--by", "tensors") == [
        {"rank": "1", "name": "b.1.weight", "parameters": "2", "importance": "150.0", "share": "0.75"}
    ]
    assert [row["importance"] for row in rows("--map", "a", "--top", "1")] == ["6.0", "24.0"]
    counted = [(row["layer"], row["kind"], row["count"]) for row in rows("--histogram", "--bins", "1", "--layer", "a")]
    kinds = ("zeros", "negative", "not_finite", "positive")
    assert counted == [
        *(("", kind, count) for kind, count in zip(kinds, ("4", "0", "0", "10"), strict=True)),
        *(("a", kind, count) for kind, count in zip(kinds, ("1", "0", "0", "7"), strict=True)),
    ]


def test_known_numbers_in_markdown(known: Path, run: Run, tmp_path: Path) -> None:
    drawn(run, known, "--report", tmp_path / "out.md", "--map", "a", "--top", "1")
    document = (tmp_path / "out.md").read_text()
    assert "| b.1 | 2 | 75.00 % | 75 | 75 | 100 | 100 | 100 | 0.00 % | " in document
    assert "| b.1.weight\\[0,0,0,0\\] | 100 | 50.00 % |" in document
    assert "```text\n0 ..@@\n.. >= 6.0e+00" in document
    drawn(run, known, "--report", tmp_path / "ascii.md", "--map", "a", "--ascii")
    assert (tmp_path / "ascii.md").read_text().isascii()
    assert not document.isascii()


def test_a_change_of_one_value_changes_the_numbers(known: Path, run: Run, tmp_path: Path) -> None:
    other = stored.write(tmp_path / "other.omega", {**KNOWN, "a.bias": [0.0, 11.0]})
    layer = json.loads(drawn(run, other, "--format", "json"))["layers"][0]
    assert layer["mean"] == 5.125 and layer["share"] == 41 / 201
    assert TABLE[0] not in drawn(run, other)


def test_layers_are_chosen_and_shares_stay_those_of_the_whole(known: Path, run: Run) -> None:
    words = ("--layer", "b.?", "--layer", "a*", "--top", "1", "--format", "json")
    assert [one["name"] for one in json.loads(drawn(run, known, *words))["layers"]] == ["a", "b.1", "b.2"]
    some = json.loads(drawn(run, known, "--layer", "b.2", *words[4:]))
    assert [(one["name"], one["share"]) for one in some["layers"]] == [("b.2", 0.05)]
    assert (some["top"][0]["name"], some["overall"]["parameters"]) == ("b.2.weight[3]", 14)
    code, out, err = run("inspect", known, "--layer", "b.*", "--layer", "B.1")
    assert (code, out) == (2, "")
    assert re.fullmatch(r"mascli: --layer 'B.1' matches no layer; the nearest: b\.[12].*\n", err)


@pytest.mark.parametrize("width", [80, 200])
@pytest.mark.parametrize("colour", [True, False])
def test_nothing_is_wider_than_the_terminal(
    tmp_path: Path, width: int, colour: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    values = {
        f"features.denseblock{block}.denselayer{layer}.conv.weight": random.exponential(10.0**-block, (80, 3, 3, 3))
        ** 3
        for block in range(3)
        for layer in range(4)
    }
    file = stored.write(tmp_path / "x.omega", {**values, "fc.weight": np.zeros((200, 2)), "fc.bias": [np.nan, -1.0]})
    words = (file.name, "--histogram", "--top", "5", "--map", "features.denseblock0.denselayer1.conv")
    environment = {} if colour else {"NO_COLOR": "1"}
    monkeypatch.chdir(tmp_path)
    shown = on_terminal(width, *words, **environment)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()
    assert all(cell_len(line) <= width for line in lines)
    assert max(map(cell_len, lines)) > 0.6 * width
    assert any(line.count("█") > 25 for line in lines)
    assert ("\x1b[38;2;" in shown) is colour
    assert any(re.match(r" 0 [.:;+*x%#@]{32}", line) for line in lines) is not colour
    assert ("no room for p99" in shown) is (width == 80)


def test_ascii_only_and_pipes(known: Path) -> None:
    words = (known, "--histogram", "--map", "a", "--ascii")
    shown = on_terminal(80, *words, NO_COLOR="1")
    assert re.sub(r"\x1b\[[0-9;]*m", "", shown).isascii()
    piped = in_a_process("inspect", *words).stdout
    assert piped.isascii() and "\x1b" not in piped
    assert "\x1b" not in in_a_process("inspect", known, "--map", "a").stdout
    assert not in_a_process("inspect", known).stdout.isascii()


def test_sixteen_colours_are_too_few_for_a_map(known: Path) -> None:
    shown = on_terminal(80, known, "--map", "a", TERM="xterm", COLORTERM="")
    assert "..@@" in re.sub(r"\x1b\[[0-9;]*m", "", shown)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"a.w": [1.0, np.nan]},
            ["mean nan", "not finite    1 parameter", "warning: 1 value not finite", "estimate it anew"],
        ),
        (
            {"a.w": [1.0, np.inf]},
            ["mean inf, median inf, maximum inf", "1.0e+00 .. 1.0e+00", "warning: 1 value not finite"],
        ),
        ({"a.w": [-2.0, 3.0, 0.0]}, ["negative      1 parameter", "warning: 1 value below 0", "mean 0.3333, median 0"]),
        ({"a.w": [0.0, 0.0]}, ["exactly zero  100.00 %", "protects nothing", "median 0, maximum 0"]),
        ({"a.w": 7.0}, ["mean 7, median 7, maximum 7", "7.0e+00 .. 7.0e+00", "1 values of F32"]),
        ({"a.w": np.zeros((0, 4)), "b.w": [2.0]}, ["a               0    0.00 %   nan", "mean 2, median 2"]),
        (
            {"a.w": np.zeros((0, 4))},
            ["no values\n", "there are no values in this file", "warning: there are no"],
        ),
    ],
)
def test_odd_values_are_shown_as_they_are(values: dict[str, Any], said: list[str], tmp_path: Path, run: Run) -> None:
    shown = drawn(run, stored.write(tmp_path / "x.omega", values), "--histogram", "--top", "3")
    for words in said:
        assert words in shown


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_an_omega_that_was_rounded_is_shown_with_a_warning(dtype: str, tmp_path: Path, run: Run) -> None:
    values = np.array([[0.0, 1.0], [0.5, 3.140625]], np.float32)
    bits = values.astype("<f2").tobytes() if dtype == "F16" else (values.view("<u4") >> 16).astype("<u2").tobytes()
    file = tmp_path / "half.omega"
    write_tensor_file(
        file, {"a.weight": Source(dtype, (2, 2), lambda: bits)}, omega_metadata(stored.omega(), {}), overwrite=False
    )
    shown = drawn(run, file, "--map", "a")
    assert f"4 values of {dtype}" in shown and "maximum 3.141" in shown
    assert "warning: the file is rounded: another tool has stored its values as " in shown
    assert "use the file that mascli has written, or estimate it anew:" in shown and "train-task" not in shown
    assert json.loads(drawn(run, file, "--format", "json"))["overall"]["mean"] == 4.640625 / 4
    assert run("merge", file, "--combine", "sum", "-o", tmp_path / "out")[0] == 4


def test_an_omega_of_another_dtype_is_refused(tmp_path: Path, run: Run) -> None:
    file = tmp_path / "x.omega"
    write_tensor_file(file, {"a": array_source(np.zeros(2))}, omega_metadata(stored.omega(), {}), overwrite=False)
    code, out, err = run("inspect", file)
    assert (code, out) == (4, "") and "importance must be float32: a" in err


def test_plain_weights_say_what_they_are_and_how_to_use_them(tmp_path: Path, run: Run) -> None:
    bits = np.zeros(8, "<u2").tobytes()
    tensors = {"a.weight": Source("BF16", (2, 4), lambda: bits), "a.bias": array_source(np.zeros(0, np.float16))}
    write_tensor_file(tmp_path / "my weights", tensors, {}, overwrite=False)
    shown = drawn(run, tmp_path / "my weights")
    assert "8 values of BF16 (8), F16 (0)" in shown and "bias 0, weight 2x4" in shown
    assert "not known by their names" in shown and f"--weights '{tmp_path}/my weights'" in shown
    code, out, err = run("inspect", tmp_path / "my weights", "--top", "3", "--map", "a")
    assert (code, out) == (2, "")
    assert "--top, --map: these show importance" in err and "is a file of plain tensors" in err
    assert drawn(run, tmp_path / "my weights", "--layer", "a", "--format", "csv").count("\n") == 2


@pytest.mark.parametrize(
    ("reliability", "said"),
    [
        (Reliability(0.995, 0.97, "a", 0.01, 900), ["very high: 900 other images", "(0.995 of 1)", "no file can tell"]),
        (Reliability(0.95, 0.81, "a", 0.01, 900), ["good: 900 other images", "least so in a (0.810)"]),
        (
            Reliability(0.5, 0.2, "a", 0.3, 50),
            ["the reliability is low, 0.500 from 50 images", "fewer than 64", "such as 200 in place of 50"],
        ),
        (
            None,
            ["unknown: one estimate of 2 images, of which no two halves were compared", "first measure more images"],
        ),
    ],
)
def test_somebody_who_never_read_the_paper_is_told_what_to_do(
    reliability: Reliability | None, said: list[str], tmp_path: Path, run: Run
) -> None:
    file = stored.write(tmp_path / "x.omega", KNOWN, stored.omega(reliability=reliability))
    shown = drawn(run, file)
    for words in said:
        assert words in shown
    assert "1 layer of 3 holds 75.00 % of all importance with 14.29 % of the parameters: b.1 (75.00 %)" in shown
    assert "parameter for parameter layer b.1 matters most: 5.25 times the mean of all" in shown
    assert "28.57 % of the parameters are exactly 0" in shown
    assert "mascli train-task CHECKPOINT --task NAME --data FOLDER \\\n" in shown
    used = file if reliability and reliability.overall >= 0.9 else "MORE.omega"
    assert f"--omega {used} -o NEW.st" in shown and "begins with aaaaaaaa" in shown


def test_a_checkpoint_shows_its_tasks_heads_and_where_it_comes_from(checkpoints: Path, run: Run) -> None:
    import hashlib

    shown = drawn(run, checkpoints / "birds.st")
    parent = hashlib.sha256((checkpoints / "flowers.st").read_bytes()).hexdigest()[:8]
    omega = hashlib.sha256((checkpoints / "flowers.omega").read_bytes()).hexdigest()[:8]
    assert re.search(rf"train-task +birds +{parent} +{omega} +[0-9a-f]{{8}}", shown)
    assert re.search(r"flowers +3 +bias 3, weight 3x\d+ +\[bold\], rose, tulip", shown)
    payload = json.loads(drawn(run, checkpoints / "birds.st", "--format", "json"))
    assert list(payload["heads"]) == ["flowers", "birds"]
    assert sum(payload["parts"].values()) == payload["parameters"] == sum(payload["dtypes"].values())
    for command in ("mascli estimate", "mascli train-task", "mascli evaluate"):
        assert f"  {command} {checkpoints / 'birds.st'}" in shown


@pytest.mark.parametrize("kind", ["plain", "checkpoint"])
def test_a_header_is_shown_without_torch_or_numpy(kind: str, checkpoints: Path, tmp_path: Path) -> None:
    write_tensor_file(tmp_path / "plain", {"a": array_source(np.zeros(2))}, {}, overwrite=False)
    file = checkpoints / "birds.st" if kind == "checkpoint" else tmp_path / "plain"
    code = (
        "import sys\nfrom mascli.cli.app import main\ntry:\n    main()\nfinally:\n"
        "    print(sorted({'torch', 'numpy', 'safetensors'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, "inspect", str(file)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "[]\n")
    omega = [sys.executable, "-c", code, "inspect", str(checkpoints / "birds.omega")]
    assert subprocess.run(omega, capture_output=True, text=True).stderr == "['numpy']\n"
