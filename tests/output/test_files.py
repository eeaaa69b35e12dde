"""`batch.output.files`: JSON files are replaced whole, and what a killed run left behind goes."""

import json
from pathlib import Path

import pytest

from batch.core.errors import StorageError
from batch.output.files import remove_hidden, set_aside, sync_folder, write_json, write_status


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


def test_what_is_half_written_goes_and_what_bears_its_name_stays(tmp_path: Path) -> None:
    """Hidden files of a killed run go at the next start; whatever was whole once stays, named by the ledger or not."""
    stay = [
        ".lock",
        "calls/run=a/part-00000.parquet",
        "calls/run=b/part-00000.parquet",
        "ledger.db",
        "pending/range-00001.arrow",
        "results/.ipynb_checkpoints/x",
        "results/notes.txt",
        "results/part-00000.parquet",
        "runs/a.json",
    ]
    go = [
        "calls/.DS_Store",
        "calls/run=a/.part-00002.parquet.tmp",
        "calls/run=c/.part-00000.parquet.tmp",
        "pending/.range-00002.arrow.tmp",
        "results/.part-00001.parquet.tmp",
        "runs/.a.json.tmp",
    ]
    for name in stay + go:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")

    assert remove_hidden(tmp_path) == go

    left = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file())
    assert left == stay
    assert not (tmp_path / "calls/run=c").exists()
    assert remove_hidden(tmp_path) == []


def test_a_file_that_is_set_aside_takes_no_other_ones_name(tmp_path: Path) -> None:
    """A call file is never deleted, also when another one of its name was set aside before."""
    path = tmp_path / "calls" / "run=a" / "part-00000.parquet"
    names = []
    for text in ("first", "second"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        names += set_aside([path], tmp_path)
        assert not path.parent.exists()
    assert names == [".strays/calls/run=a/part-00000.parquet", ".strays/calls/run=a/part-00000-2.parquet"]
    assert [(tmp_path / name).read_text() for name in names] == ["first", "second"]


def test_a_new_output_folder_has_nothing_hidden(tmp_path: Path) -> None:
    """The first start finds no folders at all."""
    assert remove_hidden(tmp_path / "out") == []


def test_a_folder_that_is_gone_cannot_be_synced(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="gone: cannot be written"):
        sync_folder(tmp_path / "gone")
