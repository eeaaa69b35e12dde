"""The two tables as people open them: DuckDB, Polars, pandas and Arrow, without being told anything."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path

import duckdb
import openpyxl
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch.output.folder import OutputFolder
from batch.output.rebuild import rebuild
from tests.support.outfolders import RUN, finished

ROOT = Path(__file__).resolve().parents[2]
INPUTS = pa.table(
    {"n": [0, 1, 2], "subject": ["a", None, "c"], "at": pa.array([dt.datetime(2026, 1, 1, tzinfo=dt.UTC)] * 3)}
)
EXPECTED = [(RUN, "tickets", 3)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> OutputFolder:
    """Two parts, three calls."""
    return finished(tmp_path_factory.mktemp("readers") / "out", INPUTS, part_rows=2)


@pytest.mark.parametrize("hive", [True, False])
@pytest.mark.parametrize("place", ["calls/*/*.parquet", "calls/**/*.parquet"])
def test_duckdb_has_the_run_and_the_job_of_every_call(folder: OutputFolder, place: str, *, hive: bool) -> None:
    """FIELD 37: with the names of folders and without."""
    files = f"read_parquet('{folder.root}/{place}', hive_partitioning = {hive})"
    assert duckdb.connect().execute(f"SELECT run, job, count(*) FROM {files} GROUP BY ALL").fetchall() == EXPECTED


@pytest.mark.parametrize("hive", [True, False, None])
@pytest.mark.parametrize("place", ["calls/**/*.parquet", "calls"])
def test_polars_has_the_run_and_the_job_of_every_call(folder: OutputFolder, place: str, *, hive: bool | None) -> None:
    """FIELD 37: over a pattern, where it looks at no names of folders, too."""
    found = pl.scan_parquet(f"{folder.root}/{place}", hive_partitioning=hive)
    assert found.group_by("run", "job").len().cast({"run": pl.String}).collect().rows() == EXPECTED


def test_pandas_has_the_run_and_the_job_of_every_call(folder: OutputFolder) -> None:
    """FIELD 37: it makes a category of the name of a folder, and refuses a column of another type beside it."""
    found = pd.read_parquet(folder.calls)
    assert set(zip(found["run"], found["job"], strict=True)) == {(RUN, "tickets")}
    assert pd.read_parquet(folder.calls, partitioning=None)["run"].tolist() == [RUN] * 3
    [path] = folder.calls.rglob("*.parquet")
    assert pq.ParquetFile(path).schema.column(1).logical_type.type == "STRING", "to those that know no Arrow it is text"


def test_all_three_read_the_same_table(folder: OutputFolder) -> None:
    """FIELD 37: the same rows, columns and times."""
    by_duckdb = duckdb.connect().execute(f"SELECT * FROM '{folder.results}/*.parquet'")
    by_polars = pl.read_parquet(f"{folder.results}/*.parquet")
    by_pandas = pd.read_parquet(folder.results)
    assert [name for name, *_ in by_duckdb.description or ()] == by_polars.columns == list(by_pandas.columns)
    assert by_polars["row_id"].to_list() == list(by_pandas["row_id"]) == ["r0", "r1", "r2"]
    assert by_polars["settled_at"].dtype == pl.Datetime("us", "UTC")


def test_the_line_of_the_readme_makes_a_spreadsheet_with_pandas(
    folder: OutputFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FIELD 37: `to_excel` alone fails on times with a zone."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "OUT").symlink_to(folder.root)
    with pytest.raises(ValueError, match="timezones"):
        pd.read_parquet("OUT/results").to_excel("answers.xlsx")
    found = re.search(r"```python\n(import pandas.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    assert found is not None
    exec(found[1], {})
    sheet = openpyxl.load_workbook(tmp_path / "answers.xlsx").active
    assert sheet.max_row == 4
    names = [cell.value for cell in next(sheet.iter_rows())]
    assert isinstance(sheet.cell(2, names.index("settled_at") + 1).value, dt.datetime)


def test_files_of_an_older_version_lack_the_two_and_are_read_beside_newer_ones(tmp_path: Path) -> None:
    """FIELD 37: by the words that the README has; the ledger is made of them as well."""
    folder = finished(tmp_path / "out", INPUTS)
    [new] = folder.calls.rglob("*.parquet")
    old_run = "20251121T020000123Z-a1b2"
    old = folder.calls_part(old_run, 0)
    old.parent.mkdir()
    table = pq.ParquetFile(new).read().drop_columns(["run", "job"])
    ids = pa.array([f"old-{n}" for n in range(table.num_rows)])
    pq.write_table(table.set_column(0, "client_call_id", ids), old)
    readme = (ROOT / "README.md").read_text("utf-8")
    for words in ("union_by_name=true", 'scan_parquet(…, missing_columns="insert", extra_columns="ignore")'):
        assert words in readme
    files = f"read_parquet('{folder.root}/calls/*/*.parquet', union_by_name=true)"
    expected = [(old_run, None, 3), (RUN, "tickets", 3)]
    assert (
        sorted(duckdb.connect().execute(f"SELECT run, job, count(*) FROM {files} GROUP BY ALL").fetchall()) == expected
    )
    place = f"{folder.root}/calls/**/*.parquet"
    read = pl.scan_parquet(place, hive_partitioning=True, missing_columns="insert", extra_columns="ignore")
    assert sorted(read.group_by("run").len().collect().rows()) == [(old_run, 3), (RUN, 3)]
    assert len(pd.read_parquet(folder.calls)) == 6
    made = rebuild(folder, 1_790_000_000_000_000)
    assert (made.calls, made.call_parts, made.lost) == (
        6,
        2,
        [f"ledger.db: says nothing of run {old_run}; its sums are made again from its calls and rows"],
    )
