"""What goes to standard output and what to standard error, with and without a terminal."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest
import sample_results

from mascli.cli import console
from mascli.cli.command import deliver
from mascli.cli.console import TerminalObserver, can_draw, show
from mascli.config import EvaluateConfig
from mascli.errors import GateError
from mascli.reports.evaluate import evaluate_report
from mascli.reports.inspect_file import inspect_report


class Terminal(io.StringIO):
    """Text that was written to a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def on_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Both streams become one terminal (in the test itself: pytest sets them anew after fixtures)."""
    written = Terminal()
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "stderr", written)
    monkeypatch.setattr(sys, "stdout", written)
    return written


def tell(observer: TerminalObserver) -> None:
    observer.note("a folder called [/]\nand \x1b[31mmore")
    observer.step("reading")
    observer.command("mascli inspect '[/]'")


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        ({}, ["note: a folder called [/]\\nand \\x1b[31mmore", "$ mascli inspect '[/]'"]),
        ({"verbose": True}, ["note: a folder called [/]\\nand \\x1b[31mmore", "reading", "$ mascli inspect '[/]'"]),
        ({"quiet": True}, []),
        ({"quiet": True, "verbose": True}, []),
    ],
)
def test_lines_go_to_standard_error(options: dict[str, Any], lines: list[str], capsys: Any) -> None:
    tell(TerminalObserver(**options))
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.splitlines() == lines


def work(observer: TerminalObserver) -> None:
    with observer.progress("read [/]", 10) as outer:
        outer(4)
        with observer.progress("inner", 3, "tensors") as inner:
            inner(3)
        outer(6)


def test_no_bar_without_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.setattr(console, "PATIENCE", -1.0)
    monkeypatch.setenv("FORCE_COLOR", "1")
    work(TerminalObserver())
    assert capsys.readouterr() == ("", "")


def test_bars_show_and_vanish_on_a_terminal(monkeypatch: Any) -> None:
    terminal = on_terminal(monkeypatch)
    monkeypatch.setattr(console, "PATIENCE", -1.0)
    observer = TerminalObserver()
    work(observer)
    shown = terminal.getvalue()
    assert "read [/]" in shown
    assert "4/10" in shown
    assert "tensors/s" in shown
    assert shown.endswith("\x1b[2K\x1b[?25h\r")  # the line is taken back
    assert observer._bars is None


def test_short_work_shows_no_bar(monkeypatch: Any) -> None:
    terminal = on_terminal(monkeypatch)
    work(TerminalObserver())
    assert terminal.getvalue() == ""


def test_quiet_and_dumb_terminals_get_no_bar(monkeypatch: Any) -> None:
    terminal = on_terminal(monkeypatch)
    monkeypatch.setattr(console, "PATIENCE", -1.0)
    work(TerminalObserver(quiet=True))
    monkeypatch.setenv("TERM", "dumb")
    work(TerminalObserver())
    assert terminal.getvalue() == ""


def test_a_bar_is_taken_back_when_the_work_fails(monkeypatch: Any) -> None:
    on_terminal(monkeypatch)
    monkeypatch.setattr(console, "PATIENCE", -1.0)
    observer = TerminalObserver()

    def stopped() -> None:
        with observer.progress("read", 10) as advance:
            advance(1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert observer._bars is None


def test_colour_on_a_terminal_and_none_where_it_is_not_wanted(monkeypatch: Any) -> None:
    terminal = on_terminal(monkeypatch)
    report = evaluate_report(sample_results.EVALUATE)
    show(report, "table")
    assert "\x1b[1;31mFAILED" in terminal.getvalue()
    terminal.truncate(0)
    terminal.seek(0)
    monkeypatch.setenv("NO_COLOR", "1")
    show(report, "table")
    assert "FAILED" in terminal.getvalue()
    assert "\x1b[1;31m" not in terminal.getvalue()


def test_no_escape_in_a_pipe(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    show(evaluate_report(sample_results.EVALUATE), "table")
    assert "\x1b" not in capsys.readouterr().out


def test_a_limit_that_is_not_met_stops_after_everything_is_written(tmp_path: Any, capsys: Any) -> None:
    report = evaluate_report(sample_results.EVALUATE)
    file = tmp_path / "result.xml"
    config = EvaluateConfig(checkpoint=tmp_path, format="csv", report=(file,))
    with pytest.raises(GateError, match="more than --max-forgetting 1"):
        deliver(report, config)
    assert capsys.readouterr().out.startswith("task,class,folder,")
    assert 'failures="1"' in file.read_text()


def test_ascii_where_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    report = inspect_report(sample_results.INSPECT_OMEGA)
    show(report, "table")
    assert "█" in capsys.readouterr().out
    show(report, "table", ascii_only=True)
    drawn = capsys.readouterr().out
    assert drawn.isascii() and "###" in drawn


@pytest.mark.parametrize(
    ("encoding", "able"), [("utf-8", True), ("ascii", False), ("latin-1", False), ("no-such", False)]
)
def test_can_draw(encoding: str, able: bool) -> None:
    assert can_draw(encoding) is able
