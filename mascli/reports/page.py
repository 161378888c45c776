"""The result of `mascli report`."""

from __future__ import annotations

from dataclasses import dataclass

from mascli.reports.numbers import count
from mascli.reports.report import Check, Facts, Report, plain


@dataclass(frozen=True)
class PageResult:
    """The page that was written, and what it tells of: `kind` is "run" or "demo", `steps` are those of the folder."""

    html: str
    folder: str
    kind: str
    tasks: tuple[str, ...]
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    steps: int


def page_report(result: PageResult) -> Report:
    """The report of `mascli report`."""
    facts = (
        ("page", f"{result.html} (open it in a browser; it needs nothing else)"),
        ("from", f"{result.folder}, {count(result.steps)} steps of a {result.kind}"),
        ("tasks", ", ".join(result.tasks)),
        ("methods", "; ".join(result.methods)),
        ("seeds", ", ".join(map(str, result.seeds))),
    )
    rows = tuple({"html": result.html, "method": method} for method in result.methods)
    return Report("report", plain(result), rows, (Facts(facts),), (Check("report: written", True),))
