"""Whole runs over files that do not agree, night after night, and what their tables then hold."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.system.runs.conftest import Make, Mill
from tests.system.runs.test_inputs import asked, put

SAID = pa.list_(pa.struct({"role": pa.string(), "content": pa.string()}))
NAMED = pa.list_(pa.struct({"name": pa.string(), "content": pa.string(), "role": pa.string()}))


def night(mill: Mill, name: str, **columns: Any) -> tuple[int, int]:
    """A file more, and a run: its exit code, and how many rows were asked."""
    put(mill, name, pa.table(columns))
    report = mill.run()
    return report.exit_code, asked(mill)


def test_nights_whose_files_do_not_agree_ask_only_what_is_new(mill: Mill) -> None:
    """FIELD 36: a number becomes a float, a message gets a name, an unread column changes its type: exit 0, one table."""
    mill.key, mill.user = "n", "Say {{ count }} to {{ who[0].content }}"
    ann = [{"role": "user", "content": "Ann"}]
    first = {"n": [1], "count": [7], "who": pa.array([ann], SAID), "note": ["x"]}
    assert night(mill, "1.parquet", **first) == (0, 1)
    bob = [{"role": "user", "content": "Bob", "name": "b"}]
    second = {"n": [2, 3], "count": [8.0, 0.5], "who": pa.array([bob, bob], NAMED), "note": [5, None]}
    assert night(mill, "2.parquet", **second) == (0, 2)
    assert night(mill, "3.parquet", n=[4], count=[9]) == (1, 0), "a prompt that reads what is not there fails its row"
    sent = [row["answer"] for row in pq.read_table(mill.out / "results").to_pylist() if row["answer"]]
    assert [text.split('"')[1] for text in sent] == ["Say 7 to Ann", "Say 8 to Bob", "Say 0.5 to Bob"]
    found = mill.results("n, count, who[1].name, note, input_rest")
    assert found == [
        (1, 7, None, "x", None),
        (2, 8, "b", None, '{"note":5}'),
        (3, None, "b", None, '{"count":0.5}'),
        (4, 9, None, None, None),
    ]
    mill.check_table(4)
    mill.check_sums()


def test_bytes_are_asked_as_text_and_known_by_it(mill: Mill) -> None:
    """FIELD 36: no bytes in Python's spelling go out, and the table has the bytes as they came."""
    mill.key, mill.user = "id", "Say {{ text }}"
    columns = {"id": pa.array([b"k1", b"k\xff"]), "text": pa.array(["hé".encode(), b"x"])}
    many = {name: pa.concat_arrays([array[:1]] * 20 + [array[1:]]) for name, array in columns.items()}
    ids = pa.array([f"k{n}".encode() for n in range(20)] + [b"k\xff"])
    assert night(mill, "1.parquet", **{**many, "id": ids}) == (1, 20)
    rows = mill.results("row_id, id, answer, error_code")
    assert rows[1][:2] == ("k1", b"k1")
    assert rows[1][2].split('"')[1] == "Say hé"
    assert (rows[20][0].startswith("bad-"), rows[20][3]) == (True, "unreadable")


def test_one_mixed_row_leaves_text_as_it_is(mill: Mill) -> None:
    """FIELD 35: the table has `fine`, not `"fine"` in quotes, and every prompt the value as it came."""
    rows: list[Any] = ["fine", {"k": 1}, "good", 3, None]
    mill.user = "Say {{ v }}"
    mill.prompting["empty"] = "send"
    mill.write([{"n": n, "v": value} for n, value in enumerate(rows)])
    assert mill.run().exit_code == 0
    found = mill.results("v, input_rest, answer")
    assert [row[:2] for row in found] == [
        ("fine", None),
        (None, '{"v":{"k":1}}'),
        ("good", None),
        (None, '{"v":3}'),
        (None, None),
    ]
    assert [row[2].split('"')[1] for row in found] == ["Say fine", "Say {'k': 1}", "Say good", "Say 3", "Say"]
    assert mill.run().state == "nothing_to_do"


@pytest.mark.parametrize(
    "cells", [["x", ""], ["[1]", "null"], [1, 2], [b"\xff", b"{}"], ['{"q": "another"}', None], [{"q": "other"}, None]]
)
def test_a_column_input_rest_of_the_files_themselves_is_one_like_any_other(mill: Mill, cells: list[Any]) -> None:
    """FIELD 36. It need not hold JSON, and what stands in it never takes the place of another column."""
    mill.key, mill.user = "n", "Say {{ q }}"
    assert night(mill, "1.parquet", n=[1, 2], q=["a", "b"], input_rest=pa.array(cells)) == (0, 2)
    rows = pq.read_table(mill.out / "results").to_pylist()
    assert [row["answer"].split('"')[1] for row in rows] == ["Say a", "Say b"]
    assert [row["input_rest"] for row in rows] == cells
    assert night(mill, "2.parquet", n=[3], q=["c"]) == (0, 1)


def test_the_table_of_a_job_is_the_input_of_another(mill: Mill, make: Make) -> None:
    """FIELD 36. Its `input_rest` is a column like any other there: it can be asked, and goes on into the next table."""
    mill.write([{"n": n, "question": "Hello?"} for n in (1, 2, 3, "four")])
    assert mill.run().exit_code == 0
    second = make(name="second")
    second.input, second.user = str(mill.out / "results"), "{{ question }} {{ input_rest }}"
    assert second.run().exit_code == 0
    assert second.one("input_rest") == [None, None, None, '{"n":"four"}']
    assert "four" in second.one("answer")[3]
