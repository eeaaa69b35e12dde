"""Whole runs over inputs of many files and forms: nothing lost, nothing asked twice, failures that say where."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch.core.canonical import repeated_key_id
from batch.core.errors import InputError
from tests.input.tables import CELLS, column
from tests.system.runs.conftest import Make, Mill


def rows(first: int, count: int, **more: Any) -> list[dict[str, Any]]:
    return [{"n": n, "question": f"Tell me about the number {n}.", **more} for n in range(first, first + count)]


def jsonl(records: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def zstd(data: bytes) -> bytes:
    return bytes(pa.compress(data, "zstd", asbytes=True))


def put(mill: Mill, name: str, data: bytes | pa.Table) -> Path:
    """One file of the folder `in`, which is the input."""
    mill.input = "in"
    path = mill.folder / "in" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(data, bytes):
        path.write_bytes(data)
    else:
        pq.write_table(data, path)
    return path


def asked(mill: Mill) -> int:
    """Requests since the last look."""
    assert mill.sim is not None
    count = len(mill.books())
    mill.sim.reset()
    return count


def rewrite(mill: Mill, change: Callable[[str], str]) -> None:
    """Have the job file changed whenever it is saved."""
    save = mill.save

    def saved() -> Path:
        folder = save()
        job = folder / "job.toml"
        job.write_text(change(job.read_text("utf-8")), "utf-8")
        return folder

    mill.save = saved  # type: ignore[method-assign]  # the job is written by hand


def test_a_folder_is_asked_in_the_order_of_its_files(mill: Mill) -> None:
    """Design 4: file, folder, pattern; plain, gzip and zstd side by side."""
    put(mill, "b/day=2/z.jsonl.zst", zstd(jsonl(rows(20, 10))))
    put(mill, "a.jsonl", jsonl(rows(0, 10)))
    put(mill, "b/day=1/x.jsonl.gz", gzip.compress(jsonl(rows(10, 10))))
    put(mill, "_SUCCESS", b"")
    put(mill, "c.jsonl", b"")
    mill.output = {"rows_per_part": 7}
    assert mill.run().exit_code == 0
    assert mill.one("n") == list(range(30))
    mill.check_table(30)
    mill.check_books()
    assert mill.run().state == "nothing_to_do"


def test_a_file_added_each_night_costs_its_own_rows_only(mill: Mill) -> None:
    """Design 4: the nightly increment, whatever the new file's name sorts before."""
    for night, name in enumerate(["2026-11-20.jsonl", "2026-11-21.jsonl.gz", "2026-11-19-late.jsonl"]):
        data = jsonl(rows(10 * night, 10))
        put(mill, name, gzip.compress(data) if name.endswith("gz") else data)
        report = mill.run()
        assert (report.exit_code, asked(mill), report.planned.new) == (0, 10, 10)
        assert mill.run().state == "nothing_to_do"
    assert mill.one("n") == list(range(30)), "rows keep their places"
    (mill.folder / "in" / "2026-11-20.jsonl").unlink()
    report = mill.run()
    assert (report.exit_code, asked(mill), report.planned.unchanged) == (0, 0, 20)
    mill.check_table(30)


def test_a_row_that_comes_again_in_another_file_is_the_same_row_or_a_repeat(mill: Mill) -> None:
    """A moved file costs nothing; the same rows in two files at once are asked as the two rows they are."""
    old = put(mill, "new/a.jsonl", jsonl(rows(0, 5)))
    mill.run()
    asked(mill)
    (mill.folder / "in" / "done").mkdir()
    old.rename(mill.folder / "in" / "done" / "a.jsonl.tmp")
    put(mill, "done/a.parquet", pa.Table.from_pylist(rows(0, 5)))
    report = mill.run()
    assert (report.exit_code, asked(mill), report.planned.unchanged) == (0, 0, 5), "not even in another format"
    put(mill, "z.parquet", pa.Table.from_pylist(rows(3, 4)))
    report = mill.run()
    assert (report.exit_code, asked(mill), report.planned.new) == (0, 4, 4)
    assert [row_id[-2:] == "-2" for row_id in mill.one("row_id")] == [False] * 5 + [True, True, False, False]


def test_parquet_files_with_other_columns_make_one_table(mill: Mill) -> None:
    """Design 5: a schema declared before the first row."""
    put(mill, "a.parquet", pa.table({"n": pa.array([0, 1], pa.int32()), "question": ["What?", "Why?"]}))
    more = {"question": pa.array(["Who?"]).dictionary_encode(), "n": pa.array([2**40]), "extra": [0.5]}
    put(mill, "b.parquet", pa.table(more))
    put(mill, "c.parquet", pa.table({"n": pa.array([], pa.int64()), "question": pa.array([], pa.string())}))
    assert mill.run().exit_code == 0
    assert mill.results("n, question, extra") == [(0, "What?", None), (1, "Why?", None), (2**40, "Who?", 0.5)]
    assert mill.query(f"SELECT DISTINCT typeof(n) FROM '{mill.out}/results/*.parquet'") == [("BIGINT",)]
    put(mill, "d.parquet", pa.table({"n": ["x"], "question": ["How?"]}))
    mill.key = "n"
    with pytest.raises(InputError, match=r"column 'n' is int64 in b\.parquet and string in d\.parquet"):
        mill.run()


def test_every_arrow_type_reaches_the_result_table(mill: Mill) -> None:
    """Design 5: the chosen input columns as they came."""
    tables = {f"c{number}": column(kind, value)["v"] for number, (kind, value, _) in enumerate(CELLS)}
    put(mill, "a.parquet", pa.table({"n": [0, 1], **tables}))
    mill.user = "What of {{ n }}, {{ c10 }}, {{ c30 }}?"
    assert mill.run().exit_code == 0
    found = pq.read_table(mill.out / "results" / "part-00000.parquet")
    for name, array in tables.items():
        counted = [column.cast(pa.int64()) if "[ns" in str(array.type) else column for column in (found[name], array)]
        assert repr(counted[0].to_pylist()) == repr(counted[1].to_pylist()), (name, array.type)


def test_a_cut_file_gives_the_rows_before_and_one_failure_until_it_is_whole(mill: Mill) -> None:
    """Promises 1 and 7: nothing lost in silence, and nothing paid twice when the file comes again."""
    whole = gzip.compress(jsonl(rows(0, 10)))
    put(mill, "a.jsonl.gz", whole[:-4])
    put(mill, "b.jsonl", jsonl(rows(10, 5)))
    report = mill.run()
    assert (report.exit_code, asked(mill), report.totals.rows_failed) == (1, 15, 1)
    [(number, code, message)] = mill.results("row_number, error_code, error_message")[10:11]
    assert (number, code) == (10, "unreadable")
    assert message.startswith("a.jsonl.gz line 11: the compressed data cannot be unpacked after line 10 (Truncated")
    put(mill, "a.jsonl.gz", whole)
    report = mill.run()
    assert (report.exit_code, asked(mill)) == (0, 0)


@pytest.mark.parametrize("ending", ["jsonl.gz", "jsonl.zst", "parquet"])
def test_a_kill_in_the_middle_of_many_files_loses_and_doubles_nothing(ending: str, mill: Mill) -> None:
    """Promise 1: the place in a compressed file is found again by reading forwards."""
    for file in range(4):
        records = rows(25 * file, 25, pad=os.urandom(200).hex())
        packed = {"jsonl.gz": gzip.compress, "jsonl.zst": zstd}
        data = packed[ending](jsonl(records)) if ending in packed else pa.Table.from_pylist(records)
        put(mill, f"{file}.{ending}", data)
    mill.output = {"rows_per_part": 10}
    mill.key = "n"
    for kill in ("admitted.committed:3", "spill.written:2", "admitted.committed:2"):
        code, said = mill.command(failpoint=kill)
        assert code == -9, said
    report = mill.run()
    assert report.exit_code == 0
    mill.check_table(100)
    assert mill.one("n") == list(range(100))
    mill.check_books(at_risk=-1)


@pytest.mark.parametrize("killed", [False, True], ids=["one process", "killed in between"])
def test_a_key_that_stands_twice_fails_the_later_row_over_files_and_kills(killed: bool, mill: Mill) -> None:
    """Promise 7: both places are named, whatever lay between them."""
    mill.key = "n"
    put(mill, "a.jsonl", jsonl(rows(0, 20)))
    put(mill, "b.jsonl.gz", gzip.compress(jsonl([*rows(20, 5), *rows(3, 1, other="text")])))
    mill.output = {"rows_per_part": 10}
    if killed:
        code, said = mill.command(failpoint="admitted.committed:2")
        assert code == -9, said
    report = mill.run()
    assert report.exit_code == 1
    mill.check_table(26)
    [row] = mill.results("row_id, error_kind, error_code, error_message")[25:]
    assert row[:3] == (repeated_key_id("3", 2), "input", "duplicate_key")
    assert row[3].startswith("b.jsonl.gz line 6: n '3' stands already at a.jsonl line 4; make the keys unique")
    assert mill.run().state == "nothing_to_do"
    put(mill, "c.jsonl", jsonl(rows(30, 1)))
    asked(mill)
    report = mill.run()
    assert (asked(mill), report.planned.new, report.planned.standing) == (1, 1, 1)


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_keys_of_all_kinds_are_told_apart_and_never_become_names(kind: str, mill: Mill) -> None:
    """Duplicate, missing, empty, long, alike but for case or type, and paths."""
    keys: list[Any] = ["a", "A", "../../x", "", None, "k" * 1_000_000, "1", "a", "é", "e\u0301"]
    records = [{"id": key, "n": n, "question": f"What of {n}?"} for n, key in enumerate(keys)]
    mill.key = "id"
    put(mill, f"a.{kind}", jsonl(records) if kind == "jsonl" else pa.Table.from_pylist(records))
    assert mill.run().exit_code == 1
    mill.check_table(len(keys))
    failed = mill.results("n, error_code")
    assert [row for row in failed if row[1]] == [(3, "no_key"), (4, "no_key"), (7, "duplicate_key")]
    assert not [path for path in mill.folder.parent.rglob("*") if path.name in ("x", "a-2")]


def test_a_row_of_16_megabytes_is_asked_and_a_larger_one_is_not(mill: Mill) -> None:
    """Design 4: max_row_bytes; the larger one is never held."""
    mill.user = "{{ question }} {{ text | length }}"
    lines = [{"n": 0, "question": "?", "text": "x" * 15_900_000}, {"n": 1, "question": "?", "text": "x" * 16_100_000}]
    put(mill, "a.jsonl.gz", gzip.compress(jsonl([*lines, {"n": 2, "question": "?", "text": ""}]), 1))
    assert mill.run().exit_code == 1
    assert mill.results("n, error_code") == [(0, None), (None, "too_long"), (2, None)]


def request(number: int, **body: Any) -> dict[str, Any]:
    """A line of a batch file."""
    content = {"model": "glm-4", "messages": [{"role": "user", "content": f"What of {number}?"}], **body}
    return {"custom_id": f"request-{number}", "method": "POST", "url": "/v1/chat/completions", "body": content}


@pytest.mark.parametrize("lane", ["sync", "task"])
def test_a_batch_file_runs_as_it_is(lane: str, make: Make) -> None:
    """Design 4: rows are known by custom_id, and no prompt is needed."""
    mill = make(lane=lane)
    mill.input = "requests.jsonl"
    mill.write([request(n, temperature=0, max_tokens=50) for n in range(20)])

    def as_batch(text: str) -> str:
        text = text.replace('path = "requests.jsonl"', 'path = "requests.jsonl"\nformat = "openai-batch"')
        text = text.replace('[prompt]\nuser = "{{ question }}"\n', "")
        return text.replace("[limits]", "parameters = { temperature = 0.0, max_tokens = 50 }\n[limits]")

    rewrite(mill, as_batch)
    report = mill.run()
    assert (report.exit_code, report.totals.rows) == (0, 20)
    assert mill.one("row_id") == mill.one("custom_id") == [f"request-{n}" for n in range(20)]
    mill.check_books()
    assert mill.run().state == "nothing_to_do"


def test_lines_of_a_batch_file_that_ask_for_something_else_fail_until_they_agree(mill: Mill) -> None:
    """FIELD 29. Never asked in silence with another model, or without a parameter; put right, they run alone."""
    mill.input = "requests.jsonl"
    wrong = [request(1, model="gpt-5"), request(2, top_p=0.5), {**request(3), "url": "/v1/embeddings"}, {"text": "x"}]
    mill.write([request(0), *wrong, request(0)])
    rewrite(
        mill, lambda text: text.replace("[input]", '[input]\nformat = "openai-batch"').replace("user =", "system =")
    )
    mill.user = "Be short."
    assert (mill.run().exit_code, asked(mill)) == (1, 1)
    found = mill.results("row_id, error_code")
    codes = [None, "other_model", "other_parameters", "other_endpoint", "unreadable", "duplicate_key"]
    assert [code for _, code in found] == codes
    assert [row_id for row_id, _ in found[:4]] == [f"request-{n}" for n in range(4)]
    mill.write([request(n) for n in range(4)])
    report = mill.run()
    assert (report.exit_code, asked(mill), report.planned.changed) == (0, 3, 3)
    assert mill.results("row_id, error_code") == [(f"request-{n}", None) for n in range(4)]


@pytest.mark.parametrize("name", ["new\nline.jsonl", "-rf.jsonl", " blank .jsonl", os.fsdecode(b"\xe9\x1b[31m.jsonl")])
def test_a_file_of_any_name_is_read_and_named_in_failures(name: str, mill: Mill) -> None:
    """And never written to a terminal as it is."""
    put(mill, name, jsonl(rows(0, 2)) + b"{broken\n")
    assert mill.run().exit_code == 1
    mill.check_table(3)
    assert mill.one("error_message")[2].startswith(os.fsencode(name).decode("utf-8", "backslashreplace") + " line 3: ")


def test_a_sample_is_drawn_over_all_files(mill: Mill) -> None:
    """Design 4: --shuffle."""
    for file in range(5):
        put(mill, f"{file}.jsonl", jsonl(rows(10 * file, 10)))
    assert mill.run(limit=12, sample_seed=7).exit_code == 0
    found = mill.one("n")
    assert (len(found), asked(mill)) == (12, 12)
    assert found == sorted(found)
    assert len({n // 10 for n in found}) > 2
    assert (mill.run().exit_code, asked(mill)) == (0, 38)
    mill.check_table(50)
