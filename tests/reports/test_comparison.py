"""What is shown of two files: every figure, in words that fit 80 columns."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from typing import Any

import pytest
import sample_comparisons as pairs

from mascli.importance.change import Weighed
from mascli.reports.change import CheckpointPairResult, change_report
from mascli.reports.comparison import comparison_report
from mascli.reports.export import to_csv, to_json, to_junit, to_markdown
from mascli.reports.render import text
from mascli.reports.report import Facts, Report

REPORTS = [comparison_report(pairs.INSPECT_OMEGAS), change_report(pairs.INSPECT_CHECKPOINTS)]


@pytest.mark.parametrize("report", REPORTS)
def test_nothing_is_cut_at_80_columns(report: Report) -> None:
    shown = text(report, 80).plain
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert text(report, 80, ascii_only=True).plain.isascii()
    assert text(report, None).plain == text(report, None).plain


@pytest.mark.parametrize("report", REPORTS)
def test_every_form_has_every_layer(report: Report) -> None:
    names = [row["name"] for row in report.rows]
    assert [row["name"] for row in csv.DictReader(io.StringIO(to_csv(report)))] == names
    assert [layer["name"] for layer in json.loads(to_json(report))["layers"]] == names
    assert all(name in to_markdown(report) for name in names)
    assert 'failures="0"' in to_junit(report)


def lines(report: Report) -> list[list[str]]:
    return [line.split() for line in text(report, 80).plain.splitlines()]


def test_figures_of_two_omegas() -> None:
    shown = lines(REPORTS[0])
    assert "conv1 2,000 25.00 % 30.00 % 0.990 0.950 1.000 0.930 0.950".split() in shown
    assert "layer1.0.bn1 2 0.00 % 0.00 % n/a n/a n/a n/a n/a".split() in shown
    assert "conv1 60.00 % 25.00 % 30.00 % 12.50 % 1.275".split() in shown
    assert ["Pearson", "0.981", "(correlation"] in [line[:3] for line in shown]
    assert ["top", "1", "%", "87.50", "%"] in [line[:5] for line in shown]
    assert ["elsewhere", "8.33", "%"] in [line[:3] for line in shown]
    scatter = pairs.INSPECT_OMEGAS.comparison.scatter
    assert sum(map(sum, scatter.counts)) == 5_000
    zeros = (
        f"exactly 0   {scatter.counts[0][0]} in both, {sum(row[0] for row in scatter.counts[1:])} in the first alone"
    )
    assert zeros in text(REPORTS[0], 80).plain


def test_figures_of_two_checkpoints() -> None:
    shown = lines(REPORTS[1])
    assert "conv1 2,000 50.00 % 1.00 % 0.25 25.00 % 0.60 % 50.00 %".split() in shown
    plain = text(REPORTS[1], None).plain
    assert "this fine-tuning moved 0.30 % of what matters (1.11 % if all parameters mattered alike)" in plain
    assert "97.00 % of the importance sits on values that changed at all" in plain
    assert "0 of 1 tensor changed" in plain
    assert "buffers that changed" not in plain


def undefined_facts(**changes: Any) -> dict[str, str]:
    """The figures of two omegas, of which some have no value."""
    found = pairs.INSPECT_OMEGAS.comparison
    overall = replace(found.overall, **changes)
    result = replace(pairs.INSPECT_OMEGAS, comparison=replace(found, overall=overall, elsewhere=None))
    facts = comparison_report(result).sections[2]
    assert isinstance(facts, Facts)
    return dict(facts.rows)


def test_what_has_no_value_says_so_and_why() -> None:
    tops = dict.fromkeys(("pearson", "spearman", "top_1", "top_5", "top_10", "relative_l1", "scale"), None)
    nothing = undefined_facts(compared=0, **tops)
    del nothing["exactly 0"]
    assert set(nothing.values()) == {"undefined (nothing is compared)"} and len(nothing) == 8
    zeros = undefined_facts(pearson=None, relative_l1=None, scale=None)
    assert zeros["Pearson"] == "undefined (one side has no two values that differ)"
    assert zeros["difference"] == zeros["scale"] == "undefined (the first file's total is 0)"
    assert zeros["elsewhere"] == "undefined (a file's total is 0)"
    assert zeros["top 1 %"].startswith("87.50 % are the same")


def test_names_of_columns_stay_whole_where_there_is_one_line_for_them() -> None:
    for report in REPORTS:
        document = to_markdown(report)
        heads = [line for line in document.splitlines() if line.startswith("| layer |")]
        assert heads and not any(re.search(r"[a-z]- [a-z]", head) for head in heads)
    assert "| Pearson | Spearman |" in to_markdown(REPORTS[0])


@pytest.mark.parametrize(
    ("moved", "descends", "words"),
    [
        (0.003, False, "the change moved 0.30 % of what matters"),
        (None, True, "undefined (where there is importance, the first file's values are 0)"),
    ],
)
def test_a_change_that_is_no_fine_tuning_or_has_nothing_to_move(
    moved: float | None, descends: bool, words: str
) -> None:
    overall = replace(pairs.INSPECT_CHECKPOINTS.overall, weighed=Weighed(1.0, 0.5, moved, 1.0))
    found: CheckpointPairResult = replace(pairs.INSPECT_CHECKPOINTS, overall=overall, descends=descends)
    assert words in text(change_report(found), None).plain
