"""A run from its input to its answers and its bill, in every lane."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.system.runs.conftest import LANES, ROOT, Make, Mill

WORDS = ("card", "transfer", "refund", "limit", "balance", "currency", "top up")


def problems(count: int) -> list[dict[str, Any]]:
    return [
        {
            "question": f"A shop sells {n} boxes with {n + 3} pens each.\nHow many pens — 多少支? 😀",
            "answer": f"{n}*{n + 3} = <<{n * (n + 3)}>>\n#### {n * (n + 3)}",
            "status": n % 3 if n % 5 else None,
            "cost": n / 7,
            "source": {"page": n, "tags": ["a", None], "deep": {"x": [1, {"y": 2**60 + n}]}},
            "list": [n, n + 1],
            "flag": n % 2 == 0,
        }
        for n in range(count)
    ]


@pytest.mark.parametrize(("provider", "lane"), LANES)
def test_every_jsonl_row_has_one_answer_in_order_beside_its_own_columns(provider: str, lane: str, make: Make) -> None:
    """Promises 1 and 5: nothing lost, input columns as they came, books equal to the provider's."""
    mill = make(provider=provider, lane=lane)
    rows = problems(150)
    mill.write(rows)
    mill.output = {"rows_per_part": 40}
    report = mill.run()
    assert (report.exit_code, report.state, report.totals.rows_ok) == (0, "finished", 150)
    mill.check_table(150)
    mill.check_books()
    mill.check_sums()
    table = pq.read_table(mill.out / "results")
    assert table.column("question").to_pylist() == [row["question"] for row in rows]
    assert table.column("input_answer").to_pylist() == [row["answer"] for row in rows]
    assert table.column("input_status").to_pylist() == [row["status"] for row in rows]
    assert table.column("input_cost").to_pylist() == [row["cost"] for row in rows]
    assert [json.loads(text) for text in table.column("source").to_pylist()] == [row["source"] for row in rows]
    assert table.column("list").to_pylist() == [row["list"] for row in rows]
    assert table.column("flag").to_pylist() == [row["flag"] for row in rows]
    assert table.column("input_rest").null_count == 150
    assert {(row[0], row[1], row[2]) for row in mill.results("status, lane, provider")} == {("ok", lane, provider)}
    assert all(mill.one("answer"))
    assert mill.pending() == []
    assert len(mill.parts()) == 4
    assert sum(Decimal(record["cost"]) for record in mill.books()) == mill.calls("sum(cost)")[0][0]


@pytest.mark.parametrize(("provider", "lane"), LANES)
def test_parquet_input_keeps_its_types_in_the_result_table(
    provider: str, lane: str, make: Make, tmp_path: Path
) -> None:
    """Design 5: chosen input columns as they came."""
    mill = make(provider=provider, lane=lane)
    mill.input, mill.key, mill.user = "bank.parquet", "query_id", "Label this: {{ text }}"
    count = 130
    table = pa.table(
        {
            "text": [f"My {WORDS[n % 7]} number {n} does not work" for n in range(count)],
            "category": pa.array([WORDS[n % 7] for n in range(count)]).dictionary_encode(),
            "query_id": [f"q{n}" for n in range(count)],
            "at": pa.array(range(count), pa.timestamp("ms", "Asia/Shanghai")),
            "amount": pa.array([Decimal(n).scaleb(-2) for n in range(count)], pa.decimal128(12, 2)),
            "model": pa.array([n % 4 for n in range(count)], pa.uint8()),
            "nested": pa.array([{"a": [n], "b": None if n % 2 else "x"} for n in range(count)]),
        }
    )
    mill.folder.mkdir(exist_ok=True)
    pq.write_table(table, mill.folder / "bank.parquet", row_group_size=50)
    mill.output = {"rows_per_part": 50}
    assert mill.run().exit_code == 0
    mill.check_table(count)
    mill.check_books()
    mill.check_sums()
    found = pa.concat_tables(pq.read_table(path) for path in sorted((mill.out / "results").iterdir()))
    for name in ("text", "category", "query_id", "at", "amount", "nested"):
        assert found.schema.field(name).type == table.schema.field(name).type, name
        assert found.column(name).to_pylist() == table.column(name).to_pylist(), name
    assert found.column("input_model").to_pylist() == table.column("model").to_pylist()
    assert found.column("row_id").to_pylist() == table.column("query_id").to_pylist()


def test_all_lanes_give_the_same_answers(make: Make) -> None:
    """Promise 3: the lane is how a request travels, not what is asked."""
    answers = {}
    for lane in ("sync", "task"):
        mill = make(lane=lane, name=lane)
        mill.questions(60)
        assert mill.run().exit_code == 0
        answers[lane] = mill.results("n, answer, row_id, fingerprint, total_tokens, cost")
    assert answers["sync"] == answers["task"]


def test_real_data_goes_through_where_it_lies_on_this_machine(make: Make) -> None:
    """Ours: two public data sets, when they are there."""
    data = ROOT.parent / "shared" / "data"
    if not (data / "gsm8k.jsonl").exists():
        pytest.skip("the data sets are not part of the project")
    mill = make()
    lines = (data / "gsm8k.jsonl").read_text("utf-8").splitlines(keepends=True)[:200]
    (mill.folder / "rows.jsonl").write_text("".join(lines), encoding="utf-8")
    assert mill.run().exit_code == 0
    mill.check_table(200)
    mill.check_books()
    assert mill.one("input_answer") == [json.loads(line)["answer"] for line in lines]
    bank = make(name="bank", lane="task")
    bank.input, bank.user = "bank.parquet", "{{ text }}"
    pq.write_table(pq.read_table(data / "banking77.parquet").slice(0, 200), bank.folder / "bank.parquet")
    assert bank.run().exit_code == 0
    bank.check_table(200)
    bank.check_books()


TOOLS = (ROOT / "jobs" / "quickstart" / "tools.py").read_text(encoding="utf-8")


@pytest.mark.parametrize(("provider", "lane"), LANES)
def test_a_tool_loop_gives_the_exact_product_of_large_numbers(provider: str, lane: str, make: Make) -> None:
    """Design 7: an integer literal for a float parameter stays an int."""
    mill = make(provider=provider, lane=lane)
    mill.tools = TOOLS
    mill.write([{"n": n, "question": f"{1250908070 + n} 乘以 42525463 等于多少?"} for n in range(20)])
    report = mill.run()
    assert report.exit_code == 0
    assert str(1250908070 * 42525463) == "53195444847186410"
    for n, answer, messages, turns, calls, tools in mill.results("n, answer, messages, turns, calls, tool_calls"):
        product = str((1250908070 + n) * 42525463)
        assert product in answer
        asked, done, said = json.loads(messages)
        call = asked["tool_calls"][0]
        assert json.loads(call["function"]["arguments"]) == {"a": 1250908070 + n, "b": 42525463}
        assert done == {"role": "tool", "content": product, "tool_call_id": call["id"]}
        assert said["content"] == answer
        assert (turns, calls, tools) == (2, 2, 1)
    mill.check_books()
    mill.check_sums()


@pytest.mark.parametrize("lane", ["sync", "task"])
def test_a_row_still_asking_for_tools_after_max_turns_fails_as_tool_loop(lane: str, make: Make) -> None:
    """Promise 7: a looping model is one failed row."""
    mill = make(lane=lane)
    mill.tools, mill.max_turns = TOOLS, 1
    mill.write([{"n": 0, "question": "What is 3 times 4?"}, {"n": 1, "question": "Say hello."}])
    assert mill.run().exit_code == 1
    found = mill.results("n, status, error_kind, error_code, retryable, tool_calls, turns")
    assert found == [(0, "failed", "tool_loop", "max_turns", False, 1, 1), (1, "ok", None, None, None, 0, 1)]
    mill.check_books()


@pytest.mark.parametrize("lane", ["sync", "task"])
def test_the_error_of_a_crashing_tool_goes_to_the_model(lane: str, make: Make) -> None:
    """Promise 7: the run goes on, the model reads what happened."""
    mill = make(lane=lane)
    mill.tools = TOOLS
    mill.write([{"n": 0, "question": "What is 3 divided by 0?"}])
    assert mill.run().exit_code == 0
    [(answer, messages)] = mill.results("answer, messages")
    assert json.loads(json.loads(messages)[1]["content"]) == {"error": "ZeroDivisionError: division by zero"}
    assert "division by zero" in answer


def test_the_output_may_keep_some_columns_and_the_whole_conversation_or_none(mill: Mill) -> None:
    """Design 4: output.columns and output.messages."""
    mill.write([{"n": 1, "question": "Hello?", "secret": "x"}])
    mill.output = {"columns": ["n"], "messages": "all"}
    assert mill.run().exit_code == 0
    table = pq.read_table(mill.out / "results")
    assert table.column_names[:3] == ["n", "input_rest", "row_id"]
    assert [turn["role"] for turn in json.loads(table.column("messages")[0].as_py())] == ["user", "assistant"]
