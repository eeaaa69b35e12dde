"""What comes from a provider becomes ours once: its texts without our keys, everything else as it was."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from msgspec import structs

from batch.core import redaction
from batch.core.records import Accepted, Call, Failure, Processing, Reply, ToolCall, Usage
from batch.core.redaction import MASK
from batch.money.prices import Prices
from batch.submit.results import masked_result, record_of
from batch.submit.rows import OpenCall

KEY = "sk-Jh4wQz8nTd1yLs6vKe3m"


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    """One key, and one that is a word."""
    monkeypatch.setattr(redaction, "process", redaction.Masker())
    redaction.hide(KEY)
    redaction.hide("stop")


def test_every_text_of_a_reply_is_masked() -> None:
    """FIELD 18. Answer, reasoning, tool calls, the message for the next turn, and each name a provider gives."""
    escaped = "".join(f"\\u{ord(char):04x}" for char in KEY)
    call = ToolCall(f"id-{KEY}", f"do-{KEY}", f'{{"key": "{escaped}"}}')
    reply = Reply(
        content=f"you are {KEY}",
        finish_reason=KEY,
        reasoning=KEY.upper(),
        tool_calls=(call,),
        message={"role": "assistant", "content": f"you are {KEY}", "tool_calls": [{"id": KEY, KEY: {"a": [KEY]}}]},
        model=KEY,
        request_id=KEY,
        service_tier=KEY,
        usage=Usage(1, 2, 3),
    )
    assert masked_result(reply) == Reply(
        content=f"you are {MASK}",
        finish_reason=MASK,
        reasoning=MASK,
        tool_calls=(ToolCall(f"id-{MASK}", f"do-{MASK}", f'{{"key": "{MASK}"}}'),),
        message={"role": "assistant", "content": f"you are {MASK}", "tool_calls": [{"id": MASK, MASK: {"a": [MASK]}}]},
        model=MASK,
        request_id=MASK,
        service_tier=MASK,
        usage=Usage(1, 2, 3),
    )


@pytest.mark.parametrize("name", [field.name for field in structs.fields(Reply) if field.type in (str, str | None)])
@pytest.mark.parametrize("shown", [KEY, KEY.upper(), KEY.replace("4", "\\u0034"), f"ü {KEY} \ud800"])
def test_a_key_in_any_one_text_of_a_plain_reply_is_masked(name: str, shown: str) -> None:
    """Also where it is the only text that holds it, and there are no tool calls: nearly all replies are like that."""
    fields: dict[str, Any] = {"content": "a", "finish_reason": "stop", "message": {"role": "assistant", "content": "a"}}
    reply = Reply(**{**fields, name: shown})
    found = masked_result(reply)
    assert isinstance(found, Reply)
    assert KEY.lower() not in str(getattr(found, name)).lower()
    assert MASK in getattr(found, name)
    assert masked_result(plain := Reply(**{**fields, name: "nothing"})) is plain


def test_failures_and_states_are_masked_too() -> None:
    """FIELD 18. Codes go into totals, `status.json` and the summary."""
    failure = Failure(kind="auth", verdict="stop", message=f"no {KEY} nor sk-abcdefghijklmnop1234", code=KEY)
    masked = masked_result(failure)
    assert isinstance(masked, Failure)
    assert (masked.message, masked.code) == (f"no {MASK} nor {MASK}", MASK)
    assert masked_result(Processing(f"at {KEY}", 2.0)) == Processing(f"at {MASK}", 2.0)
    accepted = masked_result(Accepted(task_id="t-1", request_id=KEY, model=KEY))
    assert accepted == Accepted(task_id="t-1", request_id=MASK, model=MASK)


def test_a_task_id_is_exact_or_refused() -> None:
    """It is asked for by that id, and stands in ledger and book as it is."""
    found = masked_result(Accepted(task_id=f"task-{KEY}"))
    assert isinstance(found, Failure)
    assert (found.code, found.sent, found.answered) == ("key_in_task_id", True, False)
    assert KEY not in found.message


@pytest.mark.parametrize(
    "result",
    [
        Reply(content="stop", finish_reason="stop", message={"role": "assistant", "content": "stop"}, model="stop"),
        Accepted(task_id="stop"),
        Processing("stop"),
    ],
)
def test_what_holds_no_key_is_the_same_object(result: Any) -> None:
    """FIELD 19. A key that is a word takes nothing away."""
    assert masked_result(result) is result


def booked(
    result: Reply | Failure, *, model: str = "gpt-5-mini", asked: object = None, provider: str = "openai"
) -> Call:
    """The record of a call that was sent on a Monday of November 2026, at ten in the morning of Shanghai."""
    lease = cast("Any", SimpleNamespace(wait_ms=0))
    call = OpenCall(1, "c-1", row_id="r", model=model, turn=0, attempt=0, lane="sync", lease=lease)
    call.sent_at_us = 1_795_399_200_000_000
    return record_of(call, result, provider=provider, prices=Prices.load(), now_us=0, now=0.0, asked_tier=asked)


def reply(model: str | None = None, tier: str | None = None, usage: Usage | None = Usage(10**6, 0, 10**6)) -> Reply:
    return Reply(content="x", finish_reason="stop", model=model, service_tier=tier, usage=usage)


@pytest.mark.parametrize(
    ("asked", "served", "price_id"),
    [
        (None, None, "openai/gpt-5-mini@2025-08-07"),
        ("flex", "flex", "openai/gpt-5-mini@2026-10-12/flex"),
        ("flex", "default", "openai/gpt-5-mini@2025-08-07"),
        ("priority", None, "openai/gpt-5-mini@2026-10-12/priority"),
        (None, "priority", "openai/gpt-5-mini@2026-10-12/priority"),
        (None, "scale", None),
        (7, None, "openai/gpt-5-mini@2025-08-07"),
    ],
)
def test_the_tier_of_the_answer_counts_and_that_of_the_request_where_it_names_none(
    asked: object, served: str | None, price_id: str | None
) -> None:
    """A full tier is served at the standard price; a tier that no list knows has none."""
    call = booked(reply(tier=served), asked=asked)
    assert (call.price_id, call.service_tier) == (price_id, served)
    assert (call.cost is None) == (price_id is None)


@pytest.mark.parametrize(
    ("asked", "served", "provider", "price_id"),
    [
        ("gpt-5-mini", "gpt-5-nano", "openai", "openai/gpt-5-nano@2025-08-07"),
        ("gpt-5-mini", "gpt-5-mini-2025-08-07", "openai", "openai/gpt-5-mini@2025-08-07"),
        ("glm-4", "glm-4-20260101", "glm", "glm/glm-4@2024-01-16"),
        ("glm-4", "zhipu/GLM-4", "glm", "glm/glm-4@2024-01-16"),
        ("glm-4", "glm-4-super", "glm", None),
        ("glm-4", "qwen-max", "glm", None),
        ("glm-4", None, "glm", "glm/glm-4@2024-01-16"),
    ],
)
def test_the_model_that_answered_is_paid_and_a_strange_one_has_no_price(
    asked: str, served: str | None, provider: str, price_id: str | None
) -> None:
    """A snapshot of what was asked for costs the same; of a model that no list has nobody knows the price."""
    assert booked(reply(model=served), model=asked, provider=provider).price_id == price_id


def test_a_call_costs_what_it_did_when_it_was_sent() -> None:
    """At peak, whenever the answer came."""
    call = booked(reply("deepseek-flash"), model="deepseek-flash", provider="deepseek")
    assert (call.cost, call.currency) == (300_000 * 10**6, "USD")


def test_what_is_not_known_is_null_and_what_was_refused_costs_nothing() -> None:
    """Without usage the currency is known all the same."""
    unknown = booked(reply(usage=None))
    assert (unknown.cost, unknown.currency, unknown.price_id) == (None, "USD", None)
    refused = booked(Failure(kind="rate_limit", verdict="retry", message="no"))
    assert (refused.cost, refused.currency, refused.price_id) == (0, None, None)
    cut = booked(Failure(kind="transport", verdict="retry", message="cut", answered=False))
    assert (cut.state, cut.cost, cut.currency) == ("unknown", None, None)
