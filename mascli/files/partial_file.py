"""What was done so far of something that is not finished, beside the file that it will become.

A safetensors file like the others, under that file's name with `.partial` behind: tensors, and one
JSON object in the metadata. It is replaced as a whole and removed at the end.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mascli.errors import CheckpointError, printable
from mascli.files.tensor_file import Header, Source, read_header, write_tensor_file

KEY = "mascli.partial"


def partial_path(out: Path) -> Path:
    """Where the unfinished work on the file `out` is kept."""
    return out.with_name(out.name + ".partial")


def write_partial(path: Path, tensors: Mapping[str, Source], state: Mapping[str, Any]) -> None:
    """Write or replace the unfinished work at `path`."""
    text = json.dumps(state, sort_keys=True, separators=(",", ":"))
    write_tensor_file(path, tensors, {KEY: text}, overwrite=True)


def read_partial(path: Path) -> tuple[Header, dict[str, Any]]:
    """The header and the JSON object of the unfinished work at `path`.

    Raises:
        CheckpointError: it is not a file of that kind.
    """
    header = read_header(path)
    try:
        state = json.loads(header.metadata.get(KEY, ""))
    except ValueError:
        state = None
    if not isinstance(state, dict):
        raise CheckpointError(f"{printable(path)} holds no unfinished work")
    return header, state
