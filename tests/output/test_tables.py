"""`batch.output.tables`: schemas as promised, and records that become exactly the right values."""

import json
import random
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.core.errors import InputError
from batch.core.records import COST_DIGITS, COST_UNIT, NO_USAGE, Call, Outcome, Sums, Usage, cost_decimal
from batch.labels.schema import LabelSchema
from batch.output.tables import (
    CALL_SCHEMA,
    CallRow,
    ResultRow,
    call_batch,
    renamed,
    result_batch,
    result_schema,
    unwritable,
)

T0 = 1_790_000_000_000_000
RUN = "20261121T020000123Z-a1b2"
INPUTS = pa.schema([("ticket_id", pa.int64()), ("subject", pa.string())])
RESULT_COLUMNS = [
    "row_id",
    "row_number",
    "variant",
    "run",
    "status",
    "answer",
    "reasoning",
    "finish_reason",
    "flags",
    "messages",
    "turns",
    "calls",
    "tool_calls",
    "tool_errors",
    "unknown_calls",
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "cost",
    "currency",
    "provider",
    "model_asked",
    "model",
    "lane",
    "endpoint",
    "fingerprint",
    "deduplicated_from",
    "error_kind",
    "error_code",
    "error_message",
    "retryable",
    "first_sent_at",
    "settled_at",
    "latency_ms",
]
CALL_COLUMNS = [
    "client_call_id",
    "run",
    "job",
    "row_id",
    "row_number",
    "variant",
    "turn",
    "attempt",
    "sample",
    "purpose",
    "provider",
    "endpoint",
    "lane",
    "state",
    "http_status",
    "error_kind",
    "error_code",
    "model_asked",
    "model_served",
    "service_tier",
    "request_id",
    "task_id",
    "batch_id",
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "cache_write_tokens",
    "usage_estimated",
    "finish_reason",
    "cost",
    "currency",
    "price_id",
    "cost_bound",
    "tags",
    "sent_at",
    "answered_at",
    "wait_ms",
    "latency_ms",
    "first_chunk_ms",
    "polls",
    "longest_gap_ms",
    "fingerprint",
]


def call(**changes: object) -> Call:
    made = Call(
        client_call_id="c-1",
        turn=0,
        attempt=0,
        provider="glm",
        lane="sync",
        state="answered",
        model_asked="glm-4",
        sent_at_us=T0,
        answered_at_us=T0 + 500_000,
        usage=Usage(10, 5, 15, 2),
        cost=COST_UNIT // 8,
        currency="CNY",
    )
    return msgspec.structs.replace(made, **changes)


def outcome(*calls: Call, **changes: object) -> Outcome:
    sums = Sums()
    for one in calls:
        sums.add(one)
    made = Outcome(
        status="ok",
        sums=sums,
        lane="sync",
        provider="glm",
        model_asked="glm-4",
        settled_at_us=T0 + 750_000,
        answer="yes",
        finish_reason="stop",
    )
    return msgspec.structs.replace(made, **changes)


def failed(**changes: object) -> Outcome:
    kept = {"status": "failed", "answer": None, "finish_reason": None, "error_kind": "input", "retryable": False}
    return outcome(**kept | changes)


def row(number: int, result: Outcome, variant: str | None = None) -> ResultRow:
    return ResultRow(f"t-{number}", number, variant, RUN, number.to_bytes(16, "big"), result)


def inputs_for(count: int) -> pa.Table:
    return pa.table({"ticket_id": list(range(count)), "subject": [f"s{n}" for n in range(count)]}, schema=INPUTS)


def built(*outcomes: Outcome) -> list[dict[str, object]]:
    schema = result_schema(INPUTS, None)
    batch = result_batch(schema, inputs_for(len(outcomes)), [row(n, one) for n, one in enumerate(outcomes)])
    batch.validate(full=True)
    rows: list[dict[str, object]] = batch.to_pylist()
    return rows


def booked(*calls: Call) -> list[dict[str, object]]:
    batch = call_batch([CallRow("t-1", 1, None, one) for one in calls], {"team": "support"}, run=RUN, job="tickets")
    batch.validate(full=True)
    rows: list[dict[str, object]] = batch.to_pylist()
    return rows


def test_the_book_tells_what_a_row_asked_where_the_provider_keeps_the_answer() -> None:
    """Behind the id of a task or a batch; a hash for every call would nearly double the size of the book."""
    calls = [call(task_id="t"), call(batch_id="b"), call()]
    batch = call_batch([CallRow("t-1", 1, None, one, bytes(15) + b"\n") for one in calls], {}, run=RUN, job="tickets")
    assert batch.column("fingerprint").to_pylist() == ["0" * 31 + "a", "0" * 31 + "a", None]


def test_results_are_the_chosen_input_columns_and_then_ours_in_the_promised_order() -> None:
    """The design fixes the names and the order of `results`."""
    assert [*INPUTS.names, *RESULT_COLUMNS] == result_schema(INPUTS, None).names
    assert ["subject", *RESULT_COLUMNS] == result_schema(INPUTS, ["subject"]).names
    assert result_schema(INPUTS, []).metadata == {b"promptmill.schema_version": b"1"}


def test_the_book_of_account_has_exactly_the_promised_columns() -> None:
    """The design fixes the names and the order of `calls`."""
    assert CALL_SCHEMA.names == CALL_COLUMNS
    assert CALL_SCHEMA.metadata == {b"promptmill.schema_version": b"1"}


def test_an_input_column_with_one_of_our_names_is_renamed_and_keeps_its_values() -> None:
    """Nothing of the input is lost, and DuckDB, blind to case, can still tell the columns apart."""
    names = ["status", "Cost", "input_status", "text"]
    inputs = pa.table({name: [name] for name in names})

    assert renamed(inputs.schema) == {"status": "input_status_2", "Cost": "input_Cost"}

    schema = result_schema(inputs.schema, None)
    lower = [name.lower() for name in schema.names]
    assert len(lower) == len(set(lower))
    (found,) = result_batch(schema, inputs, [row(0, outcome())]).to_pylist()
    assert [found[name] for name in ("input_status_2", "input_Cost", "input_status", "text")] == names
    assert found["status"] == "ok"


def test_renamed_columns_are_found_again_after_the_schema_was_stored() -> None:
    """The schema lives in the ledger between runs; the old names travel with it."""
    inputs = pa.table({"model": ["x"]})
    stored = pa.ipc.read_schema(pa.py_buffer(result_schema(inputs.schema, None).serialize().to_pybytes()))
    assert result_batch(stored, inputs, [row(0, outcome())]).column("input_model").to_pylist() == ["x"]


def test_a_missing_or_ambiguous_column_is_refused_by_name() -> None:
    """Refused before anything is sent, with the nearest name."""
    with pytest.raises(InputError, match=r"no column 'subjct'. Did you mean subject\?"):
        result_schema(INPUTS, ["subjct"])
    twice = pa.schema([("a", pa.string()), ("a", pa.string()), ("b", pa.string())])
    with pytest.raises(InputError, match="'a' appears 2 times"):
        result_schema(twice, None)
    assert result_schema(twice, ["b"]).names[0] == "b"


def test_a_column_parquet_cannot_hold_is_left_out_and_named() -> None:
    """A struct without fields would otherwise end the run at its first publication."""
    inputs = pa.schema([("a", pa.string()), ("e", pa.struct([])), ("n", pa.list_(pa.struct([]))), ("z", pa.null())])
    assert list(unwritable(inputs)) == ["e", "n"]
    assert result_schema(inputs, None).names[:2] == ["a", "z"]


def test_input_columns_may_be_null_and_carry_no_field_ids() -> None:
    """An unreadable line has no input values, and the ids of the source's files mean nothing in ours."""
    source = pa.schema([pa.field("a", pa.string(), nullable=False, metadata={"PARQUET:field_id": "7", "unit": "kg"})])
    field = result_schema(source, None).field("a")
    assert field.nullable
    assert field.metadata == {b"unit": b"kg"}


def test_a_range_without_a_declared_column_has_nulls_and_a_narrower_type_is_cast() -> None:
    """A later file of the input may lack a column, or hold it as int32."""
    schema = result_schema(INPUTS, None)
    batch = result_batch(schema, pa.table({"ticket_id": pa.array([7], pa.int32())}), [row(0, outcome())])
    (found,) = batch.to_pylist()
    assert (found["ticket_id"], found["subject"]) == (7, None)


def test_a_row_that_was_answered_carries_the_sums_of_its_calls() -> None:
    """Tokens, cost and times of a row are those of its calls since it was admitted."""
    (found,) = built(outcome(call(), call(turn=1, usage=Usage(20, 5, 25), state="answered"), call(state="unknown")))
    assert (found["calls"], found["turns"], found["unknown_calls"]) == (3, 2, 1)
    assert (found["prompt_tokens"], found["cached_tokens"], found["reasoning_tokens"]) == (40, 4, None)
    assert found["cost"] == Decimal("0.375")
    assert found["latency_ms"] == 750
    assert found["fingerprint"] == "0" * 32
    assert found["flags"] == []


def test_a_row_that_was_never_sent_has_no_times_and_no_sums() -> None:
    """Unknown is null, never 0."""
    (found,) = built(failed())
    assert (found["first_sent_at"], found["latency_ms"], found["cost"], found["total_tokens"]) == (None,) * 4
    assert found["settled_at"] is not None
    assert (found["retryable"], found["error_kind"], found["calls"]) == (False, "input", 0)


def test_latency_is_never_negative_when_the_wall_clock_was_set_back() -> None:
    """Wall time is only written down; it may jump."""
    (found,) = built(outcome(call(), settled_at_us=T0 - 5))
    assert found["latency_ms"] == 0


def test_a_latency_that_was_measured_stands_above_one_by_the_wall_clock() -> None:
    """FIELD 45. The wall clock may have been set while the row was under way, forth as well as back."""
    (found,) = built(outcome(call(), latency_ms=43, settled_at_us=T0 + 3_600_000_000))
    assert found["latency_ms"] == 43


def test_a_call_without_usage_has_null_tokens_beside_one_with_usage() -> None:
    """Only `unknown` and answers without usage are null; refused calls are booked with zeros."""
    known, unknown, refused = booked(
        call(), call(state="unknown", usage=None, cost=None), call(state="refused", usage=NO_USAGE, cost=0)
    )
    assert (known["prompt_tokens"], known["reasoning_tokens"]) == (10, None)
    assert (unknown["prompt_tokens"], unknown["cost"], unknown["usage_estimated"]) == (None, None, False)
    assert (refused["prompt_tokens"], refused["cache_write_tokens"], refused["cost"]) == (0, 0, 0)
    assert known["tags"] == [("team", "support")]


def test_no_rows_make_an_empty_batch_of_the_same_schema() -> None:
    """A publication may have calls and no rows, or rows and no calls."""
    assert call_batch([], {}, run=RUN, job="tickets").schema == CALL_SCHEMA
    schema = result_schema(INPUTS, None)
    assert result_batch(schema, inputs_for(0), []).schema == schema


def test_inputs_and_outcomes_of_different_length_are_refused() -> None:
    """A shifted column would give every row its neighbour's answer."""
    with pytest.raises(ValueError, match="2 input rows for 1 outcomes"):
        result_batch(result_schema(INPUTS, None), inputs_for(2), [row(0, outcome())])


@given(st.lists(st.none() | st.integers(0, 10**38 - 1), max_size=20))
def test_costs_are_exact_up_to_38_digits(costs: list[int | None]) -> None:
    """Money is exact decimal arithmetic, also where a float would round."""
    found = booked(*[call(cost=cost) for cost in costs])
    exact = [None if cost is None else Decimal(f"{cost}E-{COST_DIGITS}") for cost in costs]
    assert [line["cost"] for line in found] == exact


@pytest.mark.parametrize("cost", [-1, 10**38])
def test_a_cost_that_cannot_be_is_refused(cost: int) -> None:
    """Costs come from our own prices; a negative one is a bug, not data."""
    with pytest.raises(ValueError, match="cannot be"):
        booked(call(cost=1), call(cost=cost))


@given(st.text(st.characters(codec=None), max_size=20))
def test_any_text_a_server_can_send_becomes_valid_text(text: str) -> None:
    """Half a surrogate pair becomes U+FFFD; every valid character stays as it was."""
    (found,) = built(outcome(answer=text, flags=(text,)))
    joined = re.sub("[\ud800-\udbff][\udc00-\udfff]", lambda m: json.loads(json.dumps(m[0])), text)
    expected = re.sub("[\ud800-\udfff]", "\ufffd", joined)
    assert found["answer"] == expected
    assert found["flags"] == [expected]


def test_half_surrogate_pairs_do_not_spoil_their_neighbours() -> None:
    """Also in tags, which come from the job, and in the error text of a lying server."""
    good, bad = built(outcome(answer="fine 😀"), outcome(answer="a\ud800b", error_message="\udc00"))
    assert (good["answer"], bad["answer"], bad["error_message"]) == ("fine 😀", "a\ufffdb", "\ufffd")
    batch = call_batch(
        [CallRow("t", 0, None, call(model_served="\ud800"))], {"k\ud800": "\udfff"}, run=RUN, job="tickets"
    )
    assert batch.column("tags").to_pylist() == [[("k\ufffd", "\ufffd")]]


def test_a_token_count_no_counter_can_hold_reads_unknown_and_the_rest_is_kept() -> None:
    """A hostile server must not stop every later publication."""
    found = booked(call(usage=Usage(10**30, 5, -(10**30))), call(), call(http_status=10**10))
    assert [line["prompt_tokens"] for line in found] == [None, 10, 10]
    assert [line["total_tokens"] for line in found] == [None, 15, 15]
    assert [line["completion_tokens"] for line in found] == [5, 5, 5]
    assert found[2]["http_status"] is None


def test_the_schema_is_the_same_after_a_thousand_good_rows_and_one_failed_one() -> None:
    """Declared before the first row: no column changes type because its first values were null."""
    schema = result_schema(INPUTS, None)
    good = result_batch(schema, inputs_for(1000), [row(n, outcome(call())) for n in range(1000)])
    bad = result_batch(schema, inputs_for(1), [row(1000, failed())])
    assert good.schema.equals(bad.schema, check_metadata=True)
    assert pa.Table.from_batches([bad, good]).num_rows == 1001


def test_duckdb_sees_the_promised_types(tmp_path: Path) -> None:
    """People read the tables without thinking; DuckDB stands for them."""
    schema = result_schema(INPUTS, None)
    batch = result_batch(schema, inputs_for(2), [row(0, outcome(call())), row(1, failed())])
    pq.write_table(pa.Table.from_batches([batch]), tmp_path / "results.parquet")
    pq.write_table(
        pa.Table.from_batches([call_batch([CallRow("t", 0, None, call())], {"a": "b"}, run=RUN, job="tickets")]),
        tmp_path / "c.parquet",
    )

    with duckdb.connect() as db:
        described = db.execute(f"DESCRIBE FROM '{tmp_path}/results.parquet'").fetchall()
        kinds = {name: kind for name, kind, *_ in described}
        assert list(kinds) == schema.names
        assert kinds["cost"] == "DECIMAL(38,12)"
        assert kinds["flags"] == "VARCHAR[]"
        assert kinds["settled_at"] == "TIMESTAMP WITH TIME ZONE"
        assert kinds["turns"] == "INTEGER"
        assert {kinds[name] for name in ("row_number", "total_tokens", "latency_ms")} == {"BIGINT"}
        assert {kinds[name] for name in ("row_id", "answer", "messages", "fingerprint")} == {"VARCHAR"}
        assert kinds["retryable"] == "BOOLEAN"
        found = db.execute(f"SELECT tags['a'], epoch_us(sent_at), cost FROM '{tmp_path}/c.parquet'").fetchall()
    assert found == [("b", T0, Decimal("0.125"))]


def test_a_large_batch_holds_every_value_at_its_row() -> None:
    """Column-wise building must not shift anything."""
    rng = random.Random(7)
    numbers = rng.sample(range(10**6), 3000)
    schema = result_schema(INPUTS, ["ticket_id"])
    inputs = pa.table({"ticket_id": pa.array(numbers, pa.int64())})
    rows = [row(n, outcome(call(cost=n), answer=str(n), settled_at_us=T0 + n)) for n in numbers]
    for n, found in zip(numbers, result_batch(schema, inputs, rows).to_pylist(), strict=True):
        assert (found["ticket_id"], found["row_number"], found["answer"]) == (n, n, str(n))
        assert found["cost"] == cost_decimal(n)
        assert int(found["fingerprint"], 16) == n


def test_columns_of_labels_stand_behind_the_reasoning_and_hold_what_fits_them() -> None:
    """Names and properties each in their own; null where a row has no label, or one of another kind."""
    names, objects = LabelSchema.of_names(["a", "b"]), LabelSchema.of_schema(LABEL_SCHEMA)
    fields = [column.field() for labels in (names, objects) for column in labels.columns]
    inputs = pa.schema([*INPUTS, pa.field("Label", pa.string()), pa.field("label_score", pa.string())])
    schema = result_schema(inputs, None, fields)
    assert renamed(inputs, labels=["label", "label_score"]) == {
        "Label": "input_Label",
        "label_score": "input_label_score",
    }
    at = schema.names.index("label")
    assert schema.names[at - 1 : at + 4] == ["reasoning", "label", "label_score", "label_money", "finish_reason"]
    labels: list[Any] = [
        "a",
        None,
        {"score": 3, "money": {"amount": 1.5, "tags": ["x"]}},
        {"score": None, "money": None},
    ]
    rows = [row(n, msgspec.structs.replace(outcome(), label=label)) for n, label in enumerate(labels)]
    batch = result_batch(schema, pa.table({"ticket_id": [0, 1, 2, 3]}), rows)
    assert batch.column("label").to_pylist() == ["a", None, None, None]
    assert batch.column("label_score").to_pylist() == [None, None, 3, None]
    assert batch.column("label_money").to_pylist() == [None, None, {"amount": 1.5, "tags": ["x"]}, None]


LABEL_SCHEMA = {
    "type": "object",
    "properties": {
        "score": {"type": ["integer", "null"]},
        "money": {
            "type": ["object", "null"],
            "properties": {"amount": {"type": "number"}, "tags": {"type": "array", "items": {"type": "string"}}},
        },
    },
}


def test_a_column_of_one_value_is_the_same_as_one_whose_last_row_differs() -> None:
    """Short cuts for columns that hold one value from end to end change no value and no type."""
    calls = [call(turn=n) for n in range(4)]
    same = outcome(calls[0], messages="\ud800", flags=("empty",))
    other = outcome(*calls, answer="other", messages=None, reasoning="r", flags=(), model="m-2", latency_ms=5)
    rows = [row(n, same) for n in range(3)]
    schema = result_schema(INPUTS, None)
    alone = result_batch(schema, inputs_for(3), rows)
    beside = result_batch(schema, inputs_for(4), [*rows, row(3, other)])
    assert alone.to_pylist() == beside.slice(0, 3).to_pylist()
    assert alone.schema == beside.schema
    assert alone.column("messages").to_pylist() == ["\ufffd"] * 3
