"""`batch.input.sampling`: inputs whose first lines show no column."""

import gzip
from pathlib import Path

import pytest

from batch.core.errors import InputError
from batch.input import sampling
from tests.support.rows import jsonl, records, source

OLD = b'{"id": 1, "body": "a"}\n'
KEPT = {"id": "int64", "body": "large_string"}


def test_an_input_that_shows_nothing_is_told_once_something_is_wanted_of_it(tmp_path: Path) -> None:
    """FIELD 38. With a key, or a template that reads a column; else its lines fail one by one."""
    path = jsonl(tmp_path, b"")
    assert records(source(path)) == []
    with pytest.raises(InputError, match=r"rows\.jsonl: is empty: it has no columns\. Write rows into it"):
        source(path, key="id")
    path = jsonl(tmp_path, "id,q\n1,x\n")
    told = source(path).blank
    assert told is not None
    assert told.startswith("rows.jsonl line 1: ")
    assert "So it is with all of the first 2 lines, so no column is known. Correct it, then run" in told


def test_a_file_that_unpacks_without_end_does_not_hold_up_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FIELD 38. A bomb is given up after some hundred megabytes while columns are looked for."""
    monkeypatch.setattr(sampling, "PATIENCE", 3_000_000)
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "1.jsonl.gz").write_bytes(gzip.compress(bytes(9_000_000) + b'\n{"unseen": 1}\n'))
    (folder / "2.jsonl").write_bytes(OLD)
    assert source(folder, max_row_bytes=1000).types == KEPT
