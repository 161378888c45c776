"""The shared parameters that the penalty pulls to: those of `--anchor`, else those that training starts from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from mascli.config import TrainTaskConfig
from mascli.errors import CheckpointError, listed, printable
from mascli.files.records_json import checkpoint_record
from mascli.files.tensor_file import read_header
from mascli.files.tensors import read_tensors
from mascli.records import head_tensor
from mascli.training.anchors import weighted_anchor


def chosen_anchors(
    config: TrainTaskConfig, omegas: Sequence[Mapping[str, Tensor]], start: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The anchor of each shared parameter; of several, the mean weighted by the omega that belongs to each.

    Raises:
        CheckpointError: an anchor that is not a checkpoint with these shared parameters.
    """
    if not config.anchor:
        return dict(start)
    found = [_read(path, start) for path in config.anchor]
    return found[0] if len(found) == 1 else weighted_anchor(omegas, found, start)


def _read(path: Path, start: Mapping[str, Tensor]) -> dict[str, Tensor]:
    header = read_header(path)
    record = checkpoint_record(header)
    if record is None:
        raise CheckpointError(f"--anchor {printable(path)} is no checkpoint of mascli; make one with mascli init")
    stored = {name: name for name in record.shared}
    stored |= {head_tensor(task, name): its for task, table in record.heads.items() for name, its in table.items()}
    places = {name: header.tensors.get(stored.get(name, "")) for name in start}
    other = sorted(n for n, info in places.items() if info is None or info.shape != tuple(start[n].shape))
    if other:
        raise CheckpointError(
            f"--anchor {printable(path)} does not have the parameters of the checkpoint: {listed(other, 3)}; give one "
            "that it descends from"
        )
    values = read_tensors(header, (stored[name] for name in start))
    if not all(value.isfinite().all() for value in values.values()):
        raise CheckpointError(f"--anchor {printable(path)} holds numbers that are not finite")
    return {name: values[stored[name]].to(value) for name, value in start.items()}
