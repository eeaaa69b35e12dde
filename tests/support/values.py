"""Calls, outcomes and rows of made-up but lawful values, for the tests of what stores and counts them."""

from typing import Any

from hypothesis import strategies as st

from batch.core.records import NO_USAGE, Call, Outcome, Sums, Usage

COUNT = st.integers(0, 2**40)
MAYBE = st.none() | COUNT

usages = st.builds(
    Usage,
    prompt_tokens=COUNT,
    completion_tokens=COUNT,
    total_tokens=COUNT,
    cached_tokens=MAYBE,
    reasoning_tokens=MAYBE,
    cache_write_tokens=MAYBE,
    estimated=st.booleans(),
)


def call(number: int = 0, **fields: Any) -> Call:
    """An answered call of 10 + 5 tokens for 0.000001 CNY, unless told otherwise."""
    known: dict[str, Any] = {
        "client_call_id": f"pm-{number}",
        "turn": 0,
        "attempt": 0,
        "provider": "glm",
        "lane": "sync",
        "state": "answered",
        "model_asked": "glm-4",
        "sent_at_us": 1_000 + number,
        "usage": Usage(10, 5, 15, 2, 1),
        "cost": 1_000_000,
        "currency": "CNY",
        "answered_at_us": 2_000 + number,
    }
    return Call(**{**known, **fields})


def refused(number: int = 0, **fields: Any) -> Call:
    """A call the provider said no to: known to have cost nothing."""
    return call(number, **{"state": "refused", "usage": NO_USAGE, "cost": 0, "currency": None, **fields})


def unknown(number: int = 0, **fields: Any) -> Call:
    """A call that left and was never answered."""
    known = {"state": "unknown", "usage": None, "cost": None, "currency": None, "answered_at_us": None}
    return call(number, **{**known, **fields})


def outcome(answer: str | None = "yes", **fields: Any) -> Outcome:
    """An ok outcome of a row, unless told otherwise."""
    known: dict[str, Any] = {
        "status": "ok",
        "sums": Sums(calls=1, turns=1),
        "lane": "sync",
        "provider": "glm",
        "model_asked": "glm-4",
        "settled_at_us": 3_000,
        "answer": answer,
    }
    return Outcome(**{**known, **fields})


def failed(**fields: Any) -> Outcome:
    """A failed outcome, worth another try unless told otherwise."""
    known = {"status": "failed", "error_kind": "server", "error_code": "500", "retryable": True}
    return outcome(None, **{**known, **fields})


calls = st.one_of(
    st.builds(call, usage=usages | st.none(), cost=MAYBE, currency=st.sampled_from(["CNY", "USD"]), polls=COUNT),
    st.builds(refused, st.integers(0, 9)),
    st.builds(unknown, st.integers(0, 9)),
)
outcomes = st.one_of(
    st.builds(outcome, st.text(), sums=st.builds(Sums, tool_calls=COUNT)),
    st.builds(
        failed,
        error_kind=st.sampled_from(["server", "timeout", None]),
        error_code=st.none() | st.sampled_from(["1", "2"]),
        retryable=st.none() | st.booleans(),
    ),
)
