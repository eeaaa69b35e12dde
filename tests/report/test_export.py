"""`batch.report.export`: what a spreadsheet, a program and a person find in the three kinds of file."""

from __future__ import annotations

import csv
import datetime as dt
import json
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import openpyxl
import pyarrow as pa
import pytest

from batch.core.arrowtypes import JSON_MARK
from batch.core.errors import RefusedToStart, StorageError
from batch.report import export as module
from batch.report import sheet
from batch.report.export import export
from tests.support.outfolders import finished
from tests.support.values import outcome

HOSTILE = [
    "=1+1",
    "+cmd|' /C calc'!A0",
    "-5",
    "@SUM(A1:A9)",
    "\t=1+1",
    "\r=1+1",
    "＝1+1",
    'a "quoted", semi;colon;=1+1\nand a second line',
    "#N/A",
    "00123",
    "\ufeff中文 😀",
    "",
]
FORMULAS = 7
"""So many of them begin like one."""


def texts(values: list[Any]) -> pa.Table:
    return pa.table({"text": pa.array(values, pa.large_string())})


def cells(path: Path) -> list[tuple[Any, ...]]:
    """The cells of a sheet, without the row of names."""
    sheet = openpyxl.load_workbook(path).active
    return [tuple(row) for row in list(sheet.iter_rows())[1:]]


def test_text_stays_text_in_all_three(tmp_path: Path) -> None:
    """FIELD 37: no cell is a formula, and what was written is read back."""
    out = finished(tmp_path / "out", texts(HOSTILE)).root
    done = export(out, tmp_path / "a.xlsx", columns=["text"])
    assert (done.rows, done.columns, done.cut) == (len(HOSTILE), 1, 0)
    found = cells(done.path)
    assert {cell.data_type for row in found for cell in row if cell.value} <= {"s", "inlineStr"}
    assert [row[0].value or "" for row in found] == [text.replace("\r", "\n") for text in HOSTILE]
    assert [row[0].quotePrefix for row in found] == [text.startswith(("=", "+", "-", "@")) for text in HOSTILE]

    done = export(out, tmp_path / "a.csv", columns=["text"])
    with done.path.open(encoding="utf-8-sig", newline="") as file:
        read = [row[0] for row in csv.reader(file)]
    assert read == ["text", *(f"'{text}" for text in HOSTILE[:FORMULAS]), *HOSTILE[FORMULAS:]]
    assert done.quoted == FORMULAS

    done = export(out, tmp_path / "a.jsonl", columns=["text"])
    assert [json.loads(line)["text"] for line in done.path.read_text("utf-8").splitlines()] == HOSTILE


def test_names_of_columns_are_text_as_well(tmp_path: Path) -> None:
    """FIELD 37: a column may be called like a formula."""
    out = finished(tmp_path / "out", pa.table({"=1+1": ["a"]})).root
    assert export(out, tmp_path / "a.csv", columns=["=1+1"]).path.read_bytes().startswith(b'\xef\xbb\xbf"\'=1+1"\r\n')
    [name] = next(openpyxl.load_workbook(export(out, tmp_path / "a.xlsx", columns=["=1+1"]).path).active.iter_rows())
    assert (name.data_type, name.value) == ("s", "=1+1")


def test_values_of_every_kind_are_what_a_sheet_calls_them(tmp_path: Path) -> None:
    """FIELD 37: numbers are numbers unless digits would be lost, times are times in UTC, the rest is text."""
    moment = dt.datetime(2026, 11, 29, 12, 30, tzinfo=dt.UTC)
    table = pa.table(
        {
            "small": [5],
            "long": [53195444847186410],
            "half": [0.5],
            "nan": [float("nan")],
            "money": pa.array([Decimal("12.50")], pa.decimal128(12, 2)),
            "yes": [True],
            "none": pa.nulls(1),
            "at": pa.array([moment], pa.timestamp("us", "Asia/Shanghai")),
            "late": pa.array([10**18], pa.timestamp("us")),
            "old": pa.array([dt.date(1899, 1, 1)]),
            "list": [["a", "b"]],
            "tree": [{"a": [1, None]}],
            "bytes": pa.array([b"plain"]),
            "more_bytes": pa.array([b"\xff"]),
        }
    )
    out = finished(tmp_path / "out", table).root
    [row] = cells(export(out, tmp_path / "a.xlsx", columns=[*table.column_names, "flags", "cost", "settled_at"]).path)
    shown = [cell.value for cell in row]
    assert shown[:4] == [5, "53195444847186410", 0.5, "nan"]
    assert shown[4:7] == [12.5, True, None]
    assert shown[7] == dt.datetime(2026, 11, 29, 12, 30)  # noqa: DTZ001 - a sheet has no zones
    assert shown[8] == f"<value out of range: {10**18}>"
    assert shown[9:14] == ["1899-01-01", '["a","b"]', '{"a":[1,null]}', "plain", "/w=="]
    assert (shown[14], shown[15]) == (None, None)
    assert isinstance(shown[16], dt.datetime)

    csv_file = export(out, tmp_path / "a.csv", columns=table.column_names).path
    line = csv_file.read_text("utf-8-sig").splitlines()[1]
    assert line.startswith('5,53195444847186410,0.5,"nan",12.50,"true",,"2026-11-29T12:30:00.000000Z",')
    record = json.loads(export(out, tmp_path / "a.jsonl", columns=table.column_names).path.read_text("utf-8"))
    assert (record["long"], record["money"], record["list"], record["none"]) == (
        53195444847186410,
        "12.50",
        ["a", "b"],
        None,
    )
    assert record["at"] == "2026-11-29T12:30:00.000000Z"


def test_json_in_the_table_is_json_in_jsonl(tmp_path: Path) -> None:
    """FIELD 37: not text with backslashes."""
    field = pa.field("tree", pa.large_string(), metadata=JSON_MARK)
    table = pa.table([pa.array(['{"a": [1.0, "x"]}', None], pa.large_string())], schema=pa.schema([field]))
    out = finished(tmp_path / "out", table, [outcome(messages='[{"role":"assistant","content":"yes"}]')]).root
    first, second = export(out, tmp_path / "a.jsonl", columns=["tree,messages"]).path.read_text("utf-8").splitlines()
    assert first == '{"tree":{"a":[1.0,"x"]},"messages":[{"role":"assistant","content":"yes"}]}'
    assert json.loads(second) == {"tree": None, "messages": None}


def test_a_cell_that_is_too_long_is_cut_and_counted(tmp_path: Path) -> None:
    """FIELD 37: 32,767 units of UTF-16 a cell; what lies beyond U+FFFF counts twice and is never halved."""
    out = finished(tmp_path / "out", texts(["x" * 32_767, "x" * 32_768, "😀" * 20_000, "\x00\x0b\ufffe_x000D_"])).root
    done = export(out, tmp_path / "a.xlsx", columns=["text"])
    found = [row[0].value for row in cells(done.path)]
    assert done.cut == 2
    assert found[0] == "x" * 32_767
    assert all(len(text.encode("utf-16-le")) // 2 <= 32_767 and text.endswith(sheet.CUT) for text in found[1:3])
    assert found[2].removesuffix(sheet.CUT).strip("😀") == ""
    assert found[3] == "\ufffd" * 3 + "_x005F_x000D_", "a spreadsheet shows it as it was"
    whole = export(out, tmp_path / "a.csv", columns=["text"])
    assert whole.cut == 0
    query = f"SELECT max(length(text)) FROM read_csv('{whole.path}', max_line_size=1000000)"
    [(longest,)] = duckdb.connect().execute(query).fetchall()
    assert longest == 32_768


def test_failed_rows_alone_and_columns_in_their_order(tmp_path: Path) -> None:
    """FIELD 37: over parts, by names with commas between; a name with a comma in it is one name."""
    failed = outcome(None, status="failed", error_kind="bad_request", error_code="1214", retryable=False)
    table = pa.table({"a,b": list(range(5)), "c": list("vwxyz")})
    out = finished(tmp_path / "out", table, [outcome(), failed, outcome(), failed], part_rows=2).root
    done = export(out, tmp_path / "a.csv", columns=["error_code,c", "a,b"], failed=True)
    assert done.path.read_text("utf-8-sig") == '"error_code","c","a,b"\n"1214","w",1\n"1214","y",3\n'
    assert export(out, tmp_path / "a.csv").rows == 5
    with pytest.raises(RefusedToStart, match="no column 'answr'. Did you mean answer"):
        export(out, tmp_path / "a.csv", columns=["answr"])


def test_a_table_that_no_sheet_holds_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FIELD 37: 1,048,575 rows under the names, and the way out."""
    out = finished(tmp_path / "out", texts(["a"] * 5), part_rows=2).root
    monkeypatch.setattr(sheet, "MOST_ROWS", 4)
    with pytest.raises(
        RefusedToStart, match=r"holds 4 rows, and these are 5\. Export to \.csv or \.jsonl, or fewer rows"
    ):
        export(out, tmp_path / "a.xlsx")
    assert export(out, tmp_path / "a.xlsx", failed=True).rows == 0
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(RefusedToStart, match=r"one package more: pip install 'promptmill\[xlsx\]'"):
        export(out, tmp_path / "b.xlsx")
    assert export(out, tmp_path / "a.csv").rows == 5, "the others need none"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a.ods", r"the ending of the file says its format: \.csv, \.xlsx, \.jsonl"),
        ("a", "the ending of the file says its format"),
        ("nowhere/a.csv", "there is no folder"),
        ("dir.csv", "is no file"),
        ("out/results/a.csv", "lies among the files of the table"),
        (f"{'n' * 300}.csv", "File name too long. Choose another place or name"),
    ],
)
def test_a_file_that_cannot_be_made_there_is_refused(tmp_path: Path, name: str, reason: str) -> None:
    """FIELD 37: with what is wrong and what to do."""
    out = finished(tmp_path / "out", texts(["a"])).root
    (tmp_path / "dir.csv").mkdir()
    with pytest.raises(RefusedToStart, match=reason):
        export(out, tmp_path / name)


@pytest.mark.parametrize("ending", module.FORMATS)
def test_an_export_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FIELD 37: whole or not at all; a temporary file of the sheet goes, too."""
    folder = finished(tmp_path / "out", texts(["a"] * 6), part_rows=2)
    target, temporary = tmp_path / f"a{ending}", tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    target.write_bytes(b"old")
    damaged = bytearray(folder.part(1).read_bytes())
    damaged[4:60] = bytes(56)
    folder.part(1).write_bytes(damaged)
    with pytest.raises(StorageError, match=r"part-00001\.parquet: cannot be read: .*promptmill rebuild /"):
        export(folder.root, target)
    assert target.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([target.name, "out", "tmp"])
    assert list(temporary.iterdir()) == []


def test_the_input_of_the_job_is_never_replaced(tmp_path: Path) -> None:
    """FIELD 37: rows.jsonl is a likely name for both."""
    folder = finished(tmp_path / "out", texts(["a"]))
    source = tmp_path / "rows.jsonl"
    source.write_text("{}\n")
    import apsw

    with apsw.Connection(str(folder.ledger)) as db:
        db.execute("UPDATE runs SET source = ?", (json.dumps({"path": str(source)}),))
    db.close()
    with pytest.raises(RefusedToStart, match="is the input of this job, and would be replaced"):
        export(folder.root, source)
