"""`batch.output.files`: JSON files are replaced whole, and what a killed run left behind goes."""

import json
from pathlib import Path

import pytest

from batch.core.errors import StorageError
from batch.output.files import remove_strays, sync_folder, write_json, write_status


@pytest.mark.parametrize("write", [write_json, write_status])
def test_json_files_are_replaced_whole_and_hold_valid_text(tmp_path: Path, write: object) -> None:
    """Readers poll `status.json` while it is rewritten; a server's broken text must not stop that."""
    assert callable(write)
    path = tmp_path / "status.json"
    write(path, {"rows": 1})
    write(path, {"rows": 2, "waits_for": ["half \ud800", "é"], "k\udc00": None})
    assert json.loads(path.read_bytes()) == {"rows": 2, "waits_for": ["half \ufffd", "é"], "k\ufffd": None}
    with pytest.raises(TypeError):
        write(path, {"rows": object()})
    assert json.loads(path.read_bytes())["rows"] == 2
    assert [entry.name for entry in tmp_path.iterdir()] == ["status.json"]


def test_strays_are_removed_and_what_the_ledger_names_stays(tmp_path: Path) -> None:
    """Half-done files of a killed run go at the next start; the book of account and the user's own files stay."""
    stay = [
        ".lock",
        ".pending/range-00001.arrow",
        "calls/run=a/part-00000.parquet",
        "calls/run=a/part-00001.parquet",
        "ledger.db",
        "results/.ipynb_checkpoints/x",
        "results/notes.txt",
        "results/part-00000.parquet",
        "runs/a.json",
    ]
    go = [
        ".pending/.range-00002.arrow.tmp",
        "calls/.DS_Store",
        "calls/run=a/.part-00002.parquet.tmp",
        "calls/run=a/part-00002.parquet",
        "calls/run=b/part-00000.parquet",
        "results/.part-00001.parquet.tmp",
        "runs/.a.json.tmp",
    ]
    for name in stay + go:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    # The ledger may name files from `calls/` or from the output folder: neither spelling may cost the book.
    known = {"run=a/part-00000.parquet", "calls/run=a/part-00001.parquet"}

    assert remove_strays(tmp_path / "results", tmp_path / "calls", known_calls=known) == go

    left = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file())
    assert left == stay
    assert not (tmp_path / "calls/run=b").exists()
    assert remove_strays(tmp_path / "results", tmp_path / "calls", known_calls=known) == []


def test_a_new_output_folder_has_no_strays(tmp_path: Path) -> None:
    """The first start finds no folders at all."""
    assert remove_strays(tmp_path / "out" / "results", tmp_path / "out" / "calls", known_calls=set()) == []


def test_a_folder_that_is_gone_cannot_be_synced(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="gone: cannot be written"):
        sync_folder(tmp_path / "gone")
