"""A key that is fetched again when it is refused: in a thread, once, and only as long as it helps."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable

import pytest

from batch.core.clock import Clock, HandClock
from batch.core.errors import RefusedToStart
from batch.core.records import Failure, Incoming
from batch.core.redaction import redact
from batch.providers.fetchedkey import COMING_HOME_S, FetchedKey
from batch.providers.glm import Glm
from batch.providers.openai import OPENAI, OpenAI
from batch.providers.registry import PROVIDERS

OLD, NEW = "canary-old-Zq7kPw3mVx9tRb2c", "canary-new-Ab4kPw3mVx9tRb2d"
REFUSED = Incoming(401, {}, json.dumps({"error": {"code": "invalid_api_key", "message": "no"}}).encode())


def sent(key: FetchedKey) -> str:
    return key.headers()[0][1].removeprefix("Bearer ")


def fetched(*keys: str | Exception, clock: Clock | None = None) -> FetchedKey:
    """A key whose source gives these, one after the other, when it is asked again."""
    left = iter(keys)

    def fetch() -> str:
        key = next(left)
        if isinstance(key, Exception):
            raise key
        return key

    return FetchedKey(OLD, fetch, clock or HandClock())


def test_another_key_is_sent_from_then_on_and_masked() -> None:
    """Both of them; and neither is in a repr."""
    key = fetched(NEW)
    assert sent(key) == OLD
    assert key.headers() is key.headers()
    assert key.renew(expired=False)
    key.wait()
    assert sent(key) == NEW
    assert redact(f"{OLD} {NEW}") == "[masked] [masked]"
    assert OLD not in f"{key!r}{key}"


def test_the_same_key_or_none_ends_the_tries() -> None:
    """As with a key from a variable: the run stops, exit 6."""
    for again in (OLD, RefusedToStart("locked")):
        key = fetched(again)
        assert key.renew(expired=True)
        key.wait()
        assert not key.renew(expired=True)
        assert sent(key) == OLD


def test_refusals_of_requests_that_left_with_the_key_before_fetch_nothing() -> None:
    """All calls in flight hear of the end of one key, within a minute; then it is another one that ended."""
    clock = HandClock()
    key = fetched(NEW, f"{NEW}2", clock=clock)
    assert key.renew(expired=False)
    key.wait()
    for _ in range(50):
        assert key.renew(expired=False)
        key.wait()
        clock.advance(COMING_HOME_S / 60)
    assert sent(key) == NEW
    clock.advance(COMING_HOME_S)
    assert key.renew(expired=False)
    key.wait()
    assert sent(key) == f"{NEW}2"


def test_one_fetch_at_a_time_and_the_run_goes_on_meanwhile() -> None:
    """A person may have to unlock something: nobody waits for that but the rows."""
    asked, unlocked, calls = threading.Event(), threading.Event(), []

    def fetch() -> str:
        calls.append(1)
        asked.set()
        assert unlocked.wait(60)
        return NEW

    key = FetchedKey(OLD, fetch, HandClock())
    assert key.renew(expired=False)
    assert asked.wait(60)
    assert all(key.renew(expired=False) for _ in range(20))
    assert sent(key) == OLD
    unlocked.set()
    key.wait()
    assert (sent(key), len(calls)) == (NEW, 1)


@pytest.mark.parametrize("speaks", [lambda key: OpenAI(OPENAI, key), lambda key: Glm(PROVIDERS["glm"], key)])
def test_a_refused_call_is_tried_again_as_long_as_it_may_help(speaks: Callable[[FetchedKey], OpenAI | Glm]) -> None:
    """HTTP 401, in both dialects; any other refusal is what it was."""
    key = fetched(NEW, NEW)
    dialect = speaks(key)
    failure = dialect.read_chat(REFUSED)
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.verdict) == ("auth", "retry")
    key.wait()
    key = fetched(OLD)
    dialect = speaks(key)
    dialect.read_chat(REFUSED)
    key.wait()
    failure = dialect.read_chat(REFUSED)
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.verdict) == ("auth", "stop")
