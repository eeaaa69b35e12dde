"""Inputs of odd scales: many small files, and rows of megabytes."""

from __future__ import annotations

import sys

import pyarrow as pa
import pyarrow.parquet as pq

from tests.system.runs.conftest import Make

LIMIT = "import resource, runpy; resource.setrlimit(resource.RLIMIT_NOFILE, (120, 120)); "
FEW_FILES = (sys.executable, "-c", f"{LIMIT}runpy.run_module('batch', run_name='__main__')")
"""The command as it is where hardly more files may be open than it needs for itself."""


def test_many_files_are_read_one_after_the_other(make: Make) -> None:
    """More of them than files may be open: the rows come in the order of the names, each once."""
    mill = make()
    (mill.folder / "in").mkdir()
    for n in range(150):
        pq.write_table(pa.table({"question": [f"What is {n}?"]}), mill.folder / "in" / f"{n:04d}.parquet")
    mill.input = "in/*.parquet"
    code, said = mill.command(program=FEW_FILES)
    assert code == 0, said
    mill.check_table(150)
    assert mill.one("question") == [f"What is {n}?" for n in range(150)]


def test_rows_of_4_megabytes_are_asked_whole(make: Make) -> None:
    """Three of them, each with its own beginning and end."""
    mill = make()
    mill.write([{"question": f"begin {n} {'x' * 4_000_000} end {n}"} for n in range(3)])
    assert mill.run().exit_code == 0
    mill.check_table(3)
    assert [len(text) for text in mill.one("question")] == [4_000_014] * 3
    assert all(tokens > 100_000 for tokens in mill.one("prompt_tokens"))
