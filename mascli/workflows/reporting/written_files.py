"""The files that the steps of a run have written, known by the hashes of their content."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mascli.errors import CheckpointError, printable
from mascli.files.tensor_file import file_sha256
from mascli.workflows.reporting.finished import Finished, StepRecord


@dataclass(frozen=True)
class WrittenFile:
    """A file that a step has written: its place within the folder, and the hash that the record holds."""

    place: str
    sha256: str
    step: str


class WrittenFiles:
    """All files of a folder, in the order of their steps."""

    def __init__(self, finished: Finished) -> None:
        self._folder = finished.folder
        self._files = tuple(_all(finished.records))
        self._by_hash: dict[str, list[WrittenFile]] = {}
        for file in self._files:
            self._by_hash.setdefault(file.sha256, []).append(file)

    def __iter__(self) -> Iterator[WrittenFile]:
        return iter(self._files)

    def of(self, sha256: str | None, near: str) -> WrittenFile | None:
        """The file of this content; of several the one that lies nearest to the step `near`."""
        found = self._by_hash.get(sha256 or "", [])
        own = PurePosixPath(near).parents
        return max(found, key=lambda file: len({*PurePosixPath(file.step).parents} & {*own}), default=None)

    def path(self, file: WrittenFile) -> Path:
        """Where the file lies."""
        return self._folder / file.place

    def is_there(self, file: WrittenFile) -> bool:
        """Whether the file still lies where it was written."""
        return self.path(file).is_file()

    def checked(self, file: WrittenFile) -> Path:
        """Where the file lies, once its content is known to be what was written.

        Raises:
            CheckpointError: it is another now.
        """
        path = self.path(file)
        if file_sha256(path) != file.sha256:
            raise CheckpointError(
                f"{printable(path)} is not what step {printable(file.step)} wrote: it was changed or damaged; the "
                "same mascli run makes it again, mascli demo does with --overwrite"
            )
        return path


def _all(records: dict[str, StepRecord]) -> Iterator[WrittenFile]:
    for step, record in records.items():
        for name, sha256 in record.outputs.items():
            if sha256 is not None:
                yield WrittenFile((PurePosixPath(step).parent / PurePosixPath(name).name).as_posix(), sha256, step)
