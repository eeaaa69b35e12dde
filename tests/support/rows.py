"""Makes input files and reads them whole, for the tests of `source`, `parquet` and `spill`."""

import datetime as dt
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from batch.input.batches import Position, SourceBatch
from batch.input.source import Source
from batch.input.spill import Spill, SpillWriter
from batch.job.job import InputSpec


def jsonl(tmp_path: Path, content: bytes | str | list[Any]) -> Path:
    path = tmp_path / "rows.jsonl"
    if isinstance(content, list):
        content = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in content)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def parquet(tmp_path: Path, table: pa.Table, **options: Any) -> Path:
    path = tmp_path / "rows.parquet"
    pq.write_table(table, path, **options)
    return path


def source(path: Path, *, kept: dict[str, str] | None = None, **spec: Any) -> Source:
    return Source.open(InputSpec(path=path, **spec), fixed_types=kept)


def batches(opened: Source, rows: int = 1000, position: Position | None = None) -> Iterator[SourceBatch]:
    reader = opened.reader(position)
    while (batch := reader.read(rows)) is not None:
        assert (
            len(batch.records)
            == len(batch.lines)
            == len(batch.failures)
            == len(batch.raw_ids)
            == batch.columns.num_rows
        )
        assert batch.columns.schema.equals(opened.schema, check_metadata=True)
        yield batch
    assert reader.read(rows) is None
    reader.close()


def records(opened: Source, rows: int = 1000) -> list[dict[str, Any] | None]:
    return [record for batch in batches(opened, rows) for record in batch.records]


def spilled(tmp_path: Path, opened: Source, rows: int = 1000) -> Spill:
    writer = SpillWriter(tmp_path / "spill.arrow", opened.schema, rest_is_input=opened.rest_is_input)
    for batch in batches(opened, rows):
        writer.add(batch.columns)
    writer.close()
    return Spill(tmp_path / "spill.arrow")


def awkward() -> pa.Table:
    moment = dt.datetime(2024, 1, 2, 3, 4, 5, 678901, tzinfo=dt.UTC)
    nanos = pa.array([1_704_164_645_678_901_234, -1, None], pa.timestamp("ns", "Asia/Shanghai"))
    return pa.table(
        {
            "text": ["a\x00b", "\u202e😀\ufffe", None],
            "large": pa.array(["x", None, ""], pa.large_string()),
            "category": pa.array(["red", None, "red"]).dictionary_encode(),
            "big": pa.array([2**64 - 1, 0, None], pa.uint64()),
            "half": pa.array([0.5, None, 1.0], pa.float16()),
            "money": pa.array([Decimal("12.50"), None, Decimal("-0.01")], pa.decimal128(12, 2)),
            "huge": pa.array([Decimal(10) ** 60, None, Decimal(1)], pa.decimal256(70, 0)),
            "at": pa.array([moment, None, moment], pa.timestamp("us", "UTC")),
            "nanos": nanos,
            "time": pa.array([3, None, 5_000], pa.time64("ns")),
            "wait": pa.array([1_000_001, None, 5], pa.duration("ns")),
            "bytes": pa.array([b"\xff\x00", None, b""], pa.binary()),
            "list": pa.array([["a"], None, []], pa.list_(pa.string())),
            "struct": pa.array([{"role": "user", "n": None}, None, {"role": None, "n": 1}]),
            "map": pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int64())),
            "nested": pa.array([[{"at": moment}], None, []], pa.list_(pa.struct({"at": pa.timestamp("us", "UTC")}))),
            "null": pa.nulls(3),
            "a.b": [1, 2, 3],
        }
    )
