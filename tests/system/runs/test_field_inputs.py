"""Inputs as the field has them, over several nights: keys that come late, CSV, broken files, a draw that is stopped."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch.input.jsonl import LineReader
from batch.input.source import Source
from batch.job.job import Job
from batch.job.options import RunOptions
from batch.ledger.reader import LedgerReader
from batch.run.command import run
from tests.system.runs.conftest import Mill
from tests.system.runs.test_inputs import asked, put, rewrite, rows


def test_a_key_that_comes_on_the_second_night_is_read_by_the_prompt(mill: Mill) -> None:
    """FIELD 31. It stays in input_rest, is read by rows that have it, null in others, and across a kill."""
    mill.key = "n"
    mill.write(rows(0, 3))
    assert mill.run().exit_code == 0
    mill.write([*rows(0, 3), *rows(3, 3, subject="late")])
    mill.user = "{{ subject or 'none' }}: {{ question }}"
    code, said = mill.command(failpoint="admitted.committed:1")
    assert code == -9, said
    report = mill.run()
    assert report.exit_code == 0
    mill.check_table(6)
    found = mill.results("n, answer, input_rest")
    assert ["none: Tell me" in row[1] for row in found] == [True] * 3 + [False] * 3
    assert ["late: Tell me" in row[1] for row in found] == [False] * 3 + [True] * 3
    assert [row[2] for row in found] == [None] * 3 + ['{"subject":"late"}'] * 3
    assert mill.run().state == "nothing_to_do"


def test_csv_is_run_like_any_other_input(mill: Mill) -> None:
    """FIELD 39. Rows, repeats, one more file the next night; folders and file names beside them."""
    mill.key = "id"
    mill.user = '{{ row["first question"] }} {{ day }}'
    rewrite(mill, lambda text: text.replace("[input]", '[input]\nhive_partitioning = true\nfile_column = "source"'))
    put(mill, "day=1/a.csv", b'id,first question\n007,"What, ""you""?\nReally?"\n7,Why?\n008,a,b\n')
    report = mill.run()
    assert (report.exit_code, asked(mill), report.totals.rows_failed) == (1, 2, 1)
    columns = 'row_id, "first question", day, source, error_code'
    assert mill.results(columns)[:2] == [
        ("007", 'What, "you"?\nReally?', "1", "day=1/a.csv", None),
        ("7", "Why?", "1", "day=1/a.csv", None),
    ]
    assert mill.results(columns)[2][1:] == (None, "1", "day=1/a.csv", "unreadable")
    put(mill, "day=2/b.csv", b"first question,id,more\nWhere?,009,\n")
    report = mill.run()
    assert (report.exit_code, asked(mill), report.planned.new, report.planned.unchanged) == (0, 1, 1, 2)
    assert mill.results(columns)[3] == ("009", "Where?", "2", "day=2/b.csv", None)


def test_broken_parquet_among_others_fails_its_rows_until_it_is_whole(mill: Mill) -> None:
    """FIELD 38. A file that is still being copied, and one with a broken row group."""
    mill.key = "n"
    put(mill, "a.parquet", pa.Table.from_pylist(rows(0, 4)))
    put(mill, "b.parquet", b"")
    path = put(mill, "c.parquet", pa.Table.from_pylist(rows(10, 4)))
    pq.write_table(pq.read_table(path), path, row_group_size=2, compression="none", use_dictionary=False)
    whole = path.read_bytes()
    path.write_bytes(whole[:4] + b"\xff" * 12 + whole[16:])
    report = mill.run()
    assert (report.exit_code, asked(mill), report.totals.rows_failed) == (1, 6, 3)
    mill.check_table(9)
    told = [message for message in mill.one("error_message") if message]
    assert told[0].startswith("b.parquet row 0: is not a whole Parquet file: it is empty. It may have been cut short")
    assert [message.split(" cannot be read")[0] for message in told[1:]] == [
        "c.parquet row 0: row group 0",
        "c.parquet row 1: row group 0",
    ]
    path.write_bytes(whole)
    put(mill, "b.parquet", pa.Table.from_pylist(rows(20, 2)))
    report = mill.run()
    assert (report.exit_code, asked(mill), report.planned.new) == (0, 4, 4)


def test_a_draw_that_is_stopped_is_no_sample(mill: Mill, monkeypatch: pytest.MonkeyPatch) -> None:
    """FIELD 40. Ctrl-C while rows are drawn ends the command at once; the next one draws from all rows."""
    mill.questions(50)
    read: Callable[..., Any] = LineReader.read
    batches: list[Any] = []
    sent: list[int] = []

    def endless(self: LineReader, max_rows: int, max_bytes: int) -> Any:
        """As from a file that never ends."""
        batches.append(read(self, max_rows, max_bytes) or batches[0])
        return batches[-1]

    def stop(_: object) -> None:
        if batches and not sent:  # a third one would end this very process
            sent.append(signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    def drawn() -> Any:
        options = RunOptions(limit=5, sample_seed=1)
        job = Job.load(mill.save())
        begin = partial(run, job, options=options, environ=mill.environ, signals=True, on_progress=stop)
        return anyio.run(begin, backend_options={"use_uvloop": True})

    with monkeypatch.context() as patched:
        patched.setattr(LineReader, "read", endless)
        report = drawn()
    assert (report.state, report.exit_code, asked(mill)) == ("interrupted", 4, 0)
    with LedgerReader(mill.out / "ledger.db") as reader:
        assert [reader.sample(last.run) for last in reader.runs()] == [None]
    batches.clear()
    report = drawn()
    assert (report.exit_code, asked(mill)) == (0, 5)
    assert max(mill.one("n")) > 10, "drawn from all rows"
    assert Source.open(Job.load(mill.folder).input).names == ["n", "question", "input_rest"]
