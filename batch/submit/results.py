"""What an exchange came to: the answer without our key, the state its call ends in, and what it tells of the provider.

Owns the reading of results that every lane shares; pure.
"""

from __future__ import annotations

from typing import Final

import msgspec

from batch.core.errors import FailureKind, WireError
from batch.core.records import CallState, Failure, Incoming, Reply, Verdict
from batch.core.redaction import masked, redact
from batch.limits.outage import Observation

STOPPED: Final = "run_stopped"
"""Code of calls that we ended ourselves; like those ended by our death, they do not count against max_attempts."""
ENDED: Final = "process_ended"
"""Code of calls that ended with a process of ours."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Reply).decode
_decode_failure = msgspec.json.Decoder(Failure).decode


def cleaned(incoming: Incoming) -> Incoming:
    """The answer without our key, wherever in it the provider echoes it."""
    body = masked(incoming.body)
    if body is incoming.body and incoming.status == 200:
        return incoming
    headers = {name: redact(value) for name, value in incoming.headers.items()}  # a refusal's request id is one of them
    return Incoming(incoming.status, headers, body)


def masked_reply(reply: Reply) -> Reply:
    """The reply without our key, for a provider that echoes it piece by piece."""
    data = _encode(reply)
    clean = masked(data)
    return reply if clean is data else _decode(clean)


def masked_failure(failure: Failure) -> Failure:
    """The failure without our key: a frame of a stream was not cleaned before it was judged."""
    data = _encode(failure)
    clean = masked(data)
    return failure if clean is data else _decode_failure(clean)


def state_of(result: Reply | Failure) -> CallState:
    """The state a call ends in; see `records.Call`."""
    if isinstance(result, Reply):
        return "answered"
    if not result.sent:
        return "failed"
    if not result.answered:
        return "unknown"
    return "failed" if result.kind == "task" else "refused"


def observation_of(result: Reply | Failure) -> Observation:
    """What a call tells of the provider's health and limits."""
    if isinstance(result, Reply):
        return "answered"
    if result.code in (STOPPED, ENDED):
        return "nothing"
    if not result.sent:
        return "unreached"
    if result.kind == "rate_limit" and result.retry_after_s is None:
        return "in_flight"  # no word of a time: too many at once, as far as one can tell
    return _HEARD.get(result.kind, "answered")


def failure_of(exc: WireError) -> Failure:
    """An exchange without a complete answer, as the failure of its call."""
    once: Verdict = "once" if exc.kind == "bad_payload" else "retry"
    return Failure(
        kind=exc.kind,
        verdict="stop" if exc.permanent else once,
        message=str(exc),
        sent=exc.sent,
        answered=False,
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
