"""Rebuild the open rows that a killed or stopped process had in its hands, from the ledger.

For every row in the middle of something: the conversation from its journaled steps, the sums from its calls, and what
is open. A call that was sent and never got an answer becomes `unknown` and is asked again; a task whose id was
committed is collected; a reply whose tools did not all run goes on with the missing ones. Reads through `reader`,
writes through the call context; decides by asking `conversation`, the same functions that ran before the crash.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from batch.core.clock import MICROSECONDS
from batch.core.records import NOTHING, Call, Failure, Reply, RowRequest
from batch.labels.samples import NO_SAMPLES, Sampling
from batch.ledger.bounds import CallBound
from batch.ledger.reader import JournaledCall, LedgerReader, PendingRow
from batch.ledger.waves import Journal
from batch.limits.lease import Lease
from batch.prompts import conversation
from batch.prompts.steps import Rules, RunTools
from batch.prompts.template import PromptFault
from batch.run.tool_turns import repeats_itself
from batch.submit import afford, retry
from batch.submit.attempt import CallContext
from batch.submit.bulk import STAYS
from batch.submit.results import ENDED, STOPPED
from batch.submit.rows import OpenCall, Row
from batch.submit.targets import target_at
from batch.tools.execute import Executor

DIED: Final = Failure(
    kind="transport",
    code=ENDED,
    verdict="retry",
    sent=True,
    answered=False,
    message="this process ended before an answer came",
)
"""How a call ended by our own death is booked; such an attempt does not count against max_attempts."""

GIVEN_UP: Final = 2
"""`calls.late` of an old task id that brought nothing; see `batch.ledger.schema`."""

_decode_reply = msgspec.msgpack.Decoder(Reply).decode


class Known(NamedTuple):
    """One row as it was read: what it asks, or why that cannot be said, and what was journaled of it."""

    asked: RowRequest | PromptFault
    journal: Journal


class Beside(msgspec.Struct, frozen=True):
    """What is known of a row beside what it asks, and also when that is not known any more."""

    model_of_variant: Callable[[str], str] = lambda _: ""
    """The model that the rows of a variant ask."""
    samples: Callable[[PendingRow], Sampling] = lambda _: NO_SAMPLES
    """The samples that earlier runs asked for."""
    bounds: Mapping[str, CallBound] = {}
    """What calls of an earlier process can come to, by call id."""


class Resumer:
    """Brings back the open rows of one run, each as it was; who takes them up then is `adoption`.

    Args:
        reader: the ledger, for the event loop's own thread.
        context: books calls that nobody will answer, and gives saved task ids their slots.
        rules: how a conversation goes on.
        request_of: what a row asks; it may raise `PromptFault`.
        beside: what else is known of a row.
        tools: tells which tool calls had their arguments coerced; None of a job without tools.
        in_doubt: whether a tool of a turn was cut off by a crash, and the row went on all the same.
    """

    def __init__(
        self,
        reader: LedgerReader,
        context: CallContext,
        rules: Rules,
        request_of: Callable[[PendingRow], RowRequest],
        *,
        beside: Beside | None = None,
        tools: Executor | None = None,
        in_doubt: Callable[[PendingRow, int], bool] = lambda _, __: False,
    ) -> None:
        self._coerced = tools.coerced if tools is not None else lambda _: ()
        self._in_doubt = in_doubt
        self._beside = beside or Beside()
        self._reader = reader
        self._context = context
        self._rules = rules
        self._request_of = request_of
        self.requests_of: Callable[[Sequence[PendingRow]], list[RowRequest | PromptFault]] | None = None
        """What many rows ask, faults among it, where that is less work than to ask one by one; set before the run."""

    def rebuild(
        self,
        pending: PendingRow,
        lease: Lease | None = None,
        *,
        in_batch: int | None = None,
        known: Known | None = None,
    ) -> Row:
        """The row as it was, with its dead calls booked and its live task in `row.call`.

        Args:
            pending: the row.
            lease: the slot that its task holds already, if it does.
            in_batch: number of the call that a batch has answered; it becomes `row.call`, too.
            known: what was read of it already, with many others; None to read it now.
        """
        if known is None:
            known = self._read(pending)
        row = self.as_asked(pending, known)
        for journaled in known.journal.calls:
            if row.left_at is None:
                row.left_at = self._context.clock.monotonic() - _since(journaled, self._context)
            if row.open_since is None and not journaled.late and journaled.lane != "bulk":
                row.open_since = self._context.clock.monotonic() - _since(journaled, self._context)
            # The attempts of a turn that was answered are over, also while its tools still run.
            if journaled.turn == row.conversation.turn and row.replied is None:
                _count(row, journaled)
            if journaled.record is not None:
                row.sums.add(journaled.record)
                row.left_batches |= _left_batches(journaled.record)
                continue
            if journaled.late == GIVEN_UP:
                continue
            answered = journaled.call == in_batch
            live = journaled.task is not None or answered
            own = lease if live and lease is not None and (answered or lease.model.name == row.model) else None
            call = reopened(row, journaled, self._context, own)
            call.bound = self._beside.bounds.get(journaled.call_id)
            if answered:
                row.call = call
            elif call.task_id is not None:
                afford.adopt(self._context, row, call)
                row.call = call
                self._context.tasks += 1
            else:
                self._context.book(row, call, DIED)
        row.count_tools()
        if self._context.purse is not None:
            self._context.purse.resume_row(row.work_id)
        return row

    def model_of_variant(self, variant: str) -> str:
        """The model that the rows of a variant ask first."""
        return self._beside.model_of_variant(variant)

    def as_asked(self, pending: PendingRow, known: Known) -> Row:
        """The row as it stood when its last call was made; nothing is booked."""
        row = self._row(pending, known.asked)
        self._replay_steps(row, known.journal.steps)
        return row

    def requests(self, rows: Sequence[PendingRow]) -> list[RowRequest | PromptFault]:
        """What each of these rows asks, or why that cannot be said; any thread may ask."""
        return self.requests_of(rows) if self.requests_of is not None else list(map(self._request, rows))

    def _request(self, pending: PendingRow) -> RowRequest | PromptFault:
        try:
            return self._request_of(pending)
        except PromptFault as exc:
            return exc

    def _read(self, pending: PendingRow) -> Known:
        journal = Journal(self._reader.calls_of(pending.work_id), self._reader.steps_of(pending.work_id))
        return Known(self._request(pending), journal)

    def _row(self, pending: PendingRow, asked: RowRequest | PromptFault) -> Row:
        """A row whose request cannot be made any more is followed to its answer, but asks nothing more."""
        samples = self._beside.samples(pending)
        if not isinstance(asked, PromptFault):
            return Row(pending, asked, sampling=samples)
        nothing = msgspec.structs.replace(NOTHING, model=self._beside.model_of_variant(pending.variant))
        return Row(pending, nothing, str(asked), samples)

    def _replay_steps(self, row: Row, steps: list[tuple[int, int, bytes]]) -> None:
        if not steps:
            return
        # These replies were judged when they came, and went on to their tools; the rules of now hold for the next one.
        rules = msgspec.structs.replace(self._rules, max_turns=sys.maxsize, tools=True, served="any")
        for turn in sorted({turn for turn, _, _ in steps}):
            values = {idx: value for at, idx, value in steps if at == turn}
            if -1 not in values:
                continue
            reply = _decode_reply(values.pop(-1))
            row.conversation, action = conversation.replayed(row.conversation, reply, rules, model_asked=row.model)
            if not isinstance(action, RunTools):
                continue
            results = {idx: value.decode() for idx, value in values.items()}
            if len(results) == len(action.calls):
                contents = [results[idx] for idx in range(len(action.calls))]
                in_doubt = self._in_doubt(row.pending, turn)
                coerced = any(map(self._coerced, action.calls))
                after = conversation.after_tools(
                    row.conversation, action.calls, contents, coerced=coerced, in_doubt=in_doubt
                )
                if repeats_itself(after, model=reply.model) is None:
                    row.conversation = after
                    continue
            # Some tools are still to be run, or the row ends with what they said: both is for whoever runs tools.
            row.replied = reply
            row.tool_results = results
            return


def _count(row: Row, journaled: JournaledCall) -> None:
    """One attempt of the turn that is asked now; each that ended failed, or the turn would have been answered."""
    row.next_attempt = max(row.next_attempt, journaled.attempt + 1)
    record = journaled.record
    if record is None or record.error_code in (ENDED, STOPPED):
        return
    counted = record.counted
    if counted is None:  # booked by a version that did not keep the decision
        counted = record.error_kind not in retry.SAYS_NOTHING
    history = row.history
    once = history.once if record.once is None else (*history.once, record.once)
    row.history = retry.History(history.attempts + counted, once)


def _left_batches(record: Call) -> bool:
    """Whether a batch did not answer this call, so that its row left it for another lane."""
    failed = record.lane == "bulk" and record.error_kind is not None
    return failed and record.error_code not in STAYS


def _since(journaled: JournaledCall, context: CallContext) -> float:
    """For how many seconds a call of an earlier process has been under way, by the wall: never less than none."""
    return max(0, context.clock.now_us() - journaled.sent_at_us) / MICROSECONDS


def reopened(row: Row, journaled: JournaledCall, context: CallContext, lease: Lease | None) -> OpenCall:
    """A call of the ledger that has no final state, as an open one again.

    Args:
        row: whose call it is.
        journaled: as the ledger has it.
        context: knows where it went.
        lease: the slot that it holds; None to take one, without waiting.
    """
    call = OpenCall(
        journaled.call,
        journaled.call_id,
        row_id=row.pending.row_id,
        model=row.model,
        turn=journaled.turn,
        attempt=journaled.attempt,
        lane=journaled.lane,
        lease=lease or context.limiter.adopt(row.model),
    )
    call.purpose, call.sample = row.conversation.purpose(journaled.attempt), row.conversation.sampling.ended
    call.sent_at_us = journaled.sent_at_us
    call.started = context.clock.monotonic()
    call.earlier_s = _since(journaled, context)
    call.task_id = journaled.task
    if journaled.base_url is not None:
        target = target_at(journaled.base_url, context.targets, context.target)
        call.base_url = target.base_url
        if target.name is not None:
            call.target, row.endpoint = target, target.name
            place = next((one for one in call.lease.model.members if one.endpoint == target.name), None)
            if place is not None:
                call.lease.put(place)
    call.late, call.booked = bool(journaled.late), journaled.booked
    return call
