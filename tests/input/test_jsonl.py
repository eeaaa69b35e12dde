"""JSONL → rows with fixed types, whatever stands in the lines."""

import datetime as dt
import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from batch.core.canonical import bad_line_id
from batch.core.errors import InputError
from batch.input.batches import Position
from batch.input.json_columns import REST
from tests.support.rows import batches, jsonl, records, source, spilled


def test_jsonl_lines_become_rows_with_fixed_types(tmp_path: Path) -> None:
    """One type a column, in the order the keys first appear; `input_rest` stands last."""
    rows = [
        {
            "id": 1,
            "text": "a",
            "ok": True,
            "score": 0.5,
            "tags": ["x", None],
            "deep": {"k": [1]},
            "mixed": 1,
            "none": None,
        },
        {"id": 2, "text": "b", "ok": False, "score": 1.0, "tags": [], "deep": None, "mixed": "x", "none": None},
    ]
    opened = source(jsonl(tmp_path, rows))
    assert opened.types == {
        "id": "int64",
        "text": "large_string",
        "ok": "bool",
        "score": "double",
        "tags": "list<item: large_string>",
        "deep": "json",
        "mixed": "large_string",
        "none": "large_string",
    }
    [batch] = batches(opened)
    assert batch.records == rows
    assert batch.columns.column("deep").to_pylist() == ['{"k":[1]}', None]
    assert batch.columns.column("mixed").to_pylist() == [None, "x"]
    assert batch.columns.column(REST).to_pylist() == ['{"mixed":1}', None]
    assert batch.lines == [1, 2]
    assert batch.position == Position(row=2, byte=(tmp_path / "rows.jsonl").stat().st_size, line=2)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, -(2**63)], "int64"),
        ([2**63, 0], "uint64"),
        ([2**63, -1], "int64"),
        ([2**64], "json"),
        ([2**64, 1, 2], "int64"),
        ([1, 2.5], "double"),
        ([2**53 + 1, 2.5], "int64"),
        ([2**53 + 1, 2.5, 2.5], "double"),
        ([1, True], "int64"),
        ([1, True, False], "bool"),
        (["1", 1], "large_string"),
        ([1, "n/a", 2], "int64"),
        (["a", {"k": 1}, ["b"], 3, None], "large_string"),
        ([{"k": 1}, {"k": 2}, "a"], "json"),
        ([[1], [2]], "list<item: int64>"),
        ([[1], [2.5]], "list<item: double>"),
        ([["a"], ["b"], ["c", 1], "d"], "list<item: large_string>"),
        ([["a", 1], [2, "b"]], "json"),
        ([[[1]]], "json"),
        ([[], []], "json"),
        ([[{}]], "json"),
        ([[2**63]], "list<item: uint64>"),
    ],
)
def test_the_type_of_a_column_is_the_one_that_most_of_its_values_have(
    tmp_path: Path, values: list[Any], kind: str
) -> None:
    """FIELD 35. A few values of another kind never change a column; wherever they stand, they come back exactly."""
    opened = source(jsonl(tmp_path, [{"a": value} for value in values]))
    assert opened.types == {"a": kind}
    assert [repr(record["a"]) for record in records(opened) if record] == [repr(value) for value in values]
    with spilled(tmp_path, opened) as spill:
        assert [repr(record["a"]) for record in spill.records(0, len(values))] == [repr(value) for value in values]


def test_what_does_not_fit_goes_to_input_rest_and_is_read_as_it_came(tmp_path: Path) -> None:
    """design.md 4: misfits and late keys are kept as JSON text, and the prompt sees the record as it came."""
    kept = {"id": "int64", "text": "large_string", "score": "double", "tags": "list<large_string>"}
    rows: list[dict[str, Any]] = [
        {"id": "x", "text": 5, "score": 3, "tags": ["a", 1]},
        {"id": 2**70, "text": None, "score": "high", "tags": "a", "late": {"k": None}},
        {"id": 1.0, "text": "t", "score": 2**60 + 1, "tags": None},
        {"id": True, "late": None, REST: "mine"},
        {"id": 7, "score": 0.5, "tags": ["b"]},
    ]
    opened = source(jsonl(tmp_path, rows), kept=kept)
    [batch] = batches(opened)
    assert batch.columns.column("id").to_pylist() == [None, None, None, None, 7]
    assert batch.columns.column("score").to_pylist() == [3.0, None, None, None, 0.5], "3 reads as a number all the same"
    rests = [json.loads(text) if text else None for text in batch.columns.column(REST).to_pylist()]
    assert rests == [
        {"id": "x", "text": 5, "score": 3, "tags": ["a", 1]},
        {"id": 2**70, "score": "high", "tags": "a", "late": {"k": None}},
        {"id": 1.0, "score": 2**60 + 1},
        {"id": True, "late": None, REST: "mine"},
        None,
    ]
    empty = dict.fromkeys(kept)
    assert [repr(record) for record in batch.records] == [repr({**empty, **row}) for row in rows]
    with spilled(tmp_path, opened) as spill:
        assert [repr(record) for record in spill.records(0, 5)] == [repr({**empty, **row}) for row in rows]


def test_declared_types_say_how_values_are_read(tmp_path: Path) -> None:
    """The typed value stands in the column and in the record; what cannot be read so stays as it came."""
    types = {
        "amount": "decimal(12,2)",
        "at": "timestamp[us]",
        "zoned": "timestamp[ms, UTC]",
        "day": "date32",
        "number": "float64",
        "small": "int8",
        "text": "string",
        "half": "float32",
        "never": "bool",
        "any": "json",
    }
    rows: list[dict[str, Any]] = [
        {"amount": 12.5, "at": "2024-01-02T03:04:05Z", "zoned": "2024-01-02T03:04:05+08:00", "day": "2024-02-29",
         "number": 3, "small": 5, "text": "x", "half": 0.1, "any": [1, "a"]},
        {"amount": "7", "at": "2024-01-02 03:04:05.123456", "zoned": "2024-01-02T03:04:05", "day": "yesterday",
         "number": 2**60 + 1, "small": 500, "text": 5, "half": 1, "any": None},
        {"amount": 1.234, "at": 5, "zoned": "", "day": 5, "number": True, "small": 5.0, "text": [], "half": "x"},
        {"amount": True, "at": None},
        {"amount": "NaN"},
    ]  # fmt: skip
    opened = source(jsonl(tmp_path, rows), types=types)
    kinds = {field.name: str(field.type) for field in opened.schema}
    assert (kinds["amount"], kinds["zoned"], kinds["half"]) == ("decimal128(12, 2)", "timestamp[ms, tz=UTC]", "float")
    assert (kinds["text"], kinds["any"], opened.types["any"]) == ("large_string", "large_string", "json")
    assert opened.schema.names[-2:] == ["never", REST], "a declared column that no line has is there all the same"
    read = records(opened)
    assert read[0] == {
        "amount": Decimal("12.50"),
        "at": dt.datetime(2024, 1, 2, 3, 4, 5),  # noqa: DTZ001 - declared without a zone
        "zoned": dt.datetime(2024, 1, 1, 19, 4, 5, tzinfo=dt.UTC),
        "day": dt.date(2024, 2, 29),
        "number": 3.0,
        "small": 5,
        "text": "x",
        "half": 0.10000000149011612,
        "never": None,
        "any": [1, "a"],
    }
    assert read[1] == {
        "amount": Decimal("7.00"),
        "at": dt.datetime(2024, 1, 2, 3, 4, 5, 123456),  # noqa: DTZ001 - declared without a zone
        "zoned": dt.datetime(2024, 1, 2, 3, 4, 5, tzinfo=dt.UTC),
        "day": "yesterday",
        "number": 2**60 + 1,
        "small": 500,
        "text": 5,
        "half": 1.0,
        "never": None,
        "any": None,
    }
    assert read[2] is not None
    assert {**read[2], "never": None, "any": None} == {**read[2], **rows[2]}
    assert [record["amount"] for record in read[3:] if record] == [True, "NaN"]
    with spilled(tmp_path, opened) as spill:
        assert repr(spill.records(0, 5)) == repr(read)


def test_types_are_fixed_from_the_first_ten_thousand_lines_only(tmp_path: Path) -> None:
    """A source of any size opens in the same time; what comes later goes to `input_rest`."""
    rows: list[dict[str, Any]] = [{"a": index} for index in range(10_000)]
    opened = source(jsonl(tmp_path, [*rows, {"a": "late", "b": 1}]))
    assert opened.types == {"a": "int64"}
    *_, last = batches(opened)
    assert json.loads(last.columns.column(REST)[-1].as_py()) == {"a": "late", "b": 1}


def test_a_million_keys_do_not_make_a_million_columns(tmp_path: Path) -> None:
    """libraries.md 6.3; the rest is kept, as JSON text."""
    wide = {f"k{index}": index for index in range(1_500)}
    opened = source(jsonl(tmp_path, [wide]))
    assert len(opened.types) == 1_000
    assert records(opened) == [wide]


def test_types_kept_from_an_earlier_run_win_over_what_the_file_shows(tmp_path: Path) -> None:
    """The result table has had its schema since the first run."""
    path = jsonl(tmp_path, [{"a": "x", "new": 1}])
    opened = source(path, kept={"a": "int64", "gone": "bool"}, types={"b": "string"})
    assert opened.types == {"a": "int64", "gone": "bool", "b": "large_string"}
    assert records(opened) == [{"a": "x", "gone": None, "b": None, "new": 1}]
    with pytest.raises(InputError, match=r"column 'a' is double now, and int64 in the results so far"):
        source(path, kept={"a": "int64"}, types={"a": "float64"})
    assert source(path, kept={}).types == {"a": "large_string", "new": "int64"}, "an empty file fixed nothing"


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\n\n  \n\t\r\n"])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf", b"\n\n"])
@pytest.mark.parametrize("final", [True, False])
def test_blank_lines_bom_crlf_and_a_missing_last_newline_are_fine(
    tmp_path: Path,
    ending: str,
    start: bytes,
    final: bool,
) -> None:
    """A blank line is no row, but counts when lines are numbered."""
    lines = ['{"a": "1\u2028\u0085x"}', '{"a": "2"}', '{"a": "3"}']
    text = ending.join(lines) + (ending if final else "")
    opened = source(jsonl(tmp_path, start + text.encode()))
    assert [record["a"] for record in records(opened) if record] == ["1\u2028\u0085x", "2", "3"]
    step = ending.count("\n")
    first = 1 + start.count(b"\n")
    assert [line for batch in batches(opened) for line in batch.lines] == [first, first + step, first + 2 * step]


BAD_LINES: list[tuple[bytes, str, str]] = [
    (b'{"a": ', "unreadable", "truncated"),
    (b"[1, 2]", "unreadable", "a JSON object is wanted"),
    (b'"text"', "unreadable", "a JSON object is wanted"),
    (b"null", "unreadable", "a JSON object is wanted"),
    (b"// comment", "unreadable", "invalid character"),
    (b'{"a": NaN}', "unreadable", "invalid character"),
    (b'{"a": 1e999}', "unreadable", "out of range"),
    (b'{"a": "\xe9"}', "unreadable", "not UTF-8: byte 0xe9 at byte 7"),
    (b'{"a": 1} {"a": 2}', "unreadable", "trailing"),
    (b"[" * 900, "unreadable", "truncated"),
    (b'{"a":' * 180, "unreadable", "truncated"),
    (b'{"a": "' + b"x" * 1000 + b'"}', "too_long", "1,010 bytes are more than input.max_row_bytes (1,000); not read"),
    (b'{"a": "' + b"x" * 999_000 + b'"}', "too_long", "999,010 bytes are more"),
    (b'{"a": \x00}', "unreadable", "invalid character"),
    (b"\0" * 900, "unreadable", "NUL bytes and nothing else, as they are left when a machine falls. Make the file"),
]


@pytest.mark.parametrize(("raw", "code", "reason"), BAD_LINES)
def test_a_line_that_cannot_be_read_is_one_failed_row(tmp_path: Path, raw: bytes, code: str, reason: str) -> None:
    """Promise 7; its identity is the hash of its bytes, and its neighbours are untouched."""
    path = jsonl(tmp_path, b'{"a": "x"}\n' + raw + b'\n{"a": "y"}\n')
    [batch] = batches(source(path, max_row_bytes=1000))
    assert batch.records == [{"a": "x"}, None, {"a": "y"}]
    assert batch.columns.column("a").to_pylist() == ["x", None, "y"]
    assert batch.raw_ids == [None, bad_line_id(raw), None]
    assert batch.failures[0] is batch.failures[2] is None
    fault = batch.failures[1]
    assert fault is not None
    assert (fault.kind, fault.verdict, fault.sent, fault.code) == ("input", "fail", False, code)
    assert fault.message.startswith("rows.jsonl line 2: ")
    assert reason in fault.message


def test_a_line_of_the_exact_limit_is_read_and_one_byte_more_is_not(tmp_path: Path) -> None:
    """With any line ending, and without one."""
    exact = b'{"a": "' + b"x" * 91 + b'"}'
    longer = exact.replace(b'"a"', b' "a"')
    assert len(exact) == 100
    path = jsonl(tmp_path, exact + b"\r\n" + longer + b"\n" + exact + b"\n" + longer + b"\r\n" + exact)
    [batch] = batches(source(path, max_row_bytes=100))
    assert [record is not None for record in batch.records] == [True, False, True, False, True]
    assert batch.raw_ids[1] == batch.raw_ids[3] == bad_line_id(longer)


def test_a_torn_last_line_is_that_rows_failure(tmp_path: Path) -> None:
    """A writer was killed: everything before it is good."""
    [batch] = batches(source(jsonl(tmp_path, '{"a": 1}\n{"a": 2, "b')))
    fault = batch.failures[1]
    assert fault is not None
    assert fault.message.endswith("; the file ends in this line")
    assert batch.records[0] == {"a": 1}


@pytest.mark.slow
def test_a_line_of_a_hundred_megabytes_is_passed_over_in_constant_memory(tmp_path: Path) -> None:
    """It must not be loaded to be refused; measured in a process of its own."""
    path = tmp_path / "rows.jsonl"
    with path.open("wb") as file:
        file.write(b'{"a": "')
        for _ in range(100):
            file.write(b"x" * 1_000_000)
        file.write(b'"}\n{"a": "y"}\n')
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from batch.job.job import InputSpec\n"
        "from batch.input.source import Source\n"
        "source = Source.open(InputSpec(path=Path(sys.argv[1]), max_row_bytes=1_000_000))\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "batch = source.reader().read(1000)\n"
        "print(batch.failures[0].code, batch.records[1]['a'])\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    command = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert done.stdout.split()[:2] == ["too_long", "y"]
    assert int(done.stdout.split()[2]) < 20_000, "kilobytes"


@pytest.mark.parametrize("rows", [1, 3, 7, 1000])
def test_jsonl_goes_on_from_any_position(tmp_path: Path, rows: int) -> None:
    """A killed run reads on where its last durable range ended, in another process."""
    content = b'\xef\xbb\xbf{"a": 0}\r\n\n[]\n' + b"".join(b'{"a": %d}\n\n' % index for index in range(1, 20)) + b'{"a"'
    opened = source(jsonl(tmp_path, content))
    whole = [(batch.lines, batch.records, batch.raw_ids) for batch in batches(opened, 1)]
    position = Position()
    found = []
    while True:
        reader = source(tmp_path / "rows.jsonl", kept=opened.types).reader(position)
        batch = reader.read(rows)
        reader.close()
        if batch is None:
            break
        found += [
            ([line], [record], [raw_id])
            for line, record, raw_id in zip(batch.lines, batch.records, batch.raw_ids, strict=True)
        ]
        position = batch.position
        assert position.row == len(found)
    assert found == whole


def test_a_batch_is_bounded_in_rows_and_bytes(tmp_path: Path) -> None:
    """At most 1,000 rows whatever is asked, about `max_bytes`, and at least one row."""
    path = jsonl(tmp_path, [{"a": "x" * 1000}] * 1500)
    assert [len(batch.lines) for batch in batches(source(path), 10_000)] == [1000, 500]
    reader = source(path).reader()
    first = reader.read(1000, max_bytes=10_000)
    assert first is not None
    assert len(first.lines) == 10
    assert 10_000 <= first.bytes <= 10_200
    second = reader.read(1000, max_bytes=1)
    assert second is not None
    assert second.lines == [11]
