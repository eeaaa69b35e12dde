"""What an exchange came to: foreign text made ours, the state its call ends in, and what it tells of the provider.

Owns the reading of results that every lane shares; pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, TypeVar, cast

import msgspec

from batch.core import redaction
from batch.core.errors import FailureKind, WireError
from batch.core.readanswer import ReadAnswer
from batch.core.records import (
    NO_USAGE,
    Accepted,
    Call,
    CallState,
    Failure,
    Incoming,
    Processing,
    Reply,
    Verdict,
)
from batch.core.redaction import address, masked, masked_value, redact
from batch.limits.outage import Observation
from batch.money.prices import Charge, Prices
from batch.submit.retry import NOT_TAKEN, Decision
from batch.submit.rows import OpenCall, Row

STOPPED: Final = "run_stopped"
"""Code of calls that we ended ourselves; like those ended by our death, they do not count against max_attempts."""
FOREIGN: Final = "foreign_reply"
"""Code of calls whose answer named another call of this folder."""
ENDED: Final = "process_ended"
"""Code of calls that ended with a process of ours."""
NEVER_LEFT: Final = Failure(
    kind="transport", verdict="retry", code=STOPPED, sent=False, answered=False, message="cancelled before it left"
)
CUT_SHORT: Final = Failure(
    kind="transport", verdict="retry", code=STOPPED, sent=True, answered=False, message="cancelled before an answer"
)

DEADLINE: Final = "deadline"
"""Code of what ended because a row had been open for limits.deadline_s."""

_OF_THE_ADDRESS: Final = frozenset({404, 405})

S = TypeVar("S", bound=msgspec.Struct)
_encode = msgspec.json.Encoder().encode

R = TypeVar("R", Reply | Failure, Accepted | Failure, Reply | Failure | Processing)


def read_answer(incoming: Incoming, reader: Callable[[Incoming], R]) -> R:
    """What an answer says, with our keys masked.

    Args:
        incoming: the answer.
        reader: of the dialect; not asked where the answer was read already where it arrived.
    """
    if isinstance(incoming, ReadAnswer):
        return cast("R", incoming.result)
    return masked_result(reader(incoming))


def masked_result(result: R) -> R:
    """What a provider said, with our keys masked in every text of it: here foreign text becomes ours, and only here.

    After decoding, so that an echo escaped as JSON does or cut over the chunks of a stream is one text by now; the
    bytes of a reply are never touched. A task id must stay as it is to be asked for: one that holds a key is refused.
    """
    if isinstance(result, Reply) and not result.tool_calls:
        # Each of its texts once: its message says again what content and reasoning say.
        texts = (
            f"{result.content}\n{result.reasoning}\n{result.finish_reason}\n{result.model}\n{result.request_id}\n"
            f"{result.service_tier}\n{result.then}"
        )
        spared = redaction.process.spares_texts(texts)
    else:
        spared = not isinstance(result, Failure) and redaction.process.spares(_encode(result))
    if spared:
        return result  # nearly always, and much quicker than to look at every text
    if isinstance(result, Accepted) and masked(result.task_id) is not result.task_id:
        return Failure(
            kind="bad_payload",
            verdict="once",
            code="key_in_task_id",
            answered=False,
            message="the id of the task holds our API key, so it is not kept: ask the provider why",
        )
    if isinstance(result, Failure):
        result = msgspec.structs.replace(result, message=redact(result.message))
    return _masked(result)


def _masked(value: S) -> S:
    """The value with every text in it masked; the same object when nothing was."""
    fields = ((name, getattr(value, name)) for name in value.__struct_fields__)
    changed = {name: new for name, old in fields if (new := masked_value(old, _masked)) is not old}
    return msgspec.structs.replace(value, **changed) if changed else value


def located(result: R, base_url: str, path: str) -> R:
    """The result; a failure that may be one of the address names the whole of it, of which base_url is the beginning.

    Args:
        result: what the dialect read.
        base_url: where the request went.
        path: what the dialect put behind it.
    """
    if not isinstance(result, Failure) or not (result.wrong_address or result.http_status in _OF_THE_ADDRESS):
        return result
    said = result.message.removeprefix(f"HTTP {result.http_status}").lstrip(": ").removeprefix("with ")
    message = f"HTTP {result.http_status} at {redact(address(f'{base_url}{path}'))}: {said}"
    return msgspec.structs.replace(result, message=message)


def state_of(result: Reply | Failure) -> CallState:
    """The state a call ends in; see `records.Call`."""
    if not isinstance(result, Failure):
        return "answered"
    if not result.sent:
        return "failed"
    if not result.answered:
        return "unknown"
    return "failed" if result.kind == "task" else "refused"


def observation_of(result: Failure) -> Observation:
    """What a call without a reply tells of the provider's health and limits."""
    if result.code in (STOPPED, ENDED, DEADLINE, NOT_TAKEN):
        return "nothing"
    if not result.sent:
        return "unreached"
    if result.code == FOREIGN:
        return "answered"  # though to somebody else: the provider is there
    if result.kind == "rate_limit" and result.retry_after_s is None:
        return "in_flight"  # no word of a time: too many at once, as far as one can tell
    return _HEARD.get(result.kind, "answered")


def answered_for(named: str, call_id: str) -> Failure:
    """What a call came to whose answer names another one: a proxy swapped two answers, and its own is unknown.

    Args:
        named: the id of the other call.
        call_id: its own.
    """
    return Failure(
        kind="transport",
        verdict="retry",
        code=FOREIGN,
        answered=False,
        request_id=named,
        message=f"the answer names call {named}, not ours ({call_id}): something on the way swapped them",
    )


def failure_of(exc: WireError) -> Failure:
    """An exchange without a complete answer, as the failure of its call."""
    once: Verdict = "once" if exc.kind == "bad_payload" else "retry"
    return Failure(
        kind=exc.kind,
        verdict="stop" if exc.permanent else once,
        message=redact(str(exc)),
        code=exc.code,
        sent=exc.sent,
        answered=False,
        wrong_address=exc.wrong_address,
    )


def never_finished(call: OpenCall, seconds: float) -> Failure:
    """How a call ends whose task is waited for no longer, after so many seconds (`limits.task_timeout_s`)."""
    return Failure(
        kind="timeout",
        verdict="retry",
        code="task_timeout",
        answered=False,
        message=f"task {call.task_id} not finished after {seconds:g} s; its id is kept and polled first next time",
    )


def overdue(row: Row, task_id: str | None = None) -> Failure:
    """How a row ends that has been open for too long, and the call that it has open then.

    Args:
        row: which one.
        task_id: the task that it waits for, if it does.
    """
    then = "it is asked again by the next run"
    if task_id is not None:
        then = f"the id of task {task_id} is kept, and polled first by the next run"
    return Failure(
        kind="timeout",
        verdict="retry",
        code=DEADLINE,
        answered=False,
        message=f"the row had been open for {row.deadline_s:g} s (limits.deadline_s) and was not done; {then}",
    )


_HEARD: Final[dict[FailureKind, Observation]] = {
    "rate_limit": "rate",
    "quota": "rate",
    "overloaded": "overloaded",
    "server": "failed",
    "transport": "failed",
    "timeout": "failed",
    "bad_payload": "failed",
}
"""Kinds that tell of trouble; any other refusal is an answer of a provider that works."""


class Bound(msgspec.Struct, frozen=True):
    """The most that a call can have come to whose tokens are not known."""

    tokens: int
    charge: Charge | None
    """What that costs; None where there is no price."""


def record_of(
    call: OpenCall,
    result: Reply | Failure,
    *,
    provider: str,
    prices: Prices,
    now_us: int,
    now: float,
    decision: Decision | None = None,
    asked_tier: object = None,
) -> Call:
    """The final record of a call, priced.

    Args:
        call: the call, with its times.
        result: what came of it.
        provider: whose price list counts.
        prices: the price table.
        now_us: wall time in microseconds, UTC.
        now: the same moment in monotonic seconds, for what it took: the wall clock may be set meanwhile.
        decision: what was decided after a failed attempt, to be known again after a crash.
        asked_tier: the `service_tier` of the request, which counts where the answer names none.
    """
    state: CallState = "answered"
    model = tier = finish_reason = currency = price_id = kind = code = None
    if isinstance(result, Reply):
        http_status: int | None = 200
        answered = True
        model, tier, usage, finish_reason = result.model, result.service_tier, result.usage, result.finish_reason
        cost, currency, price_id = _charge(call, result, provider, prices, asked_tier)
    else:
        state, http_status, kind, code = state_of(result), result.http_status, result.kind, result.code
        answered = result.sent and state != "unknown"
        usage, cost = (None, None) if state == "unknown" else (NO_USAGE, 0)  # what is refused costs no currency's 0
    return Call(  # by place, once a call: a name costs more than its value
        call.call_id, call.turn, call.attempt, provider, call.lane, state, call.model, call.sent_at_us,
        http_status, kind, code, model, tier, result.request_id or call.request_id, call.task_id, call.batch_id,
        usage, finish_reason, cost, currency, price_id,
        now_us if answered else None,
        call.lease.wait_ms,
        None if state == "unknown" else int((now - call.started + call.earlier_s) * 1000),
        call.first_chunk_ms, call.polls, call.longest_gap_ms,
        None if decision is None else decision.counted,
        None if decision is None else decision.once,
        call.sample, call.purpose,
    )  # fmt: skip


def bounded(record: Call, bound: Bound) -> Call:
    """The record of a call whose tokens are not known, with the most it can have come to."""
    change = msgspec.structs.replace
    if bound.charge is None:
        return change(record, token_bound=bound.tokens)
    charge = bound.charge
    return change(record, token_bound=bound.tokens, cost_bound=charge.cost, currency=charge.currency)


def _charge(
    call: OpenCall, reply: Reply, provider: str, prices: Prices, asked_tier: object
) -> tuple[int | None, str | None, str | None]:
    """Cost, currency and price id of a call that was answered."""
    model = reply.model or call.model
    if model != call.model and _same(call.model, model) and prices.currency(provider, model, call.sent_at_us) is None:
        model = call.model  # a snapshot of what was asked for, which no list names
    if reply.usage is None:
        return None, prices.currency(provider, model, call.sent_at_us), None
    tier = reply.service_tier or (asked_tier if isinstance(asked_tier, str) else None)
    charge = prices.charge(provider, model, call.sent_at_us, reply.usage, tier=tier, lane=call.lane)
    return (None, None, None) if charge is None else (charge.cost, charge.currency, charge.price_id)


def _same(asked: str, served: str) -> bool:
    """Whether an answer's name of the model is that of the request with something added: a date, a folder."""
    return re.fullmatch(rf"(.*/)?{re.escape(asked)}(-\d[\d-]*|[@:].+)?", served, re.IGNORECASE) is not None
