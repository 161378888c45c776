"""`mascli report`: one page of HTML from the folder that a run or the demo has left. No torch."""

from __future__ import annotations

from mascli import __version__
from mascli.config import ReportConfig
from mascli.errors import UsageError, listed, printable
from mascli.files.atomic import output_problem, write_text
from mascli.observer import Observer
from mascli.pages.content import Page, Section
from mascli.pages.document import document
from mascli.reports.numbers import plural
from mascli.reports.page import PageResult
from mascli.workflows.reporting.finished import Finished, read_finished
from mascli.workflows.reporting.importance import importance_section
from mascli.workflows.reporting.learning import learning_section
from mascli.workflows.reporting.methods import (
    comparison_section,
    matrices_section,
    methods_section,
    sequence_section,
)
from mascli.workflows.reporting.provenance import lineage_section, settings_section, versions_section
from mascli.workflows.reporting.story import how_many, lead
from mascli.workflows.reporting.written_files import WrittenFiles


def report(config: ReportConfig, observer: Observer) -> PageResult:
    """Write the page of a finished run or demo. The same folder gives the same bytes.

    Raises:
        UsageError: the folder is not of a run or a demo, or the page cannot be written.
        DataError: the run is not finished, or one of its JSON files is damaged.
        CheckpointError: a checkpoint or an omega is damaged.
    """
    check_report(config)
    finished = read_finished(config.folder)
    files = WrittenFiles(finished)
    gone = [file.place for file in files if not files.is_there(file)]
    if gone:
        observer.note(f"not in {printable(config.folder)} any more, and left out: {listed(gone, 3)}")
    write_text(config.html, document(page_of(finished, files)), overwrite=config.overwrite)
    return PageResult(
        html=str(config.html),
        folder=str(config.folder),
        kind=finished.kind,
        tasks=finished.result.tasks,
        methods=tuple(method.label for method in finished.result.methods),
        seeds=finished.result.seeds,
        steps=len(finished.records),
    )


def page_of(finished: Finished, files: WrittenFiles) -> Page:
    """Everything that the page says."""
    result = finished.result
    sections: tuple[Section | None, ...] = (
        methods_section(result),
        comparison_section(result),
        matrices_section(result),
        sequence_section(result),
        learning_section(finished),
        importance_section(finished, files),
        settings_section(finished, files),
        lineage_section(finished, files),
        versions_section(finished),
    )
    return Page(
        title=f"mascli report: {plural(len(result.tasks), 'task')}, {how_many(result)}",
        heading="What was kept, what was forgotten",
        lead=lead(result),
        sections=tuple(section for section in sections if section is not None),
        foot=f"Made by mascli report {__version__}. This page is one file: it loads nothing and sends nothing.",
    )


def check_report(config: ReportConfig) -> None:
    """Check what can be checked before anything is read.

    Raises:
        UsageError: naming every problem, one a line.
    """
    problems = []
    if not config.folder.is_dir():
        what = "is a file; name the folder" if config.folder.exists() else "is not there; name the folder"
        problems.append(f"FOLDER: {printable(config.folder)} {what} that mascli run or mascli demo has made")
    for flag, path in (("--html", config.html), *(("--report", path) for path in config.report)):
        problem = output_problem(path, config.overwrite)
        problems += [f"{flag}: {problem}"] if problem else []
    outputs = [path.resolve() for path in (config.html, *config.report)]
    if len(set(outputs)) < len(outputs):
        problems.append("--html and --report: the same file is named twice")
    folder = config.folder.resolve()
    own = {folder / name for name in ("result.json", "result.csv", "steps")}
    problems += [
        f"--report: {printable(path)} is of the run itself; choose another name"
        for path in config.report
        if own & {path.resolve(), *path.resolve().parents}
    ]
    if problems:
        raise UsageError("\n".join(problems))
