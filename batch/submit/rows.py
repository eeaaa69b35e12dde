"""One open row and its open call: what the workers hand from step to step.

Owns what changes while a row is at work, apart from what never does (`PendingRow`: its ids and its place; `RowRequest`:
what it asks). One worker at a time has a row. What is done with it is `attempt`'s and the workers' matter.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
from anyio import CancelScope

from batch.core.records import Lane, Purpose, Reply, RowRequest, Sums
from batch.labels.samples import NO_SAMPLES, Sampling
from batch.ledger.bounds import CallBound
from batch.ledger.reader import PendingRow
from batch.limits.lease import Lease
from batch.limits.tokens import TokenWeight
from batch.money.bounds import CallSize
from batch.prompts import steps
from batch.providers.stream import Stream
from batch.submit.purse import Reserved
from batch.submit.retry import History
from batch.tokens.measure import Measure

if TYPE_CHECKING:
    from batch.submit.polls import Watch
    from batch.submit.targets import Target


class Row(msgspec.Struct, eq=False):
    """One open row: where it stands in its conversation and what it has cost."""

    pending: PendingRow
    """Its ids and its place, as admitted."""
    request: RowRequest
    """What it asks."""
    fault: str | None = None
    """Why it cannot be asked after all; None when it can."""
    sampling: Sampling = NO_SAMPLES
    """The samples that earlier runs asked for."""
    work_id: int = -1
    conversation: steps.Conversation = steps.Conversation((), 0)
    history: History = History()
    next_attempt: int = 0
    sums: Sums = msgspec.field(default_factory=Sums)
    weight: TokenWeight | None = None
    """What the next turn counts for under a token limit; None while there is none."""
    size: Measure | None = None
    """What its next request is made of, where its answer is to teach what that counts for."""
    call: OpenCall | None = None
    """The task of this row that the provider holds, to be polled."""
    replied: Reply | None = None
    """The reply whose tool calls are to be run."""
    endpoint: str | None = None
    """Where its last call went, of several addresses."""
    left_at: float | None = None
    """The monotonic moment at which its first call left; of a call of an earlier process it is reckoned back."""
    left_batches: bool = False
    """A batch did not answer it: it goes into no other, where the job has another lane."""
    open_since: float | None = None
    """The same moment, but None of a row that only polls for an overdue task of an earlier run so far."""
    deadline_s: float = math.inf
    """How long it may be open."""
    scope: CancelScope | None = None
    """What its deadline cancels: the call that is made now."""
    tool_results: dict[int, str] = {}
    """Results of those calls that were journaled before a crash, by place in the turn."""

    def __post_init__(self) -> None:
        """Its conversation begins with what it asks."""
        self.work_id = self.pending.work_id
        self.conversation = steps.start(self.request.messages, self.request.follow_ups, self.sampling)

    @property
    def model(self) -> str:
        """Who is asked the next turn: the row's own model, until another is to find its label."""
        return self.conversation.tries.escalated or self.request.model

    @property
    def deadline_at(self) -> float:
        """The monotonic moment at which it has been open for as long as it may; infinity while there is none."""
        return math.inf if self.open_since is None else self.open_since + self.deadline_s

    def count_tools(self) -> None:
        """Have its sums say what its conversation knows of tools."""
        self.sums.tool_calls = self.conversation.tool_calls
        self.sums.tool_errors = self.conversation.tool_errors


class OpenCall(msgspec.Struct, eq=False):
    """A call between its `sent` record and its final one."""

    number: int
    """Its number in the ledger."""
    call_id: str
    """The `client_call_id`."""
    row_id: str
    """Whose call it is."""
    model: str
    """Who is asked."""
    turn: int
    """Which turn of the conversation, from 0."""
    attempt: int
    """Which attempt at that turn, from 0."""
    lane: Lane
    """How it travels."""
    lease: Lease
    """The slot it holds."""
    purpose: Purpose = "first"
    """What it is made for."""
    sample: int = 0
    """Which sample of the row it belongs to, from 0."""
    sent_at_us: int = 0
    started: float = 0.0
    """The monotonic moment at which it left, or in which this process took it over."""
    earlier_s: float = 0.0
    """How long it was under way before that, by the wall: the clock of another process is not ours."""
    exchange_began: float = 0.0
    """When its last exchange began, a poll too."""
    target: Target | None = None
    """Where it goes, of several addresses; None where there is one."""
    task_id: str | None = None
    batch_id: str | None = None
    """The batch that it was a line of."""
    base_url: str | None = None
    request_id: str | None = None
    polls: int = 0
    watch: Watch | None = None
    """How long such tasks take, once it was asked when to poll this one."""
    late: bool = False
    booked: bool = False
    """Whether the book has it from before: its answer is taken once more, and its row alone counts it."""
    foreign: int = 0
    """Polls that were answered for another call."""
    size: CallSize | None = None
    """What it can come to, where that was looked at."""
    held: Reserved | None = None
    """What it holds of the budget of the run."""
    bound: CallBound | None = None
    """What it can come to, as it was kept when it was sent; None in a job without a budget."""
    first_chunk_ms: int | None = None
    longest_gap_ms: int | None = None

    def take_times(self, stream: Stream | None) -> None:
        """Note the times of a stream, whole or not."""
        if stream is not None:
            self.first_chunk_ms = stream.first_chunk_ms
            self.longest_gap_ms = stream.longest_gap_ms
