"""Input nobody would write on purpose: every row one result, the run goes on."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.system.runs.conftest import GLM_LANES, Make, Mill

KEYS = [
    '"plain"',
    '"half \\ud83d pair"',
    '"half \\ud83e pair"',
    '"nul \\u0000 one"',
    '"nul \\u0000 two"',
    '"nul "',
    '"' + "long" * 100_000 + '"',
    "1",
    "1.0",
    "true",
    '["a", 1]',
    '{"deep": {"er": "\\ud83d"}}',
    '"\\u202e\\u2028 😀"',
    '"../../etc/passwd"',
    '"\'; DROP TABLE entries; --"',
    "1e400",
    "123456789012345678901234567890",
]


@pytest.mark.parametrize("lane", GLM_LANES)
def test_keys_of_any_kind_are_one_row_each(lane: str, make: Make) -> None:
    """Promise 7: a key is free text."""
    mill = make(lane=lane)
    mill.key = "id"
    lines = [f'{{"id": {key}, "n": {n}, "question": "What of {n}?"}}' for n, key in enumerate(KEYS)]
    (mill.folder / mill.input).write_text("\n".join(lines) + "\n", encoding="utf-8")
    report = mill.run()
    assert report.exit_code in (0, 1)
    mill.check_table(len(KEYS))
    failed = [row for row in mill.results("row_number, error_code, error_message") if row[1]]
    # 2: half a pair has no UTF-8, so both keys are "half \ufffd pair"; 15: a number without an end is no JSON.
    assert {row[0] for row in failed} <= {2, 15}, failed
    assert len(mill.books()) == len(KEYS) - len(failed)
    assert mill.run().state == "nothing_to_do"
    mill.limits["concurrency"] = 3
    again = mill.run()
    assert (again.totals.rows, again.planned.new) == (0, 0)


VALUES = [
    '"half \\ud83d pair"',
    '"nul \\u0000 inside"',
    "null",
    "1e400",
    "-0.0",
    "123456789012345678901234567890",
    "[" * 200 + "]" * 200,
    '{"": {"": ""}}',
    '"' + "long" * 200_000 + '"',
    '"{{ question }} {% raw %}"',
    "[[], {}, [null]]",
    '[1, "two", 3.0]',
]


@pytest.mark.parametrize("lane", GLM_LANES)
def test_values_of_any_kind_reach_the_prompt_and_the_table(lane: str, make: Make) -> None:
    """Promise 7, and input columns as they came."""
    mill = make(lane=lane)
    mill.user = "Say {{ value }}."
    lines = [f'{{"n": {n}, "value": {value}, "": 1, "Answer": 2, "ANSWER": 3}}' for n, value in enumerate(VALUES)]
    lines.append('{"n": 12, "value": ' + "[" * 50_000 + "]" * 50_000 + "}")
    lines.append('{"n": 13, "value": NaN}')
    lines.append('{"n": 14, "value": "twice", "value": "really"}')
    (mill.folder / mill.input).write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert mill.run().exit_code in (0, 1)
    mill.check_table(15)
    failed = [row for row in mill.results("row_number, error_kind, error_code, error_message") if row[2]]
    assert {row[0] for row in failed} <= {2, 3, 12, 13}, failed
    assert [row[1:3] for row in failed if row[0] == 2] == [("input", "empty")], "a null says nothing"
    mill.check_books()
    names = pq.read_schema(mill.out / "results" / "part-00000.parquet").names
    assert len({name.lower() for name in names}) == len(names), names
    assert mill.run().state == "nothing_to_do"


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.parquet"])
def test_an_input_without_rows_gives_an_empty_table(name: str, mill: Mill) -> None:
    """Exit 0: every row of this run is ok."""
    mill.input = name
    if name.endswith("parquet"):
        pq.write_table(pa.table({"question": pa.array([], pa.string())}), mill.folder / name)
    else:
        (mill.folder / name).write_text("\n\n")
        mill.user = "Hello"
    report = mill.run()
    assert (report.exit_code, report.totals.rows, mill.parts()) == (0, 0, [])
    assert mill.run().state == "nothing_to_do"


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_column_of_messages_is_asked_as_it_is(kind: str, mill: Mill) -> None:
    """Design 4: prompt.messages."""
    chats: list[list[dict[str, Any]]] = [
        [{"role": "system", "content": "Short."}, {"role": "user", "content": f"What of {n}?"}] for n in range(10)
    ]
    chats[4] = []
    chats[5] = [{"role": "nobody", "content": "x"}]
    rows = [{"n": n, "chat": chat} for n, chat in enumerate(chats)]
    mill.write(rows)
    if kind == "parquet":
        mill.input = "rows.parquet"
        pq.write_table(pa.Table.from_pylist(rows), mill.folder / mill.input)
    job = mill.save() / "job.toml"
    job.write_text(job.read_text().replace('user = "{{ question }}"', 'messages = "chat"'))
    mill.save = lambda: mill.folder  # type: ignore[method-assign]  # the job is written by hand
    assert mill.run().exit_code == 1
    mill.check_table(10)
    assert [n for n, status in mill.results("n, status") if status == "failed"] == [4, 5]


def test_a_tool_that_exits_prints_or_returns_nonsense_is_its_rows_matter(mill: Mill) -> None:
    """Promise 7: a crashing tool becomes what the model reads."""
    mill.tools = (
        "import sys\nfrom batch import tool\n\n\n@tool\ndef add(a: int, b: int) -> float:\n"
        '    """Add two numbers."""\n    if a == 1:\n        sys.exit(3)\n    if a == 2:\n        return float("nan")\n'
        "    if a == 3:\n        raise KeyboardInterrupt\n    if a == 4:\n        return object()\n"
        '    if a == 5:\n        return "x" * 10_000_000\n    return a + b\n'
    )
    mill.write([{"n": n, "question": f"What is {n} plus 1?"} for n in range(8)])
    assert mill.run().exit_code == 0
    mill.check_table(8)
    errors = [json.loads(messages)[1]["content"][:30] for messages in mill.one("messages")]
    assert sum(error.startswith('{"error"') for error in errors) == 4, errors


def test_rows_of_some_megabytes_go_through_in_ranges(mill: Mill) -> None:
    """Design 2: a range ends at its bytes, too."""
    mill.write([{"n": n, "question": f"What of {n}?", "text": "x" * 3_000_000} for n in range(12)])
    assert mill.run().exit_code == 0
    mill.check_table(12)
