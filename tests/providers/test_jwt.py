"""SignedTokens made from a GLM key: their form, their life, their renewal, and that none of them is ever seen."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.core import redaction
from batch.core.clock import HandClock
from batch.core.errors import RefusedToStart
from batch.core.records import Failure, Incoming, Request
from batch.core.redaction import masked, redact
from batch.providers.base import Credentials, Dialect
from batch.providers.jwt import YOUNG_REFUSED_MAX, SignedTokens
from batch.providers.registry import KeyForm, resolve
from batch.simulator.auth import glm_key

ID, SECRET = "fedcba9876543210fedcba9876543210", "Qw3rTy9UiOp7AsDf"
KEY = f"{ID}.{SECRET}"
REQUEST = Request(model="glm-4", messages=[{"role": "user", "content": "hi"}])
EXPIRED = json.dumps({"error": {"code": "1003", "message": "token expired"}}).encode()


def sent(tokens: SignedTokens) -> str:
    """The token that would go out now."""
    [(name, value)] = tokens.headers()
    assert name == "Authorization"
    scheme, token = str(value).split(" ")
    assert scheme == "Bearer"
    return token


def part(token: str, number: int) -> Any:
    """One decoded part of a token."""
    text = token.split(".")[number]
    assert "=" not in text
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def spoken(clock: HandClock, key_form: KeyForm = "jwt", **environ: str) -> Dialect:
    """The dialect of a job under a key form."""
    variables = environ or {"ZHIPUAI_API_KEY": KEY}
    found = resolve("glm", base_url=None, api_key_env=None, environ=variables, key_form=key_form, clock=clock)
    return found.dialect


def authorization(dialect: Dialect) -> str:
    """What the next call carries."""
    return dict(dialect.chat(REQUEST, "c").headers)["Authorization"]


def test_a_token_has_the_documented_form_and_a_good_signature() -> None:
    """HS256 over the secret, `sign_type` SIGN, times in milliseconds, a life of 210 s."""
    clock = HandClock()
    token = sent(SignedTokens(KEY, clock))
    now_ms = clock.now_us() // 1000
    assert part(token, 0) == {"alg": "HS256", "sign_type": "SIGN", "typ": "JWT"}
    assert part(token, 1) == {"api_key": ID, "exp": now_ms + 210_000, "timestamp": now_ms}
    signed, _, signature = token.rpartition(".")
    right = hmac.new(SECRET.encode(), signed.encode(), hashlib.sha256).digest()
    assert base64.urlsafe_b64encode(right).rstrip(b"=").decode() == signature
    assert glm_key(token, {ID: SECRET}, now_ms) == ID


def test_a_token_is_reused_for_three_minutes_and_never_sent_close_to_its_end() -> None:
    """180 s of its 210."""
    clock = HandClock()
    tokens = SignedTokens(KEY, clock)
    first = tokens.headers()
    clock.advance(179.0)
    assert tokens.headers() is first
    clock.advance(1.5)
    second = tokens.headers()
    assert second != first
    assert tokens.headers() is second


class Wall(HandClock):
    """A clock whose wall time can be set apart from the monotonic one."""

    ahead_us = 0

    def now_us(self) -> int:
        return super().now_us() + self.ahead_us


@pytest.mark.parametrize("step_s", [600, -600])
def test_a_wall_clock_that_is_set_or_a_machine_that_slept_makes_a_new_token(step_s: int) -> None:
    """A token by the old time could be expired, or not yet valid."""
    clock = Wall()
    tokens = SignedTokens(KEY, clock)
    first = sent(tokens)
    clock.ahead_us = step_s * 1_000_000
    assert part(sent(tokens), 1)["timestamp"] == clock.now_us() // 1000
    assert sent(tokens) != first


def test_every_request_of_the_dialect_carries_the_token_of_its_moment() -> None:
    """Chat, submit and poll, and Z.ai's language stays."""
    clock = HandClock()
    dialect = spoken(clock)
    seen = set()
    for _ in range(3):
        headers = {
            dict(outgoing.headers)["Authorization"]
            for outgoing in (dialect.chat(REQUEST, "c"), dialect.submit(REQUEST, "c"), dialect.poll("1"))
        }
        assert len(headers) == 1
        seen |= headers
        clock.advance(200)
    assert len(seen) == 3
    assert all(value.startswith("Bearer eyJ") for value in seen)


def test_an_expired_token_is_made_anew_and_the_call_tried_once_more() -> None:
    """All calls in flight hear of the same expiry; only the first of them renews."""
    clock = HandClock()
    dialect = spoken(clock)
    before = authorization(dialect)
    clock.advance(90)
    assert authorization(dialect) == before
    after = before
    for _ in range(50):
        failure = dialect.read_chat(Incoming(401, {}, EXPIRED))
        assert isinstance(failure, Failure)
        assert (failure.kind, failure.verdict, failure.code) == ("auth", "once", "1003")
        after = authorization(dialect)
        assert after != before
        clock.advance(0.01)
    assert authorization(dialect) == after


def test_a_raw_key_that_expired_stops_the_run_and_so_do_tokens_that_are_never_young_enough() -> None:
    """A clock that is wrong by hours must not make tokens for ever."""
    clock = HandClock()
    raw = spoken(clock, "raw").read_chat(Incoming(401, {}, EXPIRED))
    assert isinstance(raw, Failure)
    assert raw.verdict == "stop"
    dialect = spoken(clock)
    verdicts = []
    for _ in range(YOUNG_REFUSED_MAX + 2):
        authorization(dialect)
        clock.advance(2)
        failure = dialect.read_poll(Incoming(401, {}, EXPIRED))
        assert isinstance(failure, Failure)
        verdicts.append(failure.verdict)
    assert verdicts[:3] == ["once"] * 3
    assert verdicts[-1] == "stop"


def test_a_long_run_may_renew_as_often_as_it_must() -> None:
    """SignedTokens that lived for minutes are no sign of a wrong clock."""
    clock = HandClock()
    dialect = spoken(clock)
    for _ in range(40):
        authorization(dialect)
        clock.advance(100)
        failure = dialect.read_chat(Incoming(401, {}, EXPIRED))
        assert isinstance(failure, Failure)
        assert failure.verdict == "once"


@pytest.mark.parametrize("key", ["nodots", "a.b.c", ".secret", "id.", "."])
def test_a_key_of_another_form_refuses_to_start_without_showing_it(key: str) -> None:
    """The way out is named."""
    with pytest.raises(RefusedToStart, match=r"id\.secret.*raw") as caught:
        spoken(HandClock(), ZHIPUAI_API_KEY=key)
    assert key not in str(caught.value).replace("id.secret", "") or key == "."


@pytest.mark.parametrize("provider", ["openai", "vllm"])
def test_providers_that_take_no_tokens_refuse_to_start(provider: str) -> None:
    """Only BigModel and Z.ai know them."""
    with pytest.raises(RefusedToStart, match=r'key_form = "jwt" is for keys of BigModel'):
        resolve(
            provider,
            base_url="http://h/v1",
            api_key_env=None,
            environ={"OPENAI_API_KEY": "sk-1234567890"},
            key_form="jwt",
        )


def test_key_secret_and_every_token_there_ever_was_are_masked_everywhere() -> None:
    """Promise 8, however many tokens a long run makes."""
    clock = HandClock()
    tokens = SignedTokens(KEY, clock)
    made = []
    for _ in range(200):
        made.append(sent(tokens))
        clock.advance(181)
    assert len(set(made)) == 200
    for secret in (KEY, SECRET, made[0], made[-1]):
        for text in (f"{secret}", f"who is {secret}?", f'{{"a":"{secret}"}}', f"Bearer {secret}, please"):
            assert secret not in redact(text)
            assert secret not in masked(text)
    assert masked(f'{{"a":"{made[7]}","b":2}}') == '{"a":"[masked]","b":2}'
    for shown in (repr(tokens), str(tokens), repr(tokens.headers()), f"{tokens.headers()}"):
        assert SECRET not in shown
        assert made[-1][-20:] not in shown


def test_a_secret_that_is_a_word_does_not_mask_the_word_in_answers() -> None:
    """Keys for the simulator may be anything; answers are kept as they came."""
    SignedTokens("reader.secret", HandClock())
    assert masked("a secret told by the reader") == "a secret told by the reader"


@given(st.from_regex(r"[A-Za-z0-9_-]{1,40}", fullmatch=True), st.from_regex(r"[!-~]{1,40}", fullmatch=True))
def test_every_key_of_the_right_form_makes_tokens_that_the_other_side_accepts(name: str, secret: str) -> None:
    """The simulator shares no code with the client."""
    secret = secret.replace(".", "x")
    clock = HandClock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(redaction, "process", redaction.Masker())  # hundreds of keys are no one's
        token = sent(SignedTokens(f"{name}.{secret}", clock))
    assert glm_key(token, {name: secret}, clock.now_us() / 1000) == name


def test_a_raw_key_is_one_header_for_ever_and_has_no_newer_form() -> None:
    """The dialect builds its headers once."""
    raw = Credentials(KEY)
    assert raw.headers() is raw.headers()
    assert not raw.renew(expired=True)
    assert Credentials("").headers() == ()


def test_a_clock_that_differs_is_told_with_the_expiry() -> None:
    """The way out is another than a new key."""
    clock = HandClock()
    dialect = spoken(clock)
    for date, said in (("Mon, 21 Sep 2026 18:13:20 GMT", "ahead of ours"), ("Mon, 21 Sep 2026 10:13:20 GMT", "behind")):
        failure = dialect.read_chat(Incoming(401, {"date": date}, EXPIRED))
        assert isinstance(failure, Failure)
        assert said in failure.message, (failure.message, clock.now_us())
    plain = dialect.read_chat(Incoming(401, {}, EXPIRED))
    assert isinstance(plain, Failure)
    assert plain.message == "token expired"
