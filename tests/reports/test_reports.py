"""Every result in every form: complete for machines, truthful and tidy for people."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import pytest
import sample_results as results
from rich.cells import cell_len

from mascli.reports.average import average_report
from mascli.reports.demo import demo_report
from mascli.reports.estimate import estimate_report
from mascli.reports.evaluate import evaluate_report
from mascli.reports.export import to_csv, to_json, to_junit, to_markdown
from mascli.reports.export_task import export_report
from mascli.reports.init import init_report
from mascli.reports.inspect_file import inspect_report
from mascli.reports.merge import merge_report
from mascli.reports.render import text
from mascli.reports.report import Facts, Lines, Report, Table, plain
from mascli.reports.run import RunResult, run_report, steps_report
from mascli.reports.train_task import train_task_report

REPORTS = {
    "init": init_report(results.INIT),
    "estimate": estimate_report(results.ESTIMATE),
    "train": train_task_report(results.TRAIN),
    "evaluate": evaluate_report(results.EVALUATE),
    "merge": merge_report(results.MERGE),
    "average": average_report(results.AVERAGE),
    "export": export_report(results.EXPORT),
    "omega": inspect_report(results.INSPECT_OMEGA),
    "checkpoint": inspect_report(results.INSPECT_CHECKPOINT),
    "tensors": inspect_report(results.INSPECT_TENSORS),
    "run": run_report(results.RUN),
    "steps": steps_report(results.STEPS),
    "demo": demo_report(results.DEMO),
}
EACH = pytest.mark.parametrize("name", REPORTS)


def refuse(token: str) -> None:
    raise AssertionError(f"{token} is not JSON")


def strictly(document: str) -> Any:
    return json.loads(document, parse_constant=refuse)


def shown(report: Report, width: int | None = 80, ascii_only: bool = False) -> str:
    return text(report, width, ascii_only).plain


@EACH
def test_json_is_strict_and_reads_back(name: str) -> None:
    document = to_json(REPORTS[name])
    assert document.isascii()
    assert strictly(document) == plain(REPORTS[name].payload)


@EACH
def test_csv_has_a_row_for_each(name: str) -> None:
    report = REPORTS[name]
    rows = list(csv.DictReader(io.StringIO(to_csv(report))))
    assert len(rows) == len(report.rows) > 0
    for read, written in zip(rows, report.rows, strict=True):
        assert read == {key: "" if value is None else str(value) for key, value in written.items()}


@EACH
def test_text_fits_eighty_columns_and_cannot_steer_the_terminal(name: str) -> None:
    for line in shown(REPORTS[name]).splitlines():
        assert cell_len(line) <= 80, line
        assert line.isprintable()


@EACH
def test_piped_text_loses_nothing(name: str) -> None:
    piped = shown(REPORTS[name], None)
    for section in REPORTS[name].sections:
        if isinstance(section, Table):
            for row in section.rows:
                assert any(all(plainly(cell) in line for cell in row) for line in piped.splitlines())
        elif isinstance(section, Facts):
            assert all(plainly(value) in piped for _, value in section.rows)
        elif isinstance(section, Lines):
            assert all(plainly(line) in piped for line in section.lines)


def plainly(cell: str) -> str:
    return cell.replace("\x1b", "\\x1b")


@EACH
def test_ascii_where_the_terminal_has_no_more(name: str) -> None:
    assert shown(REPORTS[name], 60, ascii_only=True).isascii()


@EACH
def test_markdown_tables_have_as_many_cells_in_each_row(name: str) -> None:
    document = to_markdown(REPORTS[name])
    assert document.startswith("# mascli ")
    for block in document.split("\n\n"):
        rows = [line for line in block.splitlines() if line.startswith("|")]
        assert len({line.replace(r"\|", "").count("|") for line in rows}) <= 1
    assert "\x1b" not in document


@EACH
def test_junit_counts_its_cases(name: str) -> None:
    suites = ElementTree.fromstring(to_junit(REPORTS[name]))
    cases = suites.findall("testsuite/testcase")
    assert len(cases) == int(suites.attrib["tests"]) == len(REPORTS[name].checks) > 0
    assert len(suites.findall(".//failure")) == int(suites.attrib["failures"])


@EACH
@pytest.mark.parametrize("width", [1, 9, 24, 36, 44, 49])
def test_on_a_narrow_terminal_nothing_is_lost(name: str, width: int) -> None:
    report = REPORTS[name]
    whole = shown(report, width)
    words = re.sub(r"\s", "", whole)
    for section in report.sections:
        for cell in [cell for row in section.rows for cell in row] if isinstance(section, Table) else []:
            fits = "…" in whole  # a table that still fits may leave something out of a name's middle
            assert fits or re.sub(r"\s", "", cell.replace("\x1b", "\\x1b")) in words
    code = {line for section in report.sections if isinstance(section, Lines) for line in section.lines}
    commands = [line for line in whole.splitlines() if line.startswith("  ") and line in code]
    if width >= 44:
        assert [line for line in whole.splitlines() if len(line) > width and line not in commands] == []


def test_a_table_that_does_not_fit_names_its_columns_in_each_row() -> None:
    table = Table("layers", ("layer", "parameters", "mean\nnorm"), (("conv1", "9,408", "0.5"), ("fc", "10", "")))
    lines = shown(replace(REPORTS["init"], sections=(table,)), 16).splitlines()
    assert lines == ["layers", "conv1", "  parameters", "  9,408,", "  mean norm 0.5", "fc", "  parameters 10"]


def test_of_how_many_images_and_why_this_batch_size() -> None:
    def said(**changes: Any) -> str:
        return shown(estimate_report(replace(results.ESTIMATE, unreadable=(), **changes)), None)

    assert "answers of base, 1,200 of 2,000 images\n" in said(images_found=2000)
    assert "answers of base, 1,200 images\n" in said(images_found=1200)
    assert "batch 32: an even number of nearly equal ones, of at most 40)" in said(batch_size_limit=40)
    assert "batch 32)" in said(batch_size_limit=32) and "batch 32)" in said()
    assert "6 by one gradient a batch, 1 unused" in said(rules={"one gradient a batch": 6, "unused": 1})


def test_notes_are_in_documents_and_not_said_twice() -> None:
    report = estimate_report(replace(results.ESTIMATE, notes=("three [copies]",)))
    assert "three" not in shown(report)
    assert "- note: three \\[copies\\]" in to_markdown(report)
    assert json.loads(to_json(report))["notes"] == ["three [copies]"]


def test_user_text_is_never_markup() -> None:
    assert "[/]/base.omega" in shown(REPORTS["estimate"])
    assert "photos/[bold].jpg" in shown(REPORTS["estimate"])
    assert r"\[/\]/base.omega" in to_markdown(REPORTS["estimate"])


def test_a_gate_that_is_not_met_fails_its_case_and_is_told() -> None:
    report = REPORTS["evaluate"]
    assert report.unmet == ("task base: forgetting 2.30 points, more than --max-forgetting 1",)
    failed = ElementTree.fromstring(to_junit(report)).findall(".//failure/..")
    assert [case.attrib["name"] for case in failed] == ["base: max-forgetting"]
    assert evaluate_report(replace(results.EVALUATE, gates=())).unmet == ()


def test_evaluate_shows_what_was_forgotten_and_leaves_blank_what_cannot_be_known() -> None:
    lines = {line.split()[0]: line.split() for line in shown(REPORTS["evaluate"]).splitlines() if line}
    assert lines["base"][1:] == ["93.50", "2.30", "1.00", "to", "3.70", "33", "10", "0.0006"]  # of the second table
    assert lines["birds"] == ["birds", "5", "50", "100.00", "92.90", "to", "100.00"]
    alone = replace(results.EVALUATE, tasks=results.EVALUATE.tasks[2:], average_forgetting=None)
    assert "forgetting" not in shown(evaluate_report(replace(alone, gates=())))
    assert "top-5" not in shown(evaluate_report(replace(alone, gates=())))


def test_demo_json_is_what_was_promised() -> None:
    payload = strictly(to_json(REPORTS["demo"]))
    assert list(payload) == ["methods"]
    assert list(payload["methods"]) == ["finetune", "mas"]
    for method in payload["methods"].values():
        assert list(method) == ["average_accuracy", "learning_accuracy", "forgetting", "accuracy_matrix"]
        assert [len(row) for row in method["accuracy_matrix"]] == [1, 2, 3, 4, 5]


def test_demo_shows_both_matrices_with_counts() -> None:
    lines = shown(REPORTS["demo"]).splitlines()
    assert sum(line.split() == ["digits-90", "64.00", "73.00", "82.00", "91.00", "100.00"] for line in lines) == 1
    assert sum("n=120" in line and "n=119" in line for line in lines) == 2


def test_training_names_what_is_unprotected_and_what_failed() -> None:
    text_of = shown(REPORTS["train"])
    assert "nothing protects these tasks: birds" in text_of
    assert "warning: the training loss ended at 4.6" in text_of
    assert REPORTS["train"].checks[0].passed and "close to guessing" in REPORTS["train"].checks[0].message
    plain_run = replace(results.TRAIN, penalty=None, lambda_=None, free=None, slowed=None, held=None, warnings=())
    assert "none: plain fine-tuning" in shown(train_task_report(plain_run))
    assert train_task_report(plain_run).checks[0].passed
    beside = shown(train_task_report(replace(plain_run, distill=5.0, temperature=2.0, rehearsed=("base", "cars"))))
    assert "distillation, weight 5, temperature 2; rehearsal of base, cars" in " ".join(beside.split())
    assert "plain fine-tuning" not in beside
    frozen = replace(results.TRAIN, lambda_=float("inf"), val_accuracy=None, val_interval=None)
    assert "shared parameters were not trained" in shown(train_task_report(frozen))
    assert "the last epoch is kept" in shown(train_task_report(frozen))
    assert strictly(to_json(train_task_report(frozen)))["lambda"] == "inf"


def test_estimate_shows_the_layers_of_the_largest_share_in_the_order_of_the_network() -> None:
    layers = tuple(replace(row, share=index / 100) for index, row in enumerate(results.ESTIMATE.layers))
    report = estimate_report(replace(results.ESTIMATE, layers=layers))
    (table,) = [section for section in report.sections if isinstance(section, Table)]
    assert [row[0] for row in table.rows] == [layer.name for layer in layers[-12:]]
    assert len(report.rows) == len(layers)


def test_reliability_is_one_line_and_where_it_is_low_another_says_what_to_do() -> None:
    line = "0.981 (lowest: layer4.1.conv2 0.870); half-difference 0.061"
    low, single = replace(results.RELIABILITY, overall=0.899, images=64), replace(results.OMEGA, contributions=())
    for known, shows, warns in (
        (results.RELIABILITY, line, False),
        (low, "0.899 (lowest", True),
        (None, "unknown", False),
    ):
        omega = replace(results.INSPECT_OMEGA, omega=replace(single, reliability=known))
        for report in (estimate_report(replace(results.ESTIMATE, reliability=known)), inspect_report(omega)):
            whole = shown(report, None)
            assert shows in whole and "reliability" in whole
            assert ("the reliability is low, 0.899 from 64 images" in whole) == warns
            assert ("measure more images" in whole) == warns


def test_many_unreadable_files_are_counted() -> None:
    many = replace(results.ESTIMATE, unreadable=tuple((f"{number}.jpg", "truncated") for number in range(8)))
    shown_text = shown(estimate_report(many), None)
    assert "8 files could not be read" in shown_text
    assert "3 files more" in shown_text


def test_plain_makes_strict_values_of_anything() -> None:
    odd = {"x": float("nan"), "path": "\udce9", "set": frozenset({"b", "a"}), "half": "\ud800"}
    assert plain(odd) == {"x": "nan", "path": r"\udce9", "set": ["a", "b"], "half": r"\ud800"}


def test_a_table_without_rows_is_not_shown() -> None:
    report = replace(REPORTS["init"], sections=(Table("epochs", ("a", "b"), ()),))
    assert shown(report) == ""
    assert to_markdown(report) == "# mascli init\n"


def test_a_run_shows_times_under_their_own_name_only() -> None:
    def columns(result: RunResult, *, timed: bool) -> dict[str, tuple[str, ...]]:
        tables = [section for section in run_report(result, timed=timed).sections if isinstance(section, Table)]
        return {table.title.partition(" ")[0]: table.columns for table in tables}

    shown = columns(results.RUN, timed=True)
    assert shown["transfer"][-1] == "took" and shown["after"][-1] == ""  # above the marks
    assert [name for name, header in shown.items() if "took" in header] == ["transfer"]
    only = replace(results.RUN, methods=results.RUN.methods[:1])
    assert "" not in columns(only, timed=True)["after"]
    assert "took" not in columns(results.RUN, timed=False)["transfer"]


def test_commands_in_markdown_can_be_copied_as_they_are() -> None:
    lines = (
        "first this:",
        "  mascli init --model X \\",
        "      --weights [a]*.st -o `b`",
        "and then:",
        "  mascli run",
        "_x_",
    )
    document = to_markdown(replace(REPORTS["init"], sections=(Lines(lines, "what to do next"),)))
    assert document == (
        "# mascli init\n\n## What to do next\n\n- first this:\n\n"
        "```console\nmascli init --model X \\\n    --weights [a]*.st -o `b`\n```\n\n"
        "- and then:\n\n```console\nmascli run\n```\n\n- \\_x\\_\n"
    )
    fenced = to_markdown(replace(REPORTS["init"], sections=(Lines(("  mascli inspect ````x",)),)))
    assert "\n`````console\nmascli inspect ````x\n`````\n" in fenced
    assert "```python\nimport" in to_markdown(REPORTS["export"])


@EACH
@pytest.mark.parametrize("width", [30, 40, 50, 59])
def test_a_narrow_terminal_cuts_no_name_and_no_heading(name: str, width: int) -> None:
    for section in REPORTS[name].sections:
        if isinstance(section, Table):
            assert "…" not in shown(replace(REPORTS[name], sections=(section,)), width)


@EACH
@pytest.mark.parametrize("width", [30, 40, 60, 80])
def test_no_line_ends_between_a_number_and_its_unit(name: str, width: int) -> None:
    lines = shown(REPORTS[name], width).splitlines()
    torn = [
        (one, two)
        for one, two in pairwise(lines)
        if re.search(r"\d$", one) and re.match(r" *(%(?!%)|points?(?!\w))", two)
    ]
    assert torn == []


def test_headings_of_numbers_are_never_cut() -> None:
    columns = ("task", "a long heading", "limit", "another heading")
    table = Table(
        "t", columns, (("birds" * 8, "1", "--min-accuracy 60" * 3, "2"),), frozenset({columns[1], columns[3]})
    )
    for width in range(60, 90):
        whole = shown(replace(REPORTS["init"], sections=(table,)), width)
        assert "a long heading" in whole and "another heading" in whole
        assert all(cell_len(line) <= width for line in whole.splitlines())
