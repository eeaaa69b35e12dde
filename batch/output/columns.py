"""Our own columns of `results` and `calls`: their names, order and types, and where each value comes from.

Owns both in one list for each table, so that schema and values cannot differ. It builds nothing: `tables` does.
"""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple

import pyarrow as pa

from batch.core.records import COST_DIGITS

TEXT: Final = pa.string()
SHORT_TEXT: Final = pa.dictionary(pa.int32(), pa.string())
_LONG_TEXT: Final = pa.large_string()
_INT: Final = pa.int32()
LONG: Final = pa.int64()
BOOL: Final = pa.bool_()
TIME: Final = pa.timestamp("us", tz="UTC")
COST: Final = pa.decimal128(38, COST_DIGITS)


class Column(NamedTuple):
    """One of our columns: its type, and the record and the attribute that its values are read from."""

    name: str
    type: Any
    of: Literal["row", "outcome", "sums", "call", "usage", "made"]
    """Where a value is read from; one that is `made` comes from the run or from several records."""
    attribute: str = ""


RESULTS: Final = (
    Column("row_id", TEXT, "row"),
    Column("row_number", LONG, "row"),
    Column("variant", TEXT, "row"),
    Column("run", TEXT, "row"),
    Column("job", TEXT, "row"),
    Column("status", TEXT, "outcome"),
    Column("answer", _LONG_TEXT, "outcome"),
    Column("reasoning", _LONG_TEXT, "outcome"),
    Column("finish_reason", TEXT, "outcome"),
    Column("flags", pa.list_(TEXT), "outcome"),
    Column("messages", _LONG_TEXT, "outcome"),
    Column("turns", _INT, "sums"),
    Column("calls", _INT, "sums"),
    Column("tool_calls", _INT, "sums"),
    Column("unknown_calls", _INT, "sums"),
    Column("prompt_tokens", LONG, "sums"),
    Column("completion_tokens", LONG, "sums"),
    Column("total_tokens", LONG, "sums"),
    Column("cached_tokens", LONG, "sums"),
    Column("reasoning_tokens", LONG, "sums"),
    Column("cost", COST, "sums"),
    Column("currency", TEXT, "sums"),
    Column("provider", TEXT, "outcome"),
    Column("model_asked", TEXT, "outcome"),
    Column("model", TEXT, "outcome"),
    Column("lane", TEXT, "outcome"),
    Column("fingerprint", TEXT, "made"),
    Column("deduplicated_from", TEXT, "outcome"),
    Column("error_kind", TEXT, "outcome"),
    Column("error_code", TEXT, "outcome"),
    Column("error_message", TEXT, "outcome"),
    Column("retryable", BOOL, "outcome"),
    Column("first_sent_at", TIME, "sums", "first_sent_at_us"),
    Column("settled_at", TIME, "outcome", "settled_at_us"),
    Column("latency_ms", LONG, "made"),
)

CALLS: Final = (
    Column("client_call_id", TEXT, "call"),
    # The folder of a file has the run, too; readers that do not look at names of folders find it here. In Parquet it is
    # plain text, which Spark and Trino want; to Arrow it is a dictionary, because that is what pandas makes of the name
    # of a folder, and it refuses a column of another type beside it.
    Column("run", SHORT_TEXT, "made"),
    Column("job", TEXT, "made"),
    Column("row_id", TEXT, "row"),
    Column("row_number", LONG, "row"),
    Column("variant", TEXT, "row"),
    Column("turn", _INT, "call"),
    Column("attempt", _INT, "call"),
    Column("provider", TEXT, "call"),
    Column("lane", TEXT, "call"),
    Column("state", TEXT, "call"),
    Column("http_status", _INT, "call"),
    Column("error_kind", TEXT, "call"),
    Column("error_code", TEXT, "call"),
    Column("model_asked", TEXT, "call"),
    Column("model_served", TEXT, "call"),
    Column("service_tier", TEXT, "call"),
    Column("request_id", TEXT, "call"),
    Column("task_id", TEXT, "call"),
    Column("batch_id", TEXT, "call"),
    Column("prompt_tokens", LONG, "usage"),
    Column("completion_tokens", LONG, "usage"),
    Column("total_tokens", LONG, "usage"),
    Column("cached_tokens", LONG, "usage"),
    Column("reasoning_tokens", LONG, "usage"),
    Column("cache_write_tokens", LONG, "usage"),
    Column("usage_estimated", BOOL, "usage", "estimated"),
    Column("finish_reason", TEXT, "call"),
    Column("cost", COST, "call"),
    Column("currency", TEXT, "call"),
    Column("price_id", TEXT, "call"),
    Column("tags", pa.map_(TEXT, TEXT), "made"),
    Column("sent_at", TIME, "call", "sent_at_us"),
    Column("answered_at", TIME, "call", "answered_at_us"),
    Column("wait_ms", LONG, "call"),
    Column("latency_ms", LONG, "call"),
    Column("first_chunk_ms", LONG, "call"),
    Column("polls", _INT, "call"),
    Column("longest_gap_ms", LONG, "call"),
)
