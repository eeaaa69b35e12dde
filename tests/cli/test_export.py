"""`export`: what it says and how it ends; `tests/report/test_export.py` has what it writes."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pytest

from batch.core.durable import AtomicFile
from tests.cli.conftest import Cli, Shell
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


@pytest.mark.parametrize("ending", ["csv", "jsonl", "xlsx"])
def test_a_table_without_rows_is_a_file_with_its_columns(ending: str, shell: Shell) -> None:
    """It said "Export once a part is published", and none ever is."""
    job = shell.write([]) / "job.toml"
    job.write_text(job.read_text("utf-8").replace("rows.jsonl", "rows.csv"), "utf-8")
    (shell.folder / "rows.csv").write_text("id,text\n", "utf-8")
    assert shell("run", ".", "--progress", "none").code == 0
    said = shell("export", "out", f"a.{ending}")
    assert (said.code, said.err) == (0, "")
    assert re.fullmatch(rf".*a\.{ending}: 0 rows, \d+ columns\n", said.out)
    if ending == "csv":
        names = (shell.folder / "a.csv").read_text("utf-8-sig").strip().replace('"', "").split(",")
        assert {"text", "row_id", "answer", "cost"} < set(names)
    assert shell("export", "out", f"b.{ending}", "--columns", "row_id,answer").out.endswith("0 rows, 2 columns\n")
    said = shell("export", "out", f"b.{ending}", "--columns", "answr")
    assert said.code == 2
    assert "Did you mean answer?" in said.err
