"""Which layers matter: importance by layer, from the omega with which each method learned the last task."""

from __future__ import annotations

from mascli.files.records_json import omega_record
from mascli.files.tensor_file import read_header
from mascli.importance.statistics import LayerSummary, layer_summaries
from mascli.pages.content import Block, Cell, Column, DataTable, Folded, Prose, Section
from mascli.records import OmegaRecord
from mascli.reports.numbers import correlation, count, number, plural, share
from mascli.reports.run import MethodRun
from mascli.workflows.reporting.finished import Finished, StepRecord
from mascli.workflows.reporting.methods import chosen
from mascli.workflows.reporting.written_files import WrittenFile, WrittenFiles

FEW = 24  # layers that are shown at once; of more, the most important ones, and all of them folded away

_COLUMNS = (
    Column("layer", "code"),
    Column("parameters", "number"),
    Column("share of all importance", "bar"),
    Column("mean", "number"),
    Column("median", "number"),
    Column("99 % are below", "number"),
    Column("maximum", "number"),
    Column("exact zeros", "number"),
    Column("not finite", "number"),
)


def importance_section(finished: Finished, files: WrittenFiles) -> Section | None:
    """A table of layers for each method that uses importance; None where none does.

    Raises:
        CheckpointError: an omega is damaged, or not what was written.
    """
    seed = finished.result.seeds[0]
    blocks: list[Block] = []
    for _, method in chosen(finished.result):
        step = f"{finished.variant(method, seed).steps[-1]}.train-task"
        record = finished.records.get(step)
        used = omegas_of(record) if record is not None else []
        omega = files.of(used[-1], step) if used else None
        if omega is not None:
            blocks += _of_omega(method, omega, len(used), files)
    if not blocks:
        return None
    told = (
        "How much the model's answers depend on the parameters of each layer: what the penalty holds. "
        "The omega is the one with which the last task was learned"
        + (f", under seed {seed}." if len(finished.result.seeds) > 1 else ".")
    )
    return Section("importance", "Importance by layer", (Prose((told,)), *blocks))


def omegas_of(record: StepRecord) -> list[str]:
    """The hashes of the omegas that a training used, in their order."""
    places = sorted(
        (int(key[6:]), sha) for key, sha in record.read.items() if key[:6] == "omega." and key[6:].isdigit() and sha
    )
    return [sha for _, sha in places]


def _of_omega(method: MethodRun, omega: WrittenFile, used: int, files: WrittenFiles) -> list[Block]:
    if not files.is_there(omega):
        return [Prose((f"{method.label}: {omega.place} is not in the folder any more.",))]
    header = read_header(files.checked(omega))
    layers = layer_summaries(header)
    caption = f"{method.label}: {omega.place}"
    blocks: list[Block] = [Prose((_told(method, omega_record(header), layers, used),))]
    if len(layers) <= FEW:
        return [*blocks, _table(caption, layers)]
    most = sorted(layers, key=lambda layer: -layer.share)[:FEW]
    rest = Folded(f"All {count(len(layers))} layers", (_table(caption, layers),))
    return [*blocks, _table(f"{caption}, the {FEW} layers with the largest share", tuple(most)), rest]


def _told(method: MethodRun, record: OmegaRecord, layers: tuple[LayerSummary, ...], used: int) -> str:
    images = sum(part.images for part in record.contributions)
    told = f"{method.label}: measured by {record.method} on {plural(images, 'image')}"
    told += f" in {plural(len(record.contributions), 'estimate')}." if len(record.contributions) > 1 else "."
    if used > 1:
        told += f" It is the newest of {used} omegas that the last training used together."
    total = sum(layer.parameters for layer in layers)
    if len(layers) > 1 and total:
        most = max(layers, key=lambda layer: layer.share)
        size = share(most.parameters / total)
        told += f" The largest share, {share(most.share)}, lies in {most.name}, which has {size} of the parameters."
    told += _told_reliability(record)
    if any(layer.not_finite for layer in layers):
        told += " Some values are not finite: the estimate went wrong."
    return told


def _told_reliability(record: OmegaRecord) -> str:
    if record.reliability is not None:
        return f" Its reliability is {correlation(record.reliability.overall)} (noise alone; 1 is none)."
    known = [part.overall for part in record.reliabilities if part is not None]
    if not known:
        return ""
    return f" The lowest reliability of its estimates is {correlation(min(known))} (noise alone; 1 is none)."


def _table(caption: str, layers: tuple[LayerSummary, ...]) -> DataTable:
    rows = tuple(
        (
            Cell(layer.name),
            Cell(count(layer.parameters), float(layer.parameters)),
            Cell(share(layer.share), layer.share),
            *(Cell(number(value), value) for value in (layer.mean, layer.median, layer.p99, layer.maximum)),
            Cell(share(layer.zeros), layer.zeros),
            Cell(count(layer.not_finite), float(layer.not_finite)),
        )
        for layer in layers
    )
    return DataTable(caption, _COLUMNS, rows)
