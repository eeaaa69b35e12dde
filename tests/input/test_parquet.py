"""Parquet → rows, from any row on, whatever type they have."""

import datetime as dt
import os
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch.core.errors import InputError
from batch.input.batches import Position
from tests.support.rows import awkward, batches, parquet, records, source, spilled


def test_every_arrow_type_comes_through_parquet_and_spill_as_it_was(tmp_path: Path) -> None:
    """libraries.md 6.3: types kept as they came, and rows that read the same from both."""
    opened = source(parquet(tmp_path, awkward()))
    assert opened.schema.equals(awkward().schema)
    [batch] = batches(opened)
    assert batch.columns.equals(awkward().combine_chunks().to_batches()[0])
    first, second, third = batch.records
    assert first is not None
    assert second is not None
    assert third is not None
    assert first["nanos"] == "2024-01-02T11:04:05.678901234+08:00"
    assert second["nanos"] == "1970-01-01T07:59:59.999999999+08:00"
    assert (first["map"], second["map"], third["map"]) == ({"k": 1}, None, {})
    assert first["struct"] == {"role": "user", "n": None}
    assert first["money"] == Decimal("12.50")
    assert third["time"] == dt.time(0, 0, 0, 5)
    with spilled(tmp_path, opened) as spill:
        assert spill.schema.equals(awkward().schema)
        assert spill.records(0, 3) == batch.records
        assert spill.slice(0, 3).equals(batch.columns)
        assert spill.take([2, 0]).equals(pa.Table.from_batches([batch.columns.take([2, 0])]).cast(spill.schema))
    kept = source(tmp_path / "rows.parquet", kept=opened.types)
    assert kept.schema.equals(opened.schema), "names of types read back as the same types"


@pytest.mark.parametrize("rows", [1, 4, 1000])
def test_parquet_goes_on_from_the_middle_of_a_row_group(tmp_path: Path, rows: int) -> None:
    """Row groups of 7 rows over 40 rows, an empty one among them."""
    path = tmp_path / "rows.parquet"
    table = pa.table({"a": list(range(40)), "c": pa.array([str(index % 3) for index in range(40)]).dictionary_encode()})
    with pq.ParquetWriter(path, table.schema) as writer:
        for start in range(0, 40, 7):
            writer.write_table(table.slice(start, 7))
            writer.write_table(table.slice(0, 0))
    opened = source(path)
    assert [record["a"] for record in records(opened, rows) if record] == list(range(40))
    for start in range(41):
        reader = source(path).reader(Position(row=start))
        batch = reader.read(rows)
        if start == 40:
            assert batch is None
            continue
        assert batch is not None
        assert batch.lines[0] == start
        assert batch.records[0] == {"a": start, "c": str(start % 3)}
        assert batch.position.row == start + len(batch.lines)
        reader.close()
    with spilled(tmp_path, opened, rows) as spill:
        assert [record["c"] for record in spill.records(0, 40)] == table.column("c").to_pylist()
        assert spill.take([39, 0]).column("c").to_pylist() == ["0", "0"]


def test_a_parquet_file_without_rows_ends_at_once(tmp_path: Path) -> None:
    """With and without row groups."""
    table = pa.table({"a": pa.array([], pa.int64())})
    assert records(source(parquet(tmp_path, table))) == []
    with pq.ParquetWriter(tmp_path / "rows.parquet", table.schema):
        pass
    assert records(source(tmp_path / "rows.parquet")) == []
    assert source(tmp_path / "rows.parquet").types == {"a": "int64"}


def test_rows_of_parquet_that_python_cannot_hold_fail_alone(tmp_path: Path) -> None:
    """Bytes that are no UTF-8, and a year beyond 9999, are faults of one row each."""
    text = pa.StringArray.from_buffers(3, pa.array([0, 1, 2, 3], pa.int32()).buffers()[1], pa.py_buffer(b"a\xffc"))
    years = pa.array([0, 0, 10**18], pa.timestamp("us"))
    [batch] = batches(source(parquet(tmp_path, pa.table({"t": text, "y": years, "n": [1, 2, 3]}))))
    assert [record is not None for record in batch.records] == [True, False, False]
    assert [fault.code if fault else None for fault in batch.failures] == [None, "unreadable", "unreadable"]
    assert batch.failures[1] is not None
    assert batch.failures[1].message.startswith("rows.parquet row 1: 'utf-8' codec can't decode")
    assert batch.columns.column("n").to_pylist() == [1, None, None]
    ids = [name for name in batch.raw_ids if name]
    assert len(set(ids)) == 2
    assert all(name.startswith("bad-") for name in ids)
    [again] = batches(source(tmp_path / "rows.parquet"), position=Position(row=1))
    assert [name for name in again.raw_ids if name] == ids, "the same wherever the batch began"


def test_a_parquet_row_larger_than_the_limit_fails_alone(tmp_path: Path) -> None:
    """And batches are cut by bytes: 1,000 rows of 10 MB would be no constant memory."""
    table = pa.table({"a": ["x" * 100, "y" * 5000, "z" * 100], "n": [1, 2, 3]})
    [batch] = batches(source(parquet(tmp_path, table), max_row_bytes=1000))
    assert [record["n"] if record else None for record in batch.records] == [1, None, 3]
    assert batch.failures[1] is not None
    assert batch.failures[1].code == "too_long"
    reader = source(tmp_path / "rows.parquet").reader()
    first = reader.read(1000, max_bytes=1)
    assert first is not None
    assert first.lines == [0]
    reader.close()


def test_large_rows_are_decoded_few_at_a_time(tmp_path: Path) -> None:
    """One row group of 400 rows with 100 kB each: what a batch holds follows from the size of a row."""
    table = pa.table({"a": [os.urandom(50_000).hex() for _ in range(400)]})
    sizes = [batch.bytes for batch in batches(source(parquet(tmp_path, table, row_group_size=400)))]
    assert max(sizes) < 9_000_000
    assert sum(sizes) > 40_000_000


def test_view_types_are_read_as_large_ones(tmp_path: Path) -> None:
    """Arrow cannot pick rows out of a column of views."""
    table = pa.table({"a": pa.array(["x", None], pa.string_view()), "b": pa.array([b"y", None], pa.binary_view())})
    opened = source(parquet(tmp_path, table))
    assert opened.types == {"a": "large_string", "b": "large_binary"}
    assert records(opened) == [{"a": "x", "b": b"y"}, {"a": None, "b": None}]


def test_nested_dictionaries_are_read_as_plain_values(tmp_path: Path) -> None:
    """A spill can hold one dictionary a column only."""
    kind = pa.list_(pa.dictionary(pa.int32(), pa.string()))
    table = pa.table({"a": pa.array([["x", "y"], ["x"]], kind)})
    opened = source(parquet(tmp_path, table))
    assert opened.schema.field("a").type.value_type == pa.string()
    with spilled(tmp_path, opened, 1) as spill:
        assert spill.records(0, 2) == [{"a": ["x", "y"]}, {"a": ["x"]}]


def test_types_that_cast_without_loss_are_cast_to_the_kept_ones(tmp_path: Path) -> None:
    """design.md 5; the others end the run before it starts, naming column and both types."""
    path = parquet(tmp_path, pa.table({"a": pa.array([1, None], pa.int32()), "new": ["x", "y"]}))
    opened = source(path, kept={"a": "int64", "gone": "string"})
    assert opened.types == {"a": "int64", "new": "string"}
    [batch] = batches(opened)
    assert batch.columns.column("a").to_pylist() == [1, None]
    with pytest.raises(InputError, match=r"column 'a' is int32 now, and string in the results so far"):
        source(path, kept={"a": "string"})
    late = parquet(tmp_path, pa.table({"a": pa.array([1, 10**12, 2], pa.timestamp("s"))}))
    found = [*batches(source(late, kept={"a": "timestamp[ns]"}))]
    failures = [failure for batch in found for failure in batch.failures]
    assert [failure is None for failure in failures] == [True, False, True], "a value that does not fit is its row's"
    assert failures[1] is not None
    assert failures[1].message.startswith("rows.parquet row 1: Casting")
    assert (failures[1].kind, failures[1].code) == ("input", "unreadable")
