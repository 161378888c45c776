"""What is left to do of a sequence: which steps are done, known by the content of all that they read and wrote.

Each step has a record, FOLDER/steps/NAME.json: its settings, the hashes of what it read and wrote,
what it found, and how long it took. A step is done if all of that is still so. No torch.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mascli import __version__
from mascli.config import UNIFORM, Common, EstimateConfig, TrainTaskConfig
from mascli.config.command_line import COMMANDS
from mascli.config.training_checks import rehearsal_folders
from mascli.data.folders import list_images
from mascli.errors import DataError, UsageError, listed, printable
from mascli.files.atomic import write_text
from mascli.files.partial_file import partial_path
from mascli.files.tensor_file import file_sha256
from mascli.reports.numbers import plural
from mascli.reports.report import plain
from mascli.workflows.chosen_folders import data_arguments
from mascli.workflows.sequences.sequence_steps import Step

FILES_READ = ("checkpoint", "weights", "classes", "omega", "anchor", "previous", "omegas")
FOLDERS_READ = ("data", "val", "rehearse")
FILES_WRITTEN = ("out", "collect")
# where the work is done and how it is shown, which decides no result
_WITHOUT_EFFECT = {"device", "workers", "cache", "overwrite", "resume", "format", "report", "quiet", "verbose"}
_WITHOUT_EFFECT |= {"trust_model_code", "ascii_", "plot"}


@dataclass(frozen=True)
class Record:
    """What is known of a step that was begun; `found`, what the report needs, is None until it is done.

    `read` holds hashes of files and folders, by field and place (`omega.0`), `outputs` those of the
    files written, by name, and `earlier` those of all that was written before and is written again
    with the same settings. `seconds` is the only number that differs from run to run.
    """

    settings: dict[str, Any]
    read: dict[str, str | None]
    outputs: dict[str, str | None]
    found: dict[str, Any] | None = None
    seconds: float = 0.0
    version: str = __version__
    earlier: Sequence[str] = ()


class Content:
    """Hashes of files and image folders, each read once until it is said to have changed."""

    def __init__(self) -> None:
        self._known: dict[Path, str | None] = {}

    def of(self, path: Path) -> str | None:
        """The sha256 of a file, or the fingerprint of all images below a folder; None where there is nothing."""
        if path not in self._known:
            self._known[path] = _folder_sha256(path) if path.is_dir() else _file_sha256(path)
        return self._known[path]

    def forget(self, path: Path) -> None:
        """Read `path` again when it is asked for."""
        self._known.pop(path, None)


class Steps:
    """The records of a folder: which steps are done, and what was found."""

    def __init__(self, folder: Path, content: Content) -> None:
        self._folder, self._content = folder, content

    def record(self, step: Step) -> Record | None:
        """What is recorded of a step, or None; a record that cannot be read is none."""
        try:
            return Record(**json.loads(self._path(step).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def done(self, step: Step) -> Record | None:
        """The record of a step that need not be done again, else None."""
        record = self.record(step)
        if record is None or record.found is None or None in record.read.values():
            return None
        now = self.now(step)
        whole = all(
            content is not None and record.outputs.get(name) == content for name, content in now.outputs.items()
        )
        same = now.settings == record.settings and now.read == record.read
        return record if same and whole else None

    def now(self, step: Step) -> Record:
        """The settings of a step, and the content of what it reads and writes, as they are now."""
        read = {name: self._content.of(path) for name, path in read_by(step)}
        return Record(settings_of(step), read, {path.name: self._content.of(path) for path in outputs_of(step)})

    def made(self, planned: Iterable[Step]) -> dict[Path, frozenset[str]]:
        """The hashes of all that the steps are known to have written, by file; none where it is yet to be made."""
        found: dict[Path, frozenset[str]] = {}
        for step in planned:
            written = _written(self.record(step))
            found |= dict.fromkeys(outputs_of(step), frozenset(written))
        return found

    def changes(self, step: Step, made: Mapping[Path, frozenset[str]] = MappingProxyType({})) -> list[str]:
        """Which settings and inputs of a finished step are others now; nothing for one that was not finished.

        Files that other steps have `made` count as they were recorded: one that was damaged since is made again.

        Returns:
            What it is, as in "another epochs" and "other images in FOLDER".
        """
        record = self.record(step)
        if record is None or record.found is None:
            return []
        now = self.now(step)
        settings = {
            key
            for key in now.settings.keys() | record.settings.keys()
            if now.settings.get(key) != record.settings.get(key)
        }
        texts = {f"another {key.rstrip('_').replace('_', '-')}" for key in settings}
        for key, path in read_by(step):
            if key.partition(".")[0] in settings:  # in another order, so that each place has other content
                continue
            known = made[path] if path in made else {now.read[key]} - {None}
            if known and record.read.get(key) not in {*known, None}:
                images = path.is_dir()
                texts.add(f"other images in {printable(path)}" if images else f"another {key.replace('_', '-')}")
        return sorted(texts)

    def begin(self, step: Step) -> Record:
        """Record that a step begins, and remove what one with other settings left unfinished.

        Returns:
            The record to finish.
        """
        now, before = self.now(step), self.record(step)
        now = dataclasses.replace(now, outputs=dict.fromkeys(now.outputs))
        if before is not None and before.settings == now.settings:
            now = dataclasses.replace(now, earlier=_written(before))
        resumable = before is not None and (before.settings, before.read) == (now.settings, now.read)
        for path in outputs_of(step):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)  # written before its record was: to be written again
            self._content.forget(path)
            if not resumable:
                partial_path(path).unlink(missing_ok=True)
        self._write(step, now)
        return now

    def finish(self, step: Step, begun: Record, found: Mapping[str, Any], seconds: float) -> Record:
        """Record that a step is done."""
        for path in outputs_of(step):
            self._content.forget(path)
        outputs = {path.name: self._content.of(path) for path in outputs_of(step)}
        record = dataclasses.replace(begun, outputs=outputs, found=dict(found), seconds=round(seconds, 3))
        self._write(step, record)
        return record

    def _write(self, step: Step, record: Record) -> None:
        path = self._path(step)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(vars(record), indent=1, sort_keys=True) + "\n", overwrite=True)

    def _path(self, step: Step) -> Path:
        return self._folder / f"{step.name}.json"


def forget_all(folder: Path) -> None:
    """Remove every file that the steps of an earlier run have written or begun, and their records; nothing else."""
    for path, made in _records_below(folder):
        for out in made:
            out.unlink(missing_ok=True)
            partial_path(out).unlink(missing_ok=True)
        path.unlink()


def made_files(folder: Path) -> frozenset[Path]:
    """Every file that the steps of an earlier run have written or begun, links resolved."""
    return frozenset(out.resolve() for _, made in _records_below(folder) for out in made)


def _records_below(folder: Path) -> Iterator[tuple[Path, list[Path]]]:
    """The record of each step, with the files that it names; none where it cannot be read."""
    for path in sorted((folder / "steps").rglob("*.json")):
        place = folder / path.parent.relative_to(folder / "steps")
        try:
            names = list(json.loads(path.read_text(encoding="utf-8"))["outputs"])
        except (OSError, ValueError, KeyError, TypeError):
            names = []
        yield path, [place / Path(name).name for name in names]


def check_unchanged(steps: Steps, planned: tuple[Step, ...]) -> None:
    """Check that what is done was done with these settings and images.

    Raises:
        UsageError: naming the steps that were done otherwise, and what differs.
    """
    made = steps.made(planned)
    changed = {step.name: changes for step in planned if (changes := steps.changes(step, made))}
    if changed:
        name, what = next(iter(changed.items()))
        others = f", and so with {plural(len(changed) - 1, 'more step')}" if len(changed) > 1 else ""
        raise UsageError(
            f"step {name} was done with {listed(what)}{others}; choose another folder for what has changed, or "
            "give --overwrite to remove everything and start anew"
        )


def settings_of(step: Step) -> dict[str, Any]:
    """The settings that decide what a step finds: those that are not the default, without paths."""
    settings: dict[str, Any] = {"command": COMMANDS[type(step.config)]}
    for item in dataclasses.fields(step.config):
        value = getattr(step.config, item.name)
        if item.name in _WITHOUT_EFFECT or value == item.default or _is_path(value):
            continue
        if item.name in FOLDERS_READ:
            value = [text.partition("=")[0] for text in value]
        settings[item.name] = plain(value)
    if UNIFORM in getattr(step.config, "omega", ()):
        settings["omega"] = str(UNIFORM)
    return settings


def read_by(step: Step) -> Iterator[tuple[str, Path]]:
    """The files and folders that a step reads, each under its field and place."""
    for name in (*FILES_READ, *FOLDERS_READ):
        value = getattr(step.config, name, None)
        paths = value if isinstance(value, tuple) else () if value is None else (value,)
        if name == "rehearse":
            paths = tuple(rehearsal_folders(paths).values())
        elif name == "data" and isinstance(value, tuple):
            paths = tuple(path for _, path in data_arguments(paths))
        for place, path in enumerate(paths):
            if _is_path(path) and path != UNIFORM:
                yield (f"{name}.{place}" if isinstance(value, tuple) else name), path


def outputs_of(step: Step) -> tuple[Path, ...]:
    """The files that a step writes."""
    paths = (getattr(step.config, name, None) for name in FILES_WRITTEN)
    return tuple(path for path in paths if path is not None)


def with_resume(config: Common) -> Common:
    """The command as it goes on where it was stopped, if it left something unfinished."""
    if not isinstance(config, TrainTaskConfig | EstimateConfig) or config.out is None:
        return config
    return dataclasses.replace(config, resume=partial_path(config.out).exists())


def _written(record: Record | None) -> list[str]:
    """The hashes of all files that a step has written so far, the newest last."""
    if record is None:
        return []
    return list(dict.fromkeys([*record.earlier, *(content for content in record.outputs.values() if content)]))


def _is_path(value: Any) -> bool:
    """Whether a setting is a path, or several."""
    return isinstance(value, Path) or (isinstance(value, tuple) and bool(value) and isinstance(value[0], Path))


def _file_sha256(path: Path) -> str | None:
    return file_sha256(path) if path.is_file() else None


def _folder_sha256(folder: Path) -> str | None:
    """A hash over the names and the content of all images below a folder, unreadable ones too."""
    try:
        files = list_images(folder).files
    except DataError:
        return None
    total = hashlib.sha256()
    above = len(os.fsencode(folder / "x")) - 1
    for file in files:
        try:
            content = hashlib.sha256(file.read_bytes()).digest()
        except OSError as error:
            content = f"unreadable: {error.strerror}".encode()
        total.update(os.fsencode(file)[above:] + b"\0" + content)
    return total.hexdigest()
