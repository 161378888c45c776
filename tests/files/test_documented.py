"""The code in `docs/files.md` runs as it stands, and its table lists every key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import stored

from mascli.files.records_json import checkpoint_metadata, omega_metadata

DOCUMENT = (Path(__file__).parents[2] / "docs" / "files.md").read_text(encoding="utf-8")


def test_the_code_reads_an_omega(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    stored.write(tmp_path / "both.omega", {"fc.weight": [[1.0, 3.0]]})
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    assert capsys.readouterr().out == "['base'] 2 2.0\nfc.weight (1, 2) 3.0\n"


def test_every_key_is_listed() -> None:
    table = DOCUMENT[DOCUMENT.index("| key |") : DOCUMENT.index("Metadata under other keys")]
    listed = {
        name.removeprefix("mascli").removeprefix(".") for name in re.findall(r"`((?:mascli)?\.[a-z_0-9]+)`", table)
    }
    written = {**checkpoint_metadata(stored.checkpoint(), {}), **omega_metadata(stored.omega(), {})}
    assert listed == {key.removeprefix("mascli.") for key in written}
