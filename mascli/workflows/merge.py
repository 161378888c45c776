"""`mascli merge`: one omega from several, parts of one estimate (pool) or successive tasks (the other rules)."""

from __future__ import annotations

from mascli.config import MergeConfig
from mascli.errors import printable
from mascli.files.omega_file import write_omega
from mascli.files.records_json import foreign_metadata, omega_record
from mascli.files.tensor_file import Header, read_header
from mascli.importance.combine import Part, combination, with_statistics
from mascli.importance.combine_values import CombinedValues, file_operand
from mascli.observer import Observer
from mascli.reports.merge import MergeResult

SWEEPS = 3  # over all tensors: two for the statistics, one to write


def merge(config: MergeConfig, observer: Observer) -> MergeResult:
    """Combine omegas into one file: check that they belong together, then tensor by tensor.

    Raises:
        CheckpointError: a file that is no omega, or omegas that cannot be combined.
        NumericsError: a value that float32 cannot hold, or a scale of zero to divide by.
        UsageError: the output cannot be written, or `--normalize` of what has no known scale.
    """
    assert config.out is not None  # preflight
    headers = [read_header(path) for path in config.omegas]
    parts = [_part(header) for header in headers]
    combined = combination(
        parts, config.combine, weights=config.weights, decay=config.decay, normalize=config.normalize
    )
    for note in combined.notes:
        observer.note(note)
    record = combined.record
    shapes = {name: shape for part in reversed(parts) for name, shape in part.shapes.items()}
    foreign = {key: value for header in reversed(headers) for key, value in foreign_metadata(header).items()}
    with observer.progress("merge", SWEEPS * len(shapes), "tensors") as advance:
        values = CombinedValues(combined, [file_operand(header, shapes) for header in headers], shapes, advance)
        statistics = values.statistics()
        if config.combine == "pool":
            record = with_statistics(record, statistics)
        write_omega(config.out, record, values.sources(), foreign=foreign, overwrite=config.overwrite)
    norms = {part.mean_squared_norm for part in record.contributions}
    return MergeResult(
        out=str(config.out),
        combine=config.combine,
        files=tuple(map(str, config.omegas)),
        factors=combined.factors,
        decay=config.decay if config.combine == "ema" else None,
        normalized=all(part.normalized for part in record.contributions),
        images=sum(part.images for part in record.contributions),
        contributions=len(record.contributions),
        statistics=statistics,
        mean_squared_norm=norms.pop() if len(norms) == 1 else None,
        notes=combined.notes,
    )


def _part(header: Header) -> Part:
    shapes = {name: info.shape for name, info in header.tensors.items()}
    return Part(printable(header.path), omega_record(header), shapes)
