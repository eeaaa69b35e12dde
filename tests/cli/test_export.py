"""`export`: what it says and how it ends; `tests/report/test_export.py` has what it writes."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from batch.core.durable import AtomicFile
from tests.cli.conftest import Cli
from tests.support.outfolders import finished


def test_export_says_what_it_wrote_and_what_it_changed(tmp_path: Path, cli: Cli) -> None:
    """FIELD 37: cells that were cut, and cells that got an apostrophe."""
    out = finished(tmp_path / "out", pa.table({"text": ["=1+1", "x" * 40_000]})).root
    said = cli("export", out, tmp_path / "a.csv", "--columns", "row_id,text")
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines() == [
        f"{tmp_path / 'a.csv'}: 2 rows, 2 columns",
        "1 cell would be taken for a formula and has an apostrophe before the text; .jsonl has none.",
    ]
    said = cli("export", out, tmp_path / "a.xlsx", "--columns", "text", "--columns", "row_id")
    assert said.out.splitlines()[1].startswith("1 cell had more than 32,767 characters")
    assert cli("export", out, tmp_path / "a.jsonl", "--failed").out == f"{tmp_path / 'a.jsonl'}: 0 rows, 37 columns\n"


def test_export_ends_as_other_commands_do(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """FIELD 37: 2 when the command is wrong, 5 when the disk refuses."""
    out = finished(tmp_path / "out", pa.table({"text": ["a"]})).root
    for words, reason in (
        ((out, "a.doc"), "the ending of the file says its format"),
        ((out, tmp_path / "a.csv", "--columns", "txt"), "Did you mean text?"),
        ((tmp_path, tmp_path / "a.csv"), "is no output folder"),
        ((out,), "export needs FILE"),
    ):
        said = cli("export", *words)
        assert (said.code, said.out) == (2, "")
        assert reason in said.err

    def full(_: AtomicFile) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(AtomicFile, "commit", full)
    said = cli("export", out, tmp_path / "a.csv")
    assert (said.code, "No space left on device. Make room" in said.err) == (5, True)
    assert not [path for path in tmp_path.iterdir() if path.name != "out"]
