"""The values that flow between the wings: requests, replies, failures, calls, outcomes.

Owns what each of them holds, and does nothing with it: one step takes a value and gives another. Units are in the
names: `_us` microseconds of UTC wall time, `_ms` milliseconds, `_s` seconds, `cost` in 10⁻¹² of the currency unit (an
integer, so that sums are exact).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final, Literal

import msgspec

from batch.core.errors import FailureKind
from batch.core.labelling import Labelling

Lane = Literal["sync", "stream", "task", "bulk"]
LANES: Final[dict[Lane, str]] = {
    "sync": "One request, one whole answer.",
    "stream": "One request whose answer comes in pieces: silence is noticed sooner than with sync.",
    "task": "The request is submitted and its result is asked for later, where the provider has asynchronous tasks.",
    "bulk": "Whole files of requests at once, at half the price; the answers may take a day.",
}
"""How requests travel, for people."""
Asks = Literal["chat", "submit", "poll"]  # what a request asks: by that its answer is read
Message = dict[str, Any]
"""One chat message as it is sent: `role`, `content`, and for tools `tool_calls` or `tool_call_id`."""

COST_DIGITS: Final = 12
COST_UNIT: Final = 10**COST_DIGITS


def cost_decimal(cost: int) -> Decimal:
    """A cost in 10⁻¹² units as the exact decimal it stands for."""
    return Decimal(f"{cost}E-{COST_DIGITS}")  # exact at any length; scaleb would round to the context's 28 digits


class Usage(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Tokens one call was billed for, as the provider counted them.

    The buckets nest, they do not add up: `cached_tokens` and `cache_write_tokens` are part of `prompt_tokens`,
    `reasoning_tokens` is part of `completion_tokens`. None means that the provider did not say.
    """

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    cache_write_tokens: int | None = None
    estimated: bool = False
    """True when the reply had no usage and we counted the tokens, or when its total was not the sum of its parts."""


NO_USAGE: Final = Usage(0, 0, 0, 0, 0, 0)
"""The usage of a call that was refused or never sent: known to be nothing."""


class ToolCall(msgspec.Struct, frozen=True, gc=False):
    """A call of a tool that the model asks for; `arguments` is its JSON text, unchanged."""

    id: str
    name: str
    arguments: str


class TokenChance(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One token of an answer: how many bytes of UTF-8 it is, and the logarithm of its probability, at most 0."""

    size: int
    logprob: float


class Reply(msgspec.Struct, frozen=True, gc=False):
    """One complete reply of a model, the same for every dialect and lane."""

    content: str | None
    finish_reason: str
    """As the service said it; empty when it said none."""
    reasoning: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    message: Message = {}
    """The assistant message to send with the next turn of the same conversation."""
    model: str | None = None
    request_id: str | None = None
    service_tier: str | None = None
    usage: Usage | None = None
    then: str = ""
    """In the journal, what was done after it where that depends on more than the reply: asked again, for example."""
    tokens: tuple[TokenChance, ...] = ()
    """The tokens that `content` is made of, where they were asked for and the service gave them."""


Verdict = Literal["retry", "once", "fail", "stop", "park", "row_or_key"]
"""What to do after a failure: try again with growing waits, or once; fail the row; stop the run; wait until a time.

`row_or_key`: the service refuses this row, or the key and the model as a whole; which of them, the other rows tell."""

NO_SUCH_PATH: Final = "no_such_path"
"""Code of a refusal that says nothing of the model: at this path, which begins with base_url, nothing is served."""


class Failure(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Why a call, and perhaps its row, failed.

    `sent` is False when the request certainly never left, True when the provider may have done the work. `answered` is
    True when the provider answered with an error, so that nothing was bought. A call that was sent and not answered is
    `unknown`.
    """

    kind: FailureKind
    message: str
    verdict: Verdict
    code: str | None = None
    http_status: int | None = None
    retry_after_s: float | None = None
    """How many seconds from now the provider asks us to wait; not negative."""
    request_id: str | None = None
    sent: bool = True
    answered: bool = True
    wrong_address: bool = False
    """What came is not from the service: where nothing was ever answered, base_url is wrong and nothing was bought."""


class Accepted(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The provider took a task: from now on it is paid for and its result must be collected."""

    task_id: str
    request_id: str | None = None
    model: str | None = None


class Processing(msgspec.Struct, frozen=True, gc=False):
    """A task that is not finished, as far as is known; `wait_s` is what we are asked to wait before the next poll."""

    status: str = "PROCESSING"
    wait_s: float = 0.0
    told: bool = True  # else the poll was refused or not answered: a word on polls, and none on the task
    too_many: bool = False  # it was refused for its rate or for the load


class RowRequest(msgspec.Struct, frozen=True, gc=False):
    """What one row asks in one variant: the first request, and the messages that follow whatever the answer is."""

    messages: list[Message]
    model: str
    parameters: dict[str, Any] = {}
    follow_ups: tuple[Message, ...] = ()
    """User messages sent one by one, each after the answer to the one before it."""
    bytes: int = 0
    """About how much memory the messages take; see `prompts.sizes`."""


NOTHING: Final = RowRequest([], "")
"""Stands for the request of a row that has none: it is not known yet, or the row cannot be asked."""


class Request(msgspec.Struct, frozen=True, gc=False):
    """What is asked in one turn of a conversation; the fingerprint of a row is made from that of its first turn."""

    model: str
    messages: list[Message]
    parameters: dict[str, Any] = {}
    tools: tuple[dict[str, Any], ...] = ()
    """Tool schemas in the OpenAI form `{"type": "function", "function": {...}}`."""


class Outgoing(msgspec.Struct, frozen=True, gc=False):
    """One HTTP request as a dialect wrote it; `path` follows the base URL; without a `body` it is a GET."""

    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes | None = None
    asks: Asks | None = None


class Incoming(msgspec.Struct, frozen=True, gc=False):
    """One complete HTTP answer: header names in lower case, the first of repeated headers, the body unpacked."""

    status: int
    headers: dict[str, str]
    body: bytes


class LimitHeaders(msgspec.Struct, frozen=True, gc=False):
    """The `x-ratelimit-*` headers of one answer; None where the service gave nothing that can be read."""

    limit_requests: int | None = None
    limit_tokens: int | None = None
    remaining_requests: int | None = None
    remaining_tokens: int | None = None
    reset_requests_s: float | None = None
    reset_tokens_s: float | None = None


CallState = Literal["answered", "refused", "failed", "unknown"]
Purpose = Literal["first", "retry", "reask", "escalate", "sample"]
"""What a call was made for: a turn, another attempt at one, the same row again because its answer held no valid label
(`reask`), or because of that another model (`escalate`), or the row anew for one more vote (`sample`)."""
CALL_STATES: Final[dict[CallState, str]] = {
    "answered": "A reply came. Whether it is a good answer is said of the row, not of the call.",
    "refused": "The provider said no, with an error; nothing was bought.",
    "failed": "The request never left, or the provider says that its task failed; nothing was bought.",
    "unknown": "The request left and no answer came, so the provider may have billed it. Its tokens and its cost are "
    "null and in no sum; cost_bound has the most it can have cost, where that can be said.",
}
"""How a call may end, for people."""


class Call(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One call in its final state (`CALL_STATES`): the record that becomes one row of the table `calls`."""

    client_call_id: str
    turn: int
    attempt: int
    provider: str
    lane: Lane
    state: CallState
    model_asked: str
    sent_at_us: int
    http_status: int | None = None
    error_kind: FailureKind | None = None
    error_code: str | None = None
    model_served: str | None = None
    service_tier: str | None = None
    request_id: str | None = None
    task_id: str | None = None
    batch_id: str | None = None
    usage: Usage | None = None
    finish_reason: str | None = None
    cost: int | None = None
    currency: str | None = None
    price_id: str | None = None
    answered_at_us: int | None = None
    wait_ms: int = 0
    latency_ms: int | None = None
    first_chunk_ms: int | None = None
    polls: int = 0
    longest_gap_ms: int | None = None
    """The longest silence of a stream after its first chunk."""
    counted: bool | None = None
    """Of a failed attempt: whether it is one of `max_attempts`; None for one that ended with our own process."""
    once: FailureKind | None = None
    """The kind of failure of it, if that is tried again only once."""
    sample: int = 0
    """Which of several askings of the row it belongs to, from 0."""
    purpose: Purpose | None = None
    """None of a call that an older version made."""
    cost_bound: int | None = None
    """Of a call whose tokens are not known: the most it can have cost, in the unit of `cost` and in `currency`; None
    where nothing can be said."""
    token_bound: int | None = None
    """The same in tokens of prompt and answer together."""
    endpoint: str | None = None
    """Where it went, of several addresses; None where there was one."""
    held: dict[str, int] | None = None  # what a budget counts for it where that cannot be told; see `Totals.held`


class Sums(msgspec.Struct, array_like=True, gc=False):
    """Running totals over the calls of one row; what is known of none but refused calls is None."""

    calls: int = 0
    unknown_calls: int = 0
    tool_calls: int = 0
    turns: int = 0
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost: int | None = None
    currency: str | None = None
    first_sent_at_us: int | None = None
    last_answer_us: int | None = None
    tool_errors: int = 0
    """How many of the tool calls gave the model an error; at the end, because older records are read by place."""

    def add(self, call: Call) -> None:
        """Add one final call to the sums."""
        usage, refused = call.usage, False
        if call.state == "answered":
            self.turns = max(self.turns, call.turn + 1)
        else:
            self.unknown_calls += call.state == "unknown"
            refused = usage == NO_USAGE
        self.calls += 1
        if self.first_sent_at_us is None:
            self.first_sent_at_us = call.sent_at_us
        if call.answered_at_us is not None:
            self.last_answer_us = call.answered_at_us
        if self.calls == 1 or not (  # the zeros of refused calls are no word on a call that was not refused
            refused or self.prompt_tokens or self.completion_tokens or self.cached_tokens or self.reasoning_tokens
        ):
            if usage is None:
                self.prompt_tokens = self.completion_tokens = self.total_tokens = None
                self.cached_tokens = self.reasoning_tokens = None
            else:
                self.prompt_tokens, self.completion_tokens = usage.prompt_tokens, usage.completion_tokens
                self.total_tokens = usage.total_tokens
                self.cached_tokens, self.reasoning_tokens = usage.cached_tokens, usage.reasoning_tokens
        elif usage is not None and not refused:
            self.prompt_tokens = (self.prompt_tokens or 0) + usage.prompt_tokens
            self.completion_tokens = (self.completion_tokens or 0) + usage.completion_tokens
            self.total_tokens = (self.total_tokens or 0) + usage.total_tokens
            if usage.cached_tokens is not None:
                self.cached_tokens = (self.cached_tokens or 0) + usage.cached_tokens
            if usage.reasoning_tokens is not None:
                self.reasoning_tokens = (self.reasoning_tokens or 0) + usage.reasoning_tokens
        if call.cost is not None and call.currency is not None:
            self.cost = (self.cost or 0) + call.cost
            self.currency = call.currency
        elif self.currency is None:
            # What was refused costs nothing in no currency: that makes no zero of what is not known beside it.
            lost = call.cost is None or (self.cost is None and self.calls > 1)
            self.cost = None if lost else (self.cost or 0) + (call.cost or 0)


class Outcome(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The final state of a row: what stands in the result table beside its input columns."""

    status: Literal["ok", "failed"]
    sums: Sums
    lane: Lane
    provider: str
    model_asked: str
    settled_at_us: int
    answer: str | None = None
    reasoning: str | None = None
    finish_reason: str | None = None
    flags: tuple[str, ...] = ()
    messages: str | None = None
    """The part of the conversation that `output.messages` asks for, as JSON text."""
    model: str | None = None
    error_kind: FailureKind | None = None
    error_code: str | None = None
    error_message: str | None = None
    retryable: bool | None = None
    deduplicated_from: str | None = None
    latency_ms: int | None = None
    """From its first call on, by a clock that nobody sets; None of a row without one, and of an older version's."""
    label: Any = None
    """The valid label: a name, or an object; None where there is none."""
    labelling: Labelling | None = None
    """None of a row that asks for no label."""
    confidence: float | None = None
    """The probability of the label as it is written, from 0 to 1; None where the service does not tell."""
    keeps_answer: bool = False
    """Whether no answer of now says the label, so that the one that stands in the table stays there."""
    endpoint: str | None = None  # where its last call went, of several addresses; None where there was one
