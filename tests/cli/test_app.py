"""The command line from outside: help, settings, errors as one line, and how each command ends."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.core import TyperOption
from typer.main import get_command
from typer.testing import CliRunner

from mascli import __version__
from mascli.cli.app import app, main
from mascli.config import (
    AverageConfig,
    DemoConfig,
    EstimateConfig,
    EvaluateConfig,
    ExportConfig,
    InitConfig,
    InspectConfig,
    MergeConfig,
    ReportConfig,
    RunConfig,
    TrainTaskConfig,
)

KINDS = {
    "init": InitConfig,
    "estimate": EstimateConfig,
    "train-task": TrainTaskConfig,
    "evaluate": EvaluateConfig,
    "inspect": InspectConfig,
    "merge": MergeConfig,
    "average": AverageConfig,
    "export": ExportConfig,
    "run": RunConfig,
    "report": ReportConfig,
    "demo": DemoConfig,
}


def ends(arguments: list[str]) -> Any:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    return caught.value.code


def plain_file(path: Path) -> Path:
    """A tensor file of one tensor, `fc.weight` with two zeros."""
    header = json.dumps({"fc.weight": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    header += b" " * (-len(header) % 8)
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 8)
    return path


def python(code: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)


@pytest.mark.parametrize("command", KINDS)
def test_every_setting_has_an_option_and_every_option_a_setting(command: str) -> None:
    names = {parameter.name for parameter in get_command(app).commands[command].params}  # type: ignore[attr-defined]
    settings = {field.name for field in dataclasses.fields(KINDS[command])}
    assert names - {"help"} == settings | {"config", "show_config"}


@pytest.mark.parametrize("command", KINDS)
def test_help_names_every_option_with_its_default(command: str) -> None:
    shown = CliRunner().invoke(app, [command, "--help"], terminal_width=100)
    assert shown.exit_code == 0
    for flag in ("-o, --out", "--overwrite", "--device", "--seed", "--format", "--report", "--config", "--show-config"):
        assert flag in shown.stdout
    assert "seed gives" in shown.stdout
    assert "[table]" in shown.stdout
    assert all(len(line) <= 100 for line in shown.stdout.splitlines())


def test_no_help_loads_torch_or_numpy() -> None:
    code = """
import sys
from mascli.cli.app import main
words = "init estimate train-task evaluate inspect merge average export run report demo"
for command in [[], *([word] for word in words.split())]:
    try:
        main([*command, "--help"])
    except SystemExit as ended:
        assert not ended.code
print(sorted({"torch", "torchvision", "numpy", "PIL", "rich", "yaml"} & set(sys.modules)), file=sys.stderr)
"""
    done = python(code)
    assert done.returncode == 0
    assert done.stderr.strip() == "[]"
    assert done.stdout.count("Usage: mascli") == len(KINDS) + 1


def test_show_config_loads_no_torch_and_reads_back(tmp_path: Path) -> None:
    code = """
import sys
from mascli.cli.app import main
try:
    main(sys.argv[1:])
finally:
    assert "torch" not in sys.modules
"""
    flags = ["train-task", "a.st", "--task", "pets", "--data", "[/]", "--epochs", "3", "--show-config"]
    first = python(code, *flags)
    assert (first.returncode, first.stderr) == (0, "")
    file = tmp_path / "shown.yaml"
    file.write_text(first.stdout)
    again = python(code, "train-task", "--config", str(file), "--show-config")
    assert again.stdout == first.stdout
    assert "epochs: 3" in again.stdout
    assert "epochs: 4" in python(code, "train-task", "--config", str(file), "--show-config", "--epochs", "4").stdout


REQUIRED = {
    "init": "# model: (required)",
    "estimate": "# checkpoint: (required)",
    "train-task": "# task: (required)",
    "evaluate": "# data: (required)",
    "inspect": "# file: (required)",
    "merge": "# combine: (required: one of pool, sum, max, mean, ema)",
    "average": "# checkpoints: (required)",
    "export": "# checkpoint: (required)",
    "run": "# sequence: (required)",
    "report": "# folder: (required)",
}


@pytest.mark.parametrize("command", REQUIRED)
def test_show_config_names_what_is_missing_in_lines_that_can_be_filled_in(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ends([command, "--show-config", "--seed", "3"]) == 0
    shown = capsys.readouterr().out
    comments = [line for line in shown.splitlines() if line.startswith("#")]
    assert REQUIRED[command] in comments
    assert ("# out: (required)" in comments) is (command not in ("evaluate", "inspect", "report"))
    assert "seed: 3" in shown.splitlines()
    file = tmp_path / "settings.yaml"
    file.write_text(shown)
    assert ends([command, "--config", str(file), "--show-config"]) == 0
    assert capsys.readouterr().out == shown
    assert ends([command, "--config", str(file)]) == 2
    assert "is missing" in capsys.readouterr().err
    assert ends([command, "--show-config", "--seed", "x"]) == 2  # what is wrong stays wrong
    assert capsys.readouterr() == ("", "mascli: --seed: expected a whole number, not 'x'\n")


@pytest.mark.parametrize(
    ("command", "usage"),
    [("merge", "OMEGA..."), ("estimate", "CHECKPOINT"), ("inspect", "FILE [OTHER]"), ("run", "SEQUENCE"), ("init", "")],
)
def test_usage_shows_what_is_needed_without_brackets(
    command: str, usage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ends([command, "--help"]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first.split() == ["Usage:", "mascli", command, "[OPTIONS]", *usage.split()]


@pytest.mark.parametrize("command", KINDS)
def test_an_option_of_one_value_that_is_given_twice_is_an_error(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for parameter in get_command(app).commands[command].params:  # type: ignore[attr-defined]
        if not isinstance(parameter, TyperOption) or parameter.name == "help":
            continue
        flag, last = parameter.opts[0], parameter.opts[-1]
        values = [] if parameter.is_flag else ["1"]
        ends([command, flag, *values, last, *[f"x={value}" for value in values], "--show-config"])
        is_named = "is given twice" in capsys.readouterr().err
        assert is_named is not (parameter.is_flag or parameter.multiple), flag


def test_every_option_that_is_given_twice_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["inspect", "x", "--map", "a", "--map=b", "-o", "x.json", "--out", "y.json", "--overwrite", "--overwrite"]
    assert ends(words) == 2
    told = "mascli: --map is given twice\nmascli: --out is given twice\n"
    assert capsys.readouterr() == ("", told)
    assert ends([*words, "--help"]) == 0


def test_a_problem_of_o_is_told_of_o(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plain_file(tmp_path / "a.st")
    (tmp_path / "there.json").write_text("mine")
    for name, told in (
        ("x", "-o x: the name must end in .json, .csv, .md, .xml"),
        ("there.json", "-o: there.json exists already; choose another name or give --overwrite"),
    ):
        assert ends(["inspect", "a.st", "-o", name]) == 2
        assert capsys.readouterr().err == f"mascli: {told}\n"
    assert ends(["inspect", "a.st", "-o", "there.json", "--overwrite", "--format", "json"]) == 0
    assert (tmp_path / "there.json").read_text() == capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert ends(["--version"]) == 0
    assert capsys.readouterr().out == f"mascli {__version__}\n"


def test_no_command_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert ends([]) == 0
    assert "Start with: mascli demo" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["estimte"], ["No such command 'estimte'. Did you mean 'estimate'? (see mascli --help)"]),
        (["merge", "--combin", "pool"], ["No such option: --combin", "(see mascli merge --help)"]),
        (["estimate", "--seed"], ["Option '--seed' requires an argument"]),
        (["init", "a", "b"], ["unexpected extra argument"]),
        (["inspect", "no\nsuch"], [r"FILE: there is no file no\nsuch"]),
        (["inspect", "[/]"], ["FILE: there is no file [/]"]),
        (["inspect", "x", "--config", "none.yaml"], ["--config none.yaml: cannot be read", "FILE: there is no x"]),
        (["merge"], ["OMEGA is missing", "--combine is missing: one of pool, sum, max, mean, ema"]),
        (["estimate"], ["CHECKPOINT is missing", "--data is missing", "-o/--out is missing"]),
        (
            ["train-task", "x.st", "--task", "a/b", "--data", "q", "--lambda", "nan", "--epochs", "x", "-o", "y"],
            [
                "--epochs: expected",
                "--lambda must be",
                "--task 'a/b'",
                "CHECKPOINT: there is no",
                "--data: there is no",
            ],
        ),
    ],
)
def test_what_a_user_can_mistype_is_a_line_each(
    arguments: list[str], wanted: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: Any, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert ends(arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert all(line.startswith("mascli: ") for line in output.err.splitlines())
    for part in wanted:
        assert part in output.err
    assert "Traceback" not in output.err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX pipes")
@pytest.mark.parametrize(
    "arguments", [["--help"], ["train-task", "--help"], ["demo", "--show-config"], ["inspect", "FILE"]]
)
def test_a_closed_pipe_is_silent(arguments: list[str], tmp_path: Path) -> None:
    file = plain_file(tmp_path / "some.safetensors")
    arguments = [str(file) if part == "FILE" else part for part in arguments]
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "mascli", *arguments],
            stdout=writer,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "mascli", "--help"], stdout=full, stderr=subprocess.PIPE, timeout=60, check=False
        )
    assert done.returncode == 2
    assert done.stderr.startswith(b"mascli: ")
    assert done.stderr.count(b"\n") == 1


def test_a_name_that_the_terminal_cannot_write_does_not_stop_the_output(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = python("from mascli.cli.app import main; main(['inspect', 'f\\u00e9'])", env=environment, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "mascli: FILE: there is no file f\\xe9\n"


def test_json_of_a_real_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = plain_file(tmp_path / "[bold].safetensors")
    reports = [tmp_path / f"result.{ending}" for ending in ("json", "csv", "md", "xml")]
    arguments = ["inspect", str(file), "--format", "json", "-o", str(reports[0])]
    assert ends(arguments + [part for path in reports[1:] for part in ("--report", str(path))]) == 0
    printed = capsys.readouterr().out
    assert json.loads(printed)["kind"] == "tensors"
    assert reports[0].read_text() == printed
    assert reports[1].read_text().startswith("name,parameters,dtypes,shapes\nfc,2,F32,weight 2")
    assert all(path.stat().st_size for path in reports)
    assert ends(["inspect", str(file), "--report", str(reports[0])]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert ends(["inspect", str(file), "--report", str(reports[0]), "--overwrite", "--format", "csv"]) == 0
    assert capsys.readouterr().out == reports[1].read_text()
    assert ends(["inspect", str(file)]) == 0
    assert "[bold].safetensors" in capsys.readouterr().out
