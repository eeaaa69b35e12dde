"""Our own columns of `results` and `calls`: their names, order and types, and where each value comes from.

Owns both in one list for each table, so that schema and values cannot differ, and what each column means, for people:
who adds a column adds a line there, and a test compares the two. It builds nothing: `tables` does.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    Column("status", TEXT, "outcome"),
    Column("answer", _LONG_TEXT, "outcome"),
    Column("reasoning", _LONG_TEXT, "outcome"),
    Column("finish_reason", TEXT, "outcome"),
    Column("flags", pa.list_(TEXT), "outcome"),
    Column("messages", _LONG_TEXT, "outcome"),
    Column("turns", _INT, "sums"),
    Column("calls", _INT, "sums"),
    Column("tool_calls", _INT, "sums"),
    Column("tool_errors", _INT, "sums"),
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
    Column("endpoint", TEXT, "outcome"),
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
    Column("sample", _INT, "call"),
    Column("purpose", TEXT, "call"),
    Column("provider", TEXT, "call"),
    Column("endpoint", TEXT, "call"),
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
    Column("cost_bound", COST, "call"),
    Column("tags", pa.map_(TEXT, TEXT), "made"),
    Column("sent_at", TIME, "call", "sent_at_us"),
    Column("answered_at", TIME, "call", "answered_at_us"),
    Column("wait_ms", LONG, "call"),
    Column("latency_ms", LONG, "call"),
    Column("first_chunk_ms", LONG, "call"),
    Column("polls", _INT, "call"),
    Column("longest_gap_ms", LONG, "call"),
    Column("fingerprint", TEXT, "made"),
)

DISTINCT: Final = frozenset(
    (
        "row_id", "row_number", "fingerprint", "messages", "first_sent_at", "settled_at", "client_call_id",
        "request_id", "task_id", "sent_at", "answered_at",
    )
)  # fmt: skip
"""Columns of either table in which nearly every value is another one: a dictionary would be as long as they are."""


def misfit(schema: pa.Schema, ours: Sequence[Column]) -> str | None:
    """The first of our columns that a file has with values of another kind than we write; None of a file of ours.

    Args:
        schema: of the file; one of an older version lacks columns.
        ours: `RESULTS` or `CALLS`.
    """
    for name, kind, _, _ in ours:
        if name in schema.names and _plain(schema.field(name).type) != _plain(kind):
            return name
    return None


def _plain(kind: Any) -> Any:
    """A type, whatever form its texts have in memory."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return TEXT if pa.types.is_large_string(kind) else kind


RESULT_TEXTS: Final = {
    "row_id": "The identity of the row: the value of input.key, or a hash of its content.",
    "row_number": "The place of the row in the table, from 0, shared by its variants, for ever.",
    "variant": "Which of several models or prompts the result is of; null when there is only one.",
    "run": "The run that settled the row.",
    "status": "ok or failed.",
    "answer": "What the model said last.",
    "reasoning": "What the model thought before it, where the provider tells.",
    "finish_reason": "How the answer ended: stop, length, or what the provider calls it.",
    "flags": "What to know about an answer that is kept all the same: promptmill explain flags lists them.",
    "messages": "The part of the conversation that output.messages asks for, as JSON text.",
    "turns": "How many replies the model gave.",
    "calls": "How many calls this result took, failed ones too; 0 where deduplicated_from names a row.",
    "tool_calls": "How many tools the model called for the row.",
    "tool_errors": "How many of these calls gave the model an error and no result.",
    "unknown_calls": "How many of the calls were sent and never answered: possibly billed, not in the sums.",
    "prompt_tokens": "Tokens of the requests, over all calls; null when no call's are known, refused calls aside.",
    "completion_tokens": "Tokens the model wrote, those of its reasoning included; null as of prompt_tokens.",
    "total_tokens": "prompt_tokens and completion_tokens together.",
    "cached_tokens": "The part of prompt_tokens that the provider had in its cache; null when it never said.",
    "reasoning_tokens": "The part of completion_tokens that was reasoning; null when the provider never said.",
    "cost": "The exact sum over the calls whose cost is known; null when none is, refused calls aside.",
    "currency": "Of the cost.",
    "provider": "Who was asked.",
    "model_asked": "The model asked for.",
    "model": "The model that answered, as the provider names it.",
    "lane": "How the requests travelled, the last of them where two lanes did: sync, stream, task or bulk.",
    "endpoint": "Which of several addresses was asked last (model.endpoints); null where the job has one.",
    "fingerprint": "A hash of what was asked. A row is asked again when it changes.",
    "deduplicated_from": "The row_id of the row that was asked and whose answer this one shares (prompt.dedupe); "
    "its own where the answer stood under the name of a former variant; null of a row that was asked itself.",
    "error_kind": "Why the row failed: promptmill explain errors lists the kinds.",
    "error_code": "The provider's own code for it, or ours.",
    "error_message": "The same in words, with the way out.",
    "retryable": "Whether the next run asks a failed row again; null when it did not fail.",
    "first_sent_at": "When its first call left, in UTC; null when none did.",
    "settled_at": "When it was done, in UTC.",
    "latency_ms": "Milliseconds from the one to the other.",
}
"""What each of our columns of `results` means."""

VOTES: Final = pa.list_(pa.struct([("label", TEXT), ("count", _INT)]))
SAMPLED: Final = {"votes": VOTES, "agreement": pa.float64()}
"""The columns of a folder whose rows were ever asked several times, with their types."""
CONFIDENCE: Final = {"confidence": pa.float64()}
"""The column of a folder of which the probabilities of labels were ever asked for."""

LABEL_TEXTS: Final = {
    "label": "The label, one of labels.names; of several samples the one that most gave, null for a tie. Null when the "
    "row failed. A column of the jobs with [labels] alone.",
    "label_PROPERTY": "One property of the label of a job with labels.schema, in its own type.",
    "votes": "The labels that the samples of the row gave, each with its count, the most frequent first; an object is "
    "canonical JSON text. A column of jobs with labels.samples. The answer beside it is the first of the newest run "
    "that says the label; where that run gave none, the earlier one stays. calls, tokens and cost are of that run.",
    "agreement": "The votes for the most frequent label, as a share of all samples that came to their end: one without "
    "a valid label counts as one that disagrees. From 0 to 1.",
    "confidence": "How probable the label was to the model: the product of the probabilities of the tokens that spell "
    "it; of an object, of those of its values, without names of properties and braces. Of several samples the mean "
    "over those that gave the label. Null where the service did not tell. A column of jobs with labels.confidence.",
}
"""The columns of labels, which stand behind `reasoning` where a job asks for labels."""

INPUT_TEXTS: Final = {
    "input_rest": "What of the row does not fit the types of its columns, and keys that came after these were fixed, "
    "as JSON text.",
    "input_NAME": "An input column whose name one of our columns has.",
}
"""The columns of `results` that stand for input columns under another name than theirs."""

CALL_TEXTS: Final = {
    "client_call_id": "Our id of the call, which the provider was told.",
    "run": "The run that made it.",
    "job": "The name of the job of that run.",
    "row_id": "The row it was made for.",
    "row_number": "The place of that row in the table.",
    "variant": "Which of several models or prompts it was made for; null when there is only one.",
    "turn": "Which turn of the conversation, from 0.",
    "attempt": "Which attempt of the turn, from 0.",
    "sample": "Which of several askings of the row, from 0; see labels.samples.",
    "purpose": "Why it was made. first: a turn. retry: another attempt at one. reask: the answer held no valid label. "
    "escalate: because of that another model was asked. sample: the first call of another asking of the row. Null in "
    "calls of older versions.",
    "provider": "Who was asked.",
    "endpoint": "Which of several addresses it went to (model.endpoints); null where the job had one, and in calls of "
    "older versions.",
    "lane": "How it travelled: sync, stream, task or bulk.",
    "state": "answered: a reply came. refused: the provider said no. failed: it never left, or its task failed. "
    "unknown: it left and no answer came, so it may have been billed.",
    "http_status": "Of the answer; null when none came.",
    "error_kind": "Why it brought no reply: promptmill explain errors lists the kinds.",
    "error_code": "The provider's own code for it, or ours.",
    "model_asked": "The model asked for.",
    "model_served": "The model that answered, as the provider names it.",
    "service_tier": "The tier it was served in, where the provider tells.",
    "request_id": "The provider's id of it, to be named to its support.",
    "task_id": "The provider's id of the task.",
    "batch_id": "The provider's id of the batch that the call was a line of; null in other lanes.",
    "prompt_tokens": "Tokens of the request; 0 when it was refused or never left, null when it is not known.",
    "completion_tokens": "Tokens the model wrote, those of its reasoning included.",
    "total_tokens": "Both together.",
    "cached_tokens": "The part of prompt_tokens that the provider had in its cache; null when it did not say.",
    "reasoning_tokens": "The part of completion_tokens that was reasoning; null when the provider did not say.",
    "cache_write_tokens": "The part of prompt_tokens that was written to its cache; null when it did not say.",
    "usage_estimated": "Whether the total that the provider told is not the sum of its parts, which are booked.",
    "finish_reason": "How the answer ended, in the provider's own word.",
    "cost": "Exact, by the price in price_id; null when it is not known.",
    "currency": "Of the cost, or of cost_bound where the cost is not known.",
    "price_id": "Which entry of the price table it was reckoned by.",
    "cost_bound": "Of a call whose tokens are not known, the most it can have cost: every byte of the request taken "
    "for a token, and max_tokens of answer. Null where nothing can be said, and where the tokens are known.",
    "tags": "The job's tags.",
    "sent_at": "When it left, in UTC.",
    "answered_at": "When its answer was there, in UTC.",
    "wait_ms": "Milliseconds it was held back by limits before it left.",
    "latency_ms": "Milliseconds from leaving to the answer.",
    "first_chunk_ms": "Milliseconds from leaving to the first piece of a stream.",
    "polls": "How often its task was asked for.",
    "longest_gap_ms": "The longest silence of a stream after its first piece, in milliseconds.",
    "fingerprint": "Of a call with a task_id or batch_id, what its row asked: the fingerprint of results. By it a "
    "row may have the answer once more.",
}
"""What each column of `calls` means."""
