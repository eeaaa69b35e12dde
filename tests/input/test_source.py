"""Sources of both formats: what is refused, what is kept between runs, memory. Lines and types of JSONL: test_lines."""

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch.core.arrowcommon import check_schema, lossless
from batch.core.arrowtypes import field_of, parse_type, type_name
from batch.core.errors import InputError
from batch.input.batches import Position
from batch.input.json_columns import REST
from tests.support.rows import awkward, batches, jsonl, parquet, records, source


def test_a_missing_file_is_named_with_the_nearest_one(tmp_path: Path) -> None:
    """The commonest mistake of all."""
    parquet(tmp_path, pa.table({"a": [1]}))
    with pytest.raises(
        InputError, match=r"row\.parquet: there is no such file or folder. Did you mean rows\.parquet\?"
    ):
        source(tmp_path / "row.parquet")
    with pytest.raises(InputError, match=r"there is no such file or folder\. Correct input\.path"):
        source(tmp_path / "no" / "x.jsonl")


def test_a_link_to_nothing_is_told_as_one_and_not_suggested_itself(tmp_path: Path) -> None:
    """FIELD 48: "there is no such file. Did you mean" and the same name again."""
    (tmp_path / "rows.jsonl").symlink_to(tmp_path / "moved.jsonl")
    with pytest.raises(
        InputError, match=r"rows\.jsonl: there is no such file or folder\. It is a link to .*moved\.jsonl"
    ):
        source(tmp_path / "rows.jsonl")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("rows.xlsx", r"\.xlsx is not supported; save it as CSV UTF-8\. Read are \.parq"),
        ("rows.jsonl.xz", r"\.xz is not supported; unpack it, or pack it with gzip or zstd\. Read are \.parquet"),
        ("rows.txt.gz", r"\.gz is not supported; read are \.parquet, \.jsonl, \.jsonl\.gz"),
        ("rows", "a name without an ending is not supported"),
        ("folder.jsonl/", "holds no file that can be read; supported are"),
        ("pipe.jsonl|", "is a named pipe, no regular file"),
    ],
)
def test_what_is_not_supported_is_refused_in_a_sentence(tmp_path: Path, name: str, reason: str) -> None:
    """With the way out where there is a usual one; devices and pipes never."""
    path = tmp_path / name.rstrip("/|")
    if name.endswith("/"):
        path.mkdir()
    elif name.endswith("|"):
        os.mkfifo(path)
    else:
        path.write_bytes(b"{}")
    with pytest.raises(InputError, match=reason):
        source(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"a": 1}\n'.encode("utf-16"), "is UTF-16"),
        (b"PAR1....", "is a Parquet file"),
        (b"\x1f\x8b\x08\x00", "is compressed"),
    ],
)
def test_a_jsonl_file_that_is_something_else_is_refused_as_a_whole(tmp_path: Path, content: bytes, reason: str) -> None:
    """Else every line of it would be a failed row."""
    with pytest.raises(InputError, match=reason):
        source(jsonl(tmp_path, content))


def test_an_empty_jsonl_file_has_no_rows(tmp_path: Path) -> None:
    """Nothing to do is no error."""
    opened = source(jsonl(tmp_path, b"\n \n"))
    assert opened.types == {}
    assert records(opened) == []


@pytest.mark.parametrize("cut", [0, 3, 10, -1, -8, -100])
def test_a_truncated_parquet_file_is_refused_in_plain_words(tmp_path: Path, cut: int) -> None:
    """libraries.md 6.3: the error names the file and the way out."""
    path = parquet(tmp_path, pa.table({"a": list(range(1000))}))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(InputError, match=r"rows\.parquet: is not a whole Parquet file: .*: make it again\."):
        source(path)


def test_a_parquet_file_with_broken_pages_fails_the_rows_of_their_row_group(tmp_path: Path) -> None:
    """FIELD 38. The footer is sound, so it shows only on the way; the next row group is read."""
    table = pa.table({"a": [os.urandom(20).hex() for _ in range(2000)]})
    path = parquet(tmp_path, table, compression="zstd", use_dictionary=False, row_group_size=1500)
    data = bytearray(path.read_bytes())
    data[4:40] = b"\xff" * 36  # the header of the first page
    path.write_bytes(bytes(data))
    found = list(batches(source(path), 400))
    failures = [failure for batch in found for failure in batch.failures]
    assert [failure is None for failure in failures] == [False] * 1500 + [True] * 500
    assert failures[7] is not None
    assert failures[7].message.startswith("rows.parquet row 7: row group 0 cannot be read: ")
    assert len({name for batch in found for name in batch.raw_ids if name}) == 1500
    again = next(iter(batches(source(path), 400, position=Position(row=1490))))
    assert (again.raw_ids[0], again.position.row) == (found[3].raw_ids[290], 1500), "from any row on"


def test_a_page_that_does_not_match_its_checksum_fails_its_rows(tmp_path: Path) -> None:
    """Else a flipped bit would be a question nobody asked, and paid for."""
    table = pa.table({"a": ["needle in the haystack"] * 10})
    path = parquet(
        tmp_path, table, compression="none", use_dictionary=False, write_statistics=False, write_page_checksum=True
    )
    path.write_bytes(path.read_bytes().replace(b"needle in", b"noodle in", 1))
    [batch] = batches(source(path))
    assert all(failure and "CRC" in failure.message for failure in batch.failures)


def test_duplicate_column_names_are_refused(tmp_path: Path) -> None:
    """Nobody could say which one a template means."""
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2]), pa.array([3])], names=["a", "b", "a"])
    with pytest.raises(InputError, match="has 'a' more than once"):
        source(parquet(tmp_path, table))


def test_a_missing_key_column_is_named_with_the_nearest_ones(tmp_path: Path) -> None:
    """In both formats; `input_rest` of our own making is no key."""
    path = parquet(tmp_path, pa.table({"ticket_id": [1], "ticket_nr": [1], "x": [1]}))
    with pytest.raises(InputError, match=r"no column is called 'ticketid' \(input.key\). Did you mean ticket_id or"):
        source(path, key="ticketid")
    assert source(path, key="ticket_id").stat.size == path.stat().st_size
    lines = jsonl(tmp_path, [{"a": 1}])
    with pytest.raises(InputError, match="It has: a"):
        source(lines, key=REST)


def test_a_file_that_shrank_is_not_read_on(tmp_path: Path) -> None:
    """Rows would be missing without a word."""
    path = jsonl(tmp_path, [{"a": 1}])
    with pytest.raises(InputError, match="is shorter than what was read of it before"):
        source(path).reader(Position(row=9, byte=900, line=9))
    path = parquet(tmp_path, pa.table({"a": [1]}))
    with pytest.raises(InputError, match="has 1 rows, fewer than were read"):
        source(path).reader(Position(row=9))


@pytest.mark.parametrize(
    "field", [*awkward().schema, pa.field("x", pa.list_(pa.field("element", pa.int8(), nullable=False)))]
)
def test_a_type_reads_back_from_its_name(field: pa.Field) -> None:
    """The ledger keeps names only."""
    again = field_of(field.name, type_name(field))
    assert again.type.equals(field.type, check_metadata=True)


@pytest.mark.parametrize(
    "text",
    ["", "int", "decimal(99,2)", "decimal(3)", "list<>", "timestamp[h]", "timestamp[us, Moon]x", "arrow:xx", "arrow:"],
)
def test_an_unknown_type_name_is_a_value_error(text: str) -> None:
    """From a job file it is a fault, from the ledger a refusal; never a crash."""
    with pytest.raises(ValueError, match="no Arrow type is called"):
        parse_type(text)


@pytest.mark.parametrize(
    ("now", "kept", "safe"),
    [
        ("int8", "int64", True),
        ("int64", "int32", False),
        ("uint32", "int64", True),
        ("uint64", "int64", False),
        ("int8", "uint64", False),
        ("int32", "float64", True),
        ("int64", "float64", False),
        ("float32", "float64", True),
        ("float64", "float32", False),
        ("float64", "int64", False),
        ("string", "large_string", True),
        ("large_string", "string", True),
        ("string", "binary", False),
        ("string", "int64", False),
        ("decimal(10,2)", "decimal(12,3)", True),
        ("decimal(10,2)", "decimal(12,5)", False),
        ("timestamp[ms]", "timestamp[us]", True),
        ("timestamp[us]", "timestamp[ms]", False),
        ("timestamp[us, UTC]", "timestamp[us]", False),
        ("date32", "date64", True),
        ("null", "string", True),
        ("list<int8>", "large_list<int64>", True),
        ("list<string>", "list<int64>", False),
        ("json", "string", False),
        ("json", "json", True),
        ("bool", "int64", False),
    ],
)
def test_only_casts_that_lose_nothing_pass_between_runs(now: str, kept: str, *, safe: bool) -> None:
    """design.md 5: exit 2 naming column and both types."""
    faults = check_schema(pa.schema([field_of("a", kept)]), pa.schema([field_of("a", now), field_of("b", now)]))
    assert (faults == []) is safe
    assert safe or "column 'a' is " in faults[0]


def test_dictionaries_and_structs_are_compared_by_what_is_inside() -> None:
    """Whether a column is dictionary encoded is the writer's choice."""
    coded = pa.dictionary(pa.int32(), pa.string())
    assert lossless(coded, pa.string())
    assert lossless(pa.string(), coded)
    assert not lossless(coded, pa.int64())
    assert lossless(pa.struct({"a": pa.int8()}), pa.struct({"a": pa.int16()}))
    assert not lossless(pa.struct({"a": pa.int8()}), pa.struct({"b": pa.int8()}))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_memory_does_not_grow_with_the_number_of_rows(tmp_path: Path, kind: str) -> None:
    """Promise 6: 60 MB of rows, one row group, read with the memory of a few batches."""
    rows = [{"id": index, "text": os.urandom(500).hex()} for index in range(1_000)]
    if kind == "jsonl":
        path = jsonl(tmp_path, rows)
        data = path.read_bytes()
        with path.open("ab") as file:
            for _ in range(59):
                file.write(data)
    else:
        path = tmp_path / "rows.parquet"
        table = pa.concat_tables([pa.Table.from_pylist(rows)] * 60)
        pq.write_table(table, path, row_group_size=60_000, use_dictionary=False)
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from batch.job.job import InputSpec\n"
        "from batch.input.source import Source\n"
        "reader = Source.open(InputSpec(path=Path(sys.argv[1]))).reader()\n"
        "def rss(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "rows = len(reader.read(1000).lines)\n"
        "for _ in range(5): rows += len(reader.read(1000).lines)\n"
        "early = rss()\n"
        "while (batch := reader.read(1000)) is not None: rows += len(batch.lines)\n"
        "print(rows, rss() - early)\n"
    )
    command = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    count, grown = map(int, done.stdout.split())
    assert count == 60_000
    assert grown < 16_000, "kilobytes"
