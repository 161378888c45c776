"""`mascli merge`: one omega from several, parts of one estimate (pool) or successive tasks (sum)."""

from __future__ import annotations

from mascli.config import MergeConfig
from mascli.errors import printable
from mascli.files.omega_file import write_omega
from mascli.files.records_json import foreign_metadata, omega_record
from mascli.files.tensor_file import Header, array_source, read_header
from mascli.importance.combine import Part, combined, pool, pool_weights, sum_of, with_statistics
from mascli.importance.statistics import statistics
from mascli.observer import Observer
from mascli.records import OmegaRecord
from mascli.reports.merge import MergeResult


def merge(config: MergeConfig, observer: Observer) -> MergeResult:
    """Combine omegas into one file: check that they belong together, then tensor by tensor.

    Raises:
        CheckpointError: a file that is no omega, or omegas that cannot be combined.
        NumericsError: a sum that float32 cannot hold.
        UsageError: the output cannot be written.
    """
    assert config.out is not None  # preflight
    headers = [read_header(path) for path in config.omegas]
    parts = [_part(header) for header in headers]
    record, weights, notes = _plan(config.combine, parts)
    for note in notes:
        observer.note(note)
    values = {}
    with observer.progress("merge", len(headers[0].tensors), "tensors") as advance:
        for name, array in combined(headers, weights):
            values[name] = array
            advance(1)
    totals = statistics(values.values())
    if config.combine == "pool":
        record = with_statistics(record, totals)
    foreign = {key: value for header in reversed(headers) for key, value in foreign_metadata(header).items()}
    sources = {name: array_source(array) for name, array in values.items()}
    write_omega(config.out, record, sources, foreign=foreign, overwrite=config.overwrite)
    norms = {part.mean_squared_norm for part in record.contributions}
    return MergeResult(
        out=str(config.out),
        combine=config.combine,
        files=tuple(map(str, config.omegas)),
        images=sum(part.images for part in record.contributions),
        contributions=len(record.contributions),
        statistics=totals,
        mean_squared_norm=norms.pop() if len(norms) == 1 else None,
        notes=notes,
    )


def _part(header: Header) -> Part:
    shapes = {name: info.shape for name, info in header.tensors.items()}
    return Part(printable(header.path), omega_record(header), shapes)


def _plan(combine: str, parts: list[Part]) -> tuple[OmegaRecord, list[float], tuple[str, ...]]:
    """The record of the result, the weight of each part's values, and what the user should know."""
    if combine == "pool":
        return pool(parts), pool_weights(parts), ()
    record, notes = sum_of(parts)
    return record, [1.0] * len(parts), notes
