"""`batch.input.content`: one hash for a row of the source and for the row of the table that was made from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch.core.canonical import canonical
from batch.input.content import contents
from batch.output import tables
from batch.output.input_columns import input_contents
from tests.support.rows import awkward, batches, jsonl, parquet, source
from tests.support.values import outcome


def of_table(path: Path, opened: Any) -> list[bytes | None]:
    """The hashes of the rows of a part that was made of all rows of a source."""
    schema = tables.result_schema(opened.schema, None)
    made = []
    for batch in batches(opened):
        rows = [
            tables.ResultRow(
                row_id=str(n), row_number=n, variant=None, run="r", fingerprint=bytes(16), outcome=outcome("fine")
            )
            for n in range(len(batch.records))
        ]
        made.append(tables.result_batch(schema, pa.table(batch.columns), rows))
    pq.write_table(pa.Table.from_batches(made), path)
    return input_contents(pq.read_table(path))


def test_a_row_of_the_table_has_the_hash_of_its_source_whatever_its_types(tmp_path: Path) -> None:
    """FIELD 28. Every type that a Parquet input may have, written to a part and read again."""
    opened = source(parquet(tmp_path, awkward().drop_columns(["null"])))
    names = opened.schema.names
    hashes = [found for batch in batches(opened) for found in contents(batch, names)]
    assert of_table(tmp_path / "part.parquet", opened) == hashes
    assert len(set(hashes)) == 3
    assert {len(found) for found in hashes} == {8}


ROWS: list[dict[str, Any]] = [
    {"id": "a", "n": 1, "x": 0.5, "tags": ["t"], "who": {"first": "Ann"}},
    {"id": "b", "n": "no number", "x": 3, "who": "Bob"},
    {"id": "c", "n": None, "late": [1, {"deep": None}]},
]


def test_values_that_fit_no_column_count_as_what_stands_in_the_table(tmp_path: Path) -> None:
    """FIELD 28. What goes to `input_rest` is part of the row, and the hash of the table has it, too."""
    kept = {"id": "large_string", "n": "int64", "x": "double", "tags": "list<large_string>", "who": "json"}
    opened = source(jsonl(tmp_path, ROWS), kept=kept)
    names = opened.schema.names
    [batch] = batches(opened)
    hashes = contents(batch, names)
    assert of_table(tmp_path / "part.parquet", opened) == hashes
    for change in ({"n": "another"}, {"late": [2]}, {"x": 4}):
        other = source(jsonl(tmp_path, [ROWS[0], {**ROWS[1], **change}, ROWS[2]]), kept=kept)
        [batch] = batches(other)
        assert [new == old for new, old in zip(contents(batch, names), hashes, strict=True)] == [True, False, True]


@pytest.mark.parametrize(
    ("names", "same"), [(["id", "n"], True), (["id", "owner"], False), (["id", "n", "owner", "input_rest"], False)]
)
def test_only_columns_that_are_written_count(names: list[str], same: bool, tmp_path: Path) -> None:
    """FIELD 28. An edit of what the table does not have writes nothing."""

    def hashes(owner: str) -> list[bytes]:
        opened = source(jsonl(tmp_path, [{"id": "a", "n": 1, "owner": owner}]))
        return [found for batch in batches(opened) for found in contents(batch, names)]

    assert (hashes("ann") == hashes("bob")) is same


def test_a_line_that_cannot_be_read_has_the_hash_of_no_columns(tmp_path: Path) -> None:
    """FIELD 28. Its row in the table has none either."""
    opened = source(jsonl(tmp_path, '{"id": "a", "n": 1}\n{"id": \n'), key="id")
    [batch] = batches(opened)
    whole, torn = contents(batch, opened.schema.names)
    assert of_table(tmp_path / "part.parquet", opened) == [whole, torn]
    assert whole != torn


@pytest.mark.parametrize("names", [["id", "n", "x", "tags", "who", "input_rest"], ["id", "n"], ["id", "input_rest"]])
def test_a_canonical_form_at_hand_is_taken_only_where_it_has_just_the_columns_of_the_table(
    names: list[str], tmp_path: Path
) -> None:
    """Ours: the hash is the same with it and without, also of rows with more in them or less."""
    rows = [*ROWS, {"id": "d", "n": 4, "x": 1.5, "tags": [], "who": None}, {"id": "e"}]
    kept = {"id": "large_string", "n": "int64", "x": "double", "tags": "list<large_string>", "who": "json"}
    for chosen in (rows, rows[3:]):  # some values fit no column, or all do
        [batch] = batches(source(jsonl(tmp_path, chosen), kept=kept))
        forms = [None if record is None else canonical(record) for record in batch.records]
        assert contents(batch, names, forms) == contents(batch, names)
