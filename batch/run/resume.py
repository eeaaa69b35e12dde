"""Ledger → open rows: rebuilds what a killed or stopped process had in its hands.

For every row in the middle of something: the conversation from its journaled steps, the sums from its calls, and what
is open. A call that was sent and never got an answer becomes `unknown` and is asked again; a task whose id was
committed is collected; a reply whose tools did not all run goes on with the missing ones. Reads through `reader`,
writes through the desk; decides by asking `conversation`, the same functions that ran before the crash.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Final

import msgspec

from batch.core.errors import FailureKind
from batch.core.records import Failure, Reply, RowRequest
from batch.ledger.reader import JournaledCall, LedgerReader, PendingRow
from batch.prompts import conversation
from batch.submit import retry
from batch.submit.attempt import CallContext, OpenCall, Row
from batch.submit.results import ENDED, STOPPED

DIED: Final = Failure(
    kind="transport",
    code=ENDED,
    verdict="retry",
    sent=True,
    answered=False,
    message="this process ended before an answer came",
)
"""How a call ended by our own death is booked; such an attempt does not count against max_attempts."""

ODD: Final[FailureKind] = "bad_payload"
"""The kind of failure that is tried once more, as far as the book tells it."""

GIVEN_UP: Final = 2

_decode_reply = msgspec.msgpack.Decoder(Reply).decode


def rebuild(
    reader: LedgerReader,
    pending: PendingRow,
    asked: Callable[[PendingRow], RowRequest],
    context: CallContext,
    rules: conversation.Rules,
) -> Row:
    """The row as it was, with its dead calls booked and its live task in `row.call`."""
    row = Row(pending.work_id, pending.row_id, pending.variant, row_number=pending.row_number, part=pending.part)
    row.request = asked(pending)
    row.conversation = conversation.start(row.request.messages, row.request.follow_ups)
    _replay_steps(row, reader.steps_of(pending.work_id), rules)
    for journaled in reader.calls_of(pending.work_id):
        # The attempts of a turn that was answered are over, also while its tools still run.
        if journaled.turn == row.conversation.turn and row.replied is None:
            _count(row, journaled)
        if journaled.record is not None:
            row.sums.add(journaled.record)
            continue
        if journaled.late == GIVEN_UP:
            continue
        call = _reopen(journaled, context)
        call.row_id = row.row_id
        call.model = row.request.model
        if call.task_id is not None:
            row.call = call
        else:
            context.close(row, call, DIED)
    row.sums.tool_calls = row.conversation.tool_calls
    return row


def _replay_steps(row: Row, steps: list[tuple[int, int, bytes]], rules: conversation.Rules) -> None:
    # These replies were judged when they came, and went on to their tools; the rules of now hold for the next one.
    rules = msgspec.structs.replace(rules, max_turns=sys.maxsize, tools=True, served="any")
    for turn in sorted({turn for turn, _, _ in steps}):
        values = {idx: value for at, idx, value in steps if at == turn}
        if -1 not in values:
            continue
        reply = _decode_reply(values.pop(-1))
        row.conversation, action = conversation.after_reply(
            row.conversation, reply, rules, model_asked=row.request.model
        )
        if not isinstance(action, conversation.RunTools):
            continue
        results = {idx: value.decode() for idx, value in values.items()}
        if len(results) < len(action.calls):
            row.replied = reply
            row.tool_results = results
            return
        contents = [results[idx] for idx in range(len(action.calls))]
        row.conversation = conversation.after_tools(row.conversation, action.calls, contents)


def _count(row: Row, journaled: JournaledCall) -> None:
    """One attempt of the turn that is asked now; each that ended failed, or the turn would have been answered."""
    row.next_attempt = max(row.next_attempt, journaled.attempt + 1)
    record = journaled.record
    if record is None or record.error_code in (ENDED, STOPPED):
        return
    # A reply that `turns.judge` refused is booked as answered; only why tells whether it was worth one try more.
    if record.error_kind in retry.SAYS_NOTHING or (record.state == "failed" and record.error_kind != "task"):
        return  # it said nothing about the row
    no_answer = record.state == "answered" and record.finish_reason not in conversation.ABORTED
    odd = no_answer or record.error_kind == ODD
    once = (*row.history.once, ODD) if odd else row.history.once
    row.history = retry.History(row.history.attempts + 1, once)


def _reopen(journaled: JournaledCall, context: CallContext) -> OpenCall:
    call = OpenCall(
        journaled.call,
        journaled.call_id,
        turn=journaled.turn,
        attempt=journaled.attempt,
        lane="task" if journaled.lane == "task" else "sync",
        lease=context.limits.adopt(),
    )
    call.sent_at_us = journaled.sent_at_us
    call.started = context.clock.monotonic()
    call.task_id = journaled.task
    call.base_url = journaled.base_url
    call.late = bool(journaled.late)
    return call
