"""A report for machines and for documents: JSON, CSV, Markdown and JUnit XML."""

from __future__ import annotations

import csv
import io
import json
import re
import textwrap
from collections.abc import Callable, Iterable
from itertools import groupby
from pathlib import Path
from xml.etree import ElementTree

from mascli.errors import printable
from mascli.reports.filter_map import filter_map_lines
from mascli.reports.histogram import histogram_lines
from mascli.reports.report import Chart, Facts, FilterMap, Lines, Report, Scatter, Section, Table, plain
from mascli.reports.scatter import scatter_lines
from mascli.reports.sparkline import cell_text


def to_json(report: Report) -> str:
    """The result as strict JSON; nan and infinities are the texts "nan", "inf" and "-inf"."""
    return json.dumps(report.payload, indent=2, allow_nan=False) + "\n"


def to_csv(report: Report) -> str:
    """The result's rows (tasks, layers, epochs) as CSV with a header; None is an empty cell."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(report.rows[0]) if report.rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(plain(row) for row in report.rows)
    return buffer.getvalue()


def to_markdown(report: Report, ascii_only: bool = False) -> str:
    """The result as a document: facts as a list, tables as tables, the histogram as it is drawn."""
    sections = (*report.sections, Lines(tuple(f"note: {note}" for note in report.notes)))
    parts = [f"# mascli {report.command}"] + [_markdown_section(section, ascii_only) for section in sections]
    return "\n\n".join(part for part in parts if part) + "\n"


def to_junit(report: Report) -> str:
    """The result's checks as JUnit test cases, for the pipelines that count them."""
    failures = sum(not check.passed for check in report.checks)
    totals = {"tests": str(len(report.checks)), "failures": str(failures), "errors": "0"}
    suites = ElementTree.Element("testsuites", totals)
    suite = ElementTree.SubElement(suites, "testsuite", {"name": f"mascli {report.command}", **totals})
    for check in report.checks:
        name = {"classname": f"mascli.{report.command}", "name": _safe(check.name)}
        case = ElementTree.SubElement(suite, "testcase", name)
        if not check.passed:
            failure = ElementTree.SubElement(case, "failure", {"message": _safe(check.message)})
            failure.text = _safe(check.message)  # some viewers show the one, some the other
        elif check.message:
            ElementTree.SubElement(case, "system-out").text = _safe(check.message)
    ElementTree.indent(suites)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(suites, encoding="unicode") + "\n"


_MARKS = {"FAILED": "\N{CROSS MARK}", "passed": "\N{WHITE HEAVY CHECK MARK}"}

_WRITERS: dict[str, Callable[[Report], str]] = {
    ".json": to_json,
    ".csv": to_csv,
    ".xml": to_junit,
}


def document(report: Report, path: Path, ascii_only: bool = False) -> str:
    """The report in the format that the name of `path` asks for (.json, .csv, .md or .xml)."""
    if path.suffix.lower() == ".md":
        return to_markdown(report, ascii_only)
    return _WRITERS[path.suffix.lower()](report)


def _markdown_section(section: Section, ascii_only: bool) -> str:
    if isinstance(section, Facts):
        return "\n".join(f"- {label}: {_marked(_markdown(value))}" for label, value in section.rows)
    if isinstance(section, Table):
        body = _markdown_table(section, ascii_only)
    elif isinstance(section, Scatter):
        body = _drawn(label + drawn for label, drawn in scatter_lines(section.density, 80, ascii_only))
    elif isinstance(section, Chart):
        body = _drawn(histogram_lines(section.histogram, 80, ascii_only))
    elif isinstance(section, FilterMap):
        body = _drawn(line.plain for line in filter_map_lines(section.importance, 80, ascii_only))
    else:
        body = _markdown_lines(section)
    title = _markdown(section.title[:1].upper() + section.title[1:])
    return f"## {title}\n\n{body}" if section.title and body else body


def _drawn(lines: Iterable[str]) -> str:
    """A drawing as it is."""
    return "\n".join(("```text", *lines, "```"))


def _markdown_table(table: Table, ascii_only: bool) -> str:
    if not table.rows:
        return ""
    head = [_markdown(column.replace("\n", " ")) for column in table.columns]
    rule = ["---:" if column in table.right else "---" for column in table.columns]
    rows = [[_markdown(cell_text(cell, ascii_only)) for cell in row] for row in table.rows]
    if table.columns[0] == "":  # the column of verdicts
        rows = [[_marked(row[0]), *row[1:]] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))


def _markdown_lines(lines: Lines) -> str:
    """Sentences as a list; lines that begin with a blank are commands, or code, to be copied as they are."""
    parts = []
    for is_code, group in groupby(lines.lines, key=lambda line: line.startswith(" ")):
        block = list(group)
        parts.append(_code(block) if is_code else "\n".join(f"- {_markdown(line)}" for line in block))
    return "\n\n".join(parts)


def _code(lines: Iterable[str]) -> str:
    """A fence longer than any row of backticks within."""
    code = textwrap.dedent("\n".join(_safe(line) for line in lines))
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", code)), 0)
    language = "console" if code.startswith("mascli ") else "python"
    return f"{fence}{language}\n{code}\n{fence}"


def _marked(text: str) -> str:
    """A verdict with a mark that is seen at a glance."""
    word = text.partition(":")[0]
    return f"{_MARKS[word]} {text}" if word in _MARKS else text


def _markdown(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", _safe(text))


def _safe(text: str) -> str:
    return printable(plain(text))
