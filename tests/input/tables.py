"""Every Arrow type, and Parquet files as they are found in the wild."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq

from tests.input.cases import Bad, Case

MOMENT = dt.datetime(2024, 2, 29, 23, 59, 59, 999999, tzinfo=ZoneInfo("UTC"))
NAIVE = MOMENT.replace(tzinfo=None)
EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001 - of columns without a zone
CELLS: list[tuple[pa.DataType, Any, Any]] = [
    *((kind, 5, 5) for kind in (pa.int8(), pa.int16(), pa.int32(), pa.int64())),
    *((kind, 5, 5) for kind in (pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())),
    *((kind, 0.5, 0.5) for kind in (pa.float16(), pa.float32(), pa.float64())),
    *((kind, "x", "x") for kind in (pa.string(), pa.large_string(), pa.string_view())),
    *((kind, b"\xff", b"\xff") for kind in (pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(1))),
    (pa.bool_(), True, True),
    (pa.null(), None, None),
    (pa.date32(), MOMENT.date(), MOMENT.date()),
    (pa.date64(), MOMENT.date(), MOMENT.date()),
    (pa.time32("s"), dt.time(1, 2, 3), dt.time(1, 2, 3)),
    (pa.time32("ms"), dt.time(1, 2, 3, 4000), dt.time(1, 2, 3, 4000)),
    (pa.time64("us"), dt.time(1, 2, 3, 4), dt.time(1, 2, 3, 4)),
    (pa.time64("ns"), 5_000, dt.time(0, 0, 0, 5)),
    (pa.timestamp("s"), NAIVE.replace(microsecond=0), NAIVE.replace(microsecond=0)),
    (pa.timestamp("ms", "UTC"), MOMENT.replace(microsecond=999000), MOMENT.replace(microsecond=999000)),
    (pa.timestamp("us"), NAIVE, NAIVE),
    (pa.timestamp("us", "UTC"), MOMENT, MOMENT),
    (pa.timestamp("ns", "Asia/Shanghai"), 1_704_164_645_678_901_234, "2024-01-02T11:04:05.678901234+08:00"),
    (pa.duration("ms"), dt.timedelta(seconds=1.5), dt.timedelta(seconds=1.5)),
    (pa.duration("ns"), 1_500_000_001, dt.timedelta(seconds=1.5)),
    (pa.decimal128(12, 2), Decimal("12.50"), Decimal("12.50")),
    (pa.decimal256(70, 3), Decimal("-0.125"), Decimal("-0.125")),
    (pa.list_(pa.int8()), [1, None], [1, None]),
    (pa.large_list(pa.string()), ["x"], ["x"]),
    (pa.list_(pa.float32(), 2), [0.5, 1.0], [0.5, 1.0]),
    (pa.list_(pa.list_(pa.struct({"a": pa.int8()}))), [[{"a": 1}], []], [[{"a": 1}], []]),
    (pa.struct({"role": pa.string(), "n": pa.int8()}), {"role": "user"}, {"role": "user", "n": None}),
    (pa.map_(pa.string(), pa.int64()), [("k", 1)], {"k": 1}),
    (pa.map_(pa.string(), pa.int64()), [("k", 1), ("k", 2)], [("k", 1), ("k", 2)]),
    (pa.dictionary(pa.int8(), pa.string()), "red", "red"),
    (pa.list_(pa.dictionary(pa.int8(), pa.string())), ["red"], ["red"]),
    (pa.uuid(), b"0123456789abcdef", uuid.UUID(bytes=b"0123456789abcdef")),
    (pa.json_(), '{"a": 1}', '{"a": 1}'),
    (pa.bool8(), 1, True),
]


def column(kind: pa.DataType, value: Any) -> pa.Table:
    """A value and a null of one type."""
    if isinstance(kind, pa.BaseExtensionType):
        array = pa.ExtensionArray.from_storage(kind, pa.array([value, None], kind.storage_type))
    else:
        array = pa.array([value, None], kind)
    return pa.table({"n": [1, 2], "v": array})


ARROW = [
    *(
        Case(str(kind), {"a.parquet": column(kind, value)}, [{"n": 1, "v": back}, {"n": 2, "v": None}])
        for kind, value, back in CELLS
    ),
    Case(
        "a year beyond 9999",
        {"a.parquet": pa.table({"v": pa.array([0, 10**18], pa.timestamp("us"))})},
        [{"v": EPOCH}, Bad("")],
    ),
    Case("no columns at all", {"a.parquet": pa.table({})}, []),
]


def groups(path: Path) -> None:
    """Row groups of 3, empty ones between them."""
    table = pa.table({"n": list(range(7))})
    with pq.ParquetWriter(path, table.schema) as writer:
        for start in range(0, 7, 3):
            writer.write_table(table.slice(0, 0))
            writer.write_table(table.slice(start, 3))


def no_groups(path: Path) -> None:
    """A footer and nothing else."""
    with pq.ParquetWriter(path, pa.schema({"n": pa.int8()})):
        pass


def torn(path: Path) -> None:
    """Cut while it was copied."""
    pq.write_table(pa.table({"n": list(range(100))}), path)
    path.write_bytes(path.read_bytes()[:-20])


def union(first: Any, second: Any, rows: list[Any], kind: str) -> Case:
    """Two files whose column has two types."""
    files = {"a.parquet": pa.table({"v": first}), "b.parquet": pa.table({"v": second})}
    return Case(f"{first.type} and {second.type}", files, [{"v": row} for row in rows], types={"v": kind})


def clash(first: Any, second: Any) -> Case:
    """Two types that no third holds."""
    files = {"a.parquet": pa.table({"v": first}), "b.parquet": pa.table({"v": second})}
    text = f"column 'v' is {first.type} in a.parquet and {second.type} in b.parquet, and no type holds both"
    return Case(f"{first.type} against {second.type}", files, refused=text)


def ints(kind: pa.DataType, *values: int) -> pa.Array:
    return pa.array(values, kind)


RED = pa.array(["red"]).dictionary_encode()
PARQUET = [
    Case("no rows", {"a.parquet": pa.table({"n": ints(pa.int8())})}, [], types={"n": "int8"}),
    Case("no row groups", {"a.parquet": no_groups}, [], types={"n": "int8"}),
    Case("empty row groups", {"a.parquet": groups}, [{"n": n} for n in range(7)]),
    *(
        Case(
            f"codec {codec}",
            {"a.parquet": lambda path, codec=codec: pq.write_table(pa.table({"n": [1]}), path, compression=codec)},
            [{"n": 1}],
        )
        for codec in ("none", "snappy", "gzip", "brotli", "zstd", "lz4")
    ),
    Case("torn footer", {"a.parquet": torn}, refused="a.parquet: is not a whole Parquet file"),
    Case("nothing in it", {"a.parquet": b""}, refused="a.parquet: is not a whole Parquet file"),
    Case(
        "torn among others",
        {"a.parquet": pa.table({"n": [1]}), "b.parquet": torn, "c.parquet": pa.table({"n": [2]})},
        [{"n": 1}, Bad("b.parquet row 0: is not a whole Parquet file"), {"n": 2}],
    ),
    Case("torn, all of them", {"a.parquet": torn, "b.parquet": b""}, refused="a.parquet: is not a whole Parquet file"),
    Case("encrypted", {"a.parquet": b"PARE" + b"x" * 40 + b"PARE"}, refused="is an encrypted Parquet file. Decrypt"),
    Case("JSONL in disguise", {"a.parquet": b'{"n": 1}\n'}, refused="is not a whole Parquet file"),
    Case(
        "two columns of one name",
        {"a.parquet": pa.Table.from_arrays([ints(pa.int8(), 1)] * 2, names=["n", "n"])},
        refused="has 'n' more than once. Rename the columns.",
    ),
    Case(
        "columns that not all files have",
        {"a.parquet": pa.table({"n": [1], "a": ["x"]}), "b.parquet": pa.table({"b": [0.5], "n": [2]})},
        [{"n": 1, "a": "x", "b": None}, {"n": 2, "a": None, "b": 0.5}],
        types={"n": "int64", "a": "string", "b": "double"},
    ),
    Case(
        "folders with key=value names",
        {"day=1/a.parquet": pa.table({"n": [1]}), "day=2/a.parquet": pa.table({"n": [2]}), "_SUCCESS": b""},
        [{"n": 1}, {"n": 2}],
        path=".",
    ),
    union(ints(pa.int32(), 1), ints(pa.int64(), 2**40), [1, 2**40], "int64"),
    union(ints(pa.int64(), 2**40), ints(pa.int32(), 1), [2**40, 1], "int64"),
    union(ints(pa.int8(), -1), ints(pa.uint8(), 255), [-1, 255], "int16"),
    union(ints(pa.int32(), 1), pa.array([0.5]), [1, 0.5], "number"),
    union(ints(pa.int64(), 1), pa.array([0.5, 2.0]), [1, 0.5, 2], "number"),
    union(pa.array([0.5, 2.0]), ints(pa.int64(), 1), [0.5, 2.0, 1.0], "double"),
    union(ints(pa.int64(), 1, 2**53 + 1), pa.array([0.5]), [1, 2**53 + 1, 0.5], "number"),
    union(ints(pa.uint64(), 2**64 - 1), pa.array([0.5], pa.float32()), [2**64 - 1, 0.5], "number"),
    union(pa.array([[1]]), pa.array([[0.5]]), [[1.0], [0.5]], "large_list<item: double>"),
    union(pa.array(["x"]), pa.array(["y"], pa.large_string()), ["x", "y"], "large_string"),
    union(RED, pa.array(["x"]), ["red", "x"], "string"),
    union(pa.nulls(1), pa.array(["x"]), [None, "x"], "string"),
    union(
        pa.array([NAIVE], pa.timestamp("us")),
        pa.array([0], pa.timestamp("s")),
        [NAIVE, EPOCH],
        "timestamp[us]",
    ),
    union(
        pa.array([Decimal("1.5")], pa.decimal128(3, 1)),
        pa.array([Decimal("0.25")], pa.decimal128(2, 2)),
        [Decimal("1.50"), Decimal("0.25")],
        "decimal128(4, 2)",
    ),
    union(
        pa.array([[1]], pa.list_(pa.int8())),
        pa.array([[300]], pa.list_(pa.int16())),
        [[1], [300]],
        "large_list<item: int16>",
    ),
    clash(ints(pa.int64(), 1), pa.array(["x"])),
    clash(ints(pa.int64(), 1), ints(pa.uint64(), 1)),
    clash(pa.array([True]), ints(pa.int8(), 1)),
    clash(pa.array([0], pa.timestamp("us")), pa.array([0], pa.timestamp("us", "UTC"))),
    clash(pa.array([{"a": 1}]), pa.array([{"a": "x"}])),
]
