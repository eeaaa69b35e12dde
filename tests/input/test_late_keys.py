"""`batch.input.late_keys`: keys that no column has."""

import gzip
import json
from pathlib import Path

import pytest

from batch.core.errors import InputError
from batch.input import late_keys
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
    monkeypatch.setattr(late_keys, "SEARCHED_BYTES", 300)
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
