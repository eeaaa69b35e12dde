"""`batch.input.sampling`: keys that no column has, and inputs that show none."""

import gzip
import json
from pathlib import Path

import pytest

from batch.core.errors import InputError
from batch.input import sampling
from tests.support.rows import jsonl, records, source

OLD = b'{"id": 1, "body": "a"}\n'
KEPT = {"id": "int64", "body": "large_string"}


@pytest.mark.parametrize("key", ["subject", "Betreff ü", 'a "quoted" \\ one', "😀"])
@pytest.mark.parametrize("escaped", [True, False])
def test_a_key_of_any_row_can_be_read_although_it_is_no_column(tmp_path: Path, key: str, *, escaped: bool) -> None:
    """FIELD 31. However the line writes it; rows that lack it have null."""
    text = OLD.decode() + json.dumps({"id": 2, key: "late"}, ensure_ascii=escaped) + "\n"
    opened = source(jsonl(tmp_path, text + '{"id": 3, "body": "no \\"such\\": key"}\n'), kept=KEPT)
    opened.look_for(["body", key, "such"])
    assert opened.names == ["id", "body", "input_rest", key]
    assert [record and record[key] for record in records(opened)] == [None, "late", None]
    assert opened.types == KEPT, "it is no column"


def test_keys_are_looked_for_from_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FIELD 31. What a source has since last night stands there; a week of old rows is not read for it."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "1.jsonl").write_bytes(b'{"id": 1, "oldest": 1}\n' + OLD * 50)
    (folder / "2.jsonl").write_bytes(b'{"id": 1, "older": 1}\n' + OLD * 50 + b'{"newest": 1}\n')
    (folder / "3.jsonl.gz").write_bytes(gzip.compress(OLD + b'{"packed": 1}\n'))
    opened = source(folder, kept=KEPT)
    opened.look_for(["packed", "newest", "older", "oldest", "none"])
    assert opened.keys == ("packed", "older", "newest", "oldest")
    monkeypatch.setattr(sampling, "SEARCHED_BYTES", 300)
    few = source(folder, kept=KEPT)
    few.look_for(["packed", "newest", "older", "oldest"])
    assert few.keys == ("packed", "newest")
    assert (opened.unsearched, few.unsearched) == (False, True)


def test_a_key_that_no_column_has_may_be_the_key_of_the_rows(tmp_path: Path) -> None:
    """FIELD 31. It is none of the kept columns."""
    path = jsonl(tmp_path, OLD + b'{"nr": 7}\n')
    assert source(path, kept=KEPT, key="nr").keys == ("nr",)
    with pytest.raises(InputError, match="no column is called 'ns'"):
        source(path, kept=KEPT, key="ns")


def test_a_key_beyond_the_first_lines_can_be_read_in_the_first_run(tmp_path: Path) -> None:
    """FIELD 31. Columns are fixed by 10,000 lines; what comes later is a key."""
    opened = source(jsonl(tmp_path, OLD * 10_000 + b'{"id": 2, "subject": "late"}\n'))
    opened.look_for(["subject"])
    assert opened.keys == ("subject",)


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
