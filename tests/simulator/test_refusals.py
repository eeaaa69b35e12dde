"""Faults that answer in place of the model: status, headers, body, and nothing billed."""

from __future__ import annotations

import base64
import json
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import pytest

from tests.simulator.struck import CHAT, OPENAI_CHAT, fault, whole

if TYPE_CHECKING:
    import httpx

    from tests.simulator.conftest import HandClock, Sim, Start

WALL = 1_795_000_000 + 1000  # the wall time of a HandClock that has not been moved


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def unbilled(sim: Sim, behaviour: int) -> None:
    """Nothing in the books is billed, each record and the log name the fault."""
    for record in sim.books():
        assert (record["billed"], record["total_tokens"], record["cost"]) == (False, 0, "0")
        assert record["fault"] == behaviour
    assert {one["behaviour"] for one in sim.faults()} == {behaviour}


def test_18_may_be_told_to_say_1303(start: Start) -> None:
    """A code is a text on the wire; the scenario may write it as a number too."""
    for written in ("1303", 1303):
        assert code(start(fault(18, code=written)).glm()) == (429, "1303")


@pytest.mark.parametrize("seconds", [2, 40])
def test_20_says_when_as_a_date_beside_its_own_date(start: Start, clock: HandClock, seconds: int) -> None:
    """Both are GMT, by one clock, so that their difference is the wait."""
    sim = start(fault(20, **({} if seconds == 2 else {"seconds": seconds})), clock)
    for answer in (sim.glm(), sim.openai(), sim.submit()):
        assert answer.status_code == 429
        assert answer.headers["retry-after"].endswith(" GMT")
        said, when = (parsedate_to_datetime(answer.headers[name]) for name in ("date", "retry-after"))
        assert said.timestamp() == WALL
        assert (when - said).total_seconds() == seconds
    unbilled(sim, 20)


def test_20_may_come_from_a_clock_that_is_off(start: Start, clock: HandClock) -> None:
    """An hour behind: the date lies in the past for us, and two seconds ahead for the server."""
    answer = start(fault(20, skew_s=-3600), clock).glm()
    said, when = (parsedate_to_datetime(answer.headers[name]).timestamp() for name in ("date", "retry-after"))
    assert (said, when) == (WALL - 3600, WALL - 3598)


def test_21_says_milliseconds_and_contradicts_them_in_seconds(start: Start) -> None:
    """The finer header is the one to follow."""
    answer = start(fault(21)).glm()
    assert answer.status_code == 429
    assert (answer.headers["retry-after-ms"], answer.headers["retry-after"]) == ("1320", "20")
    answer = start(fault(21, milliseconds=250, seconds=9)).openai()
    assert (answer.headers["retry-after-ms"], answer.headers["retry-after"]) == ("250", "9")


def test_22_goes_through_the_odd_waits_or_keeps_to_one(start: Start) -> None:
    """An hour, no sense, zero and a negative number."""
    sim = start(fault(22))
    assert {sim.glm().headers["retry-after"] for _ in range(4)} == {"3600", "soon", "0", "-5"}
    unbilled(sim, 22)
    told = start(fault(22, form="negative"))
    assert {told.glm().headers["retry-after"] for _ in range(4)} == {"-5"}
    assert start(fault(22, form=3600)).glm().headers["retry-after"] == "3600"


def test_23_refuses_most_calls_for_one_model_and_none_for_others(start: Start) -> None:
    """Without rate, rows and first it is 85 % of the calls."""
    sim = start(fault(23, model="glm-4"))
    answers = [sim.glm(f"row {number}") for number in range(100)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert 75 <= len(refused) <= 95
    assert {code(answer) for answer in refused} == {(429, "1305")}
    assert {sim.glm(f"row {number}", model="glm-4-air").status_code for number in range(20)} == {200}


@pytest.mark.parametrize(
    ("told", "glm", "openai"),
    [("1305", (429, "1305"), (503, "server_is_overloaded")), ("1312", (429, "1312"), (429, "slow_down"))],
)
def test_23_has_two_codes_in_each_dialect(start: Start, told: str, glm: Any, openai: Any) -> None:
    """A rate of its own gives way to what the scenario says."""
    sim = start(fault(23, code=told, first=1))
    assert (code(sim.glm()), code(sim.openai())) == (glm, openai)
    assert (sim.glm().status_code, sim.openai().status_code) == (200, 200)


def test_24_comes_when_the_key_has_spent_its_tokens(start: Start) -> None:
    """Each key has an account of its own; tasks count from their submission."""
    sim = start(fault(24, after_tokens=40))
    spent = 0
    while (answer := sim.glm()).status_code == 200:
        spent += answer.json()["usage"]["total_tokens"]
    assert code(answer) == (429, "1113")
    assert answer.json()["error"]["message"] == "Insufficient balance or no resource package. Please recharge."
    assert 40 <= spent == sum(record["total_tokens"] for record in sim.books())
    sim.key = "writer.secret"
    while sim.submit().status_code == 200:
        pass
    assert code(sim.submit()) == (429, "1113")


def test_24_is_insufficient_quota_on_the_other_dialect(start: Start) -> None:
    """Without a number of tokens there is no money from the first call on."""
    answer = start(fault(24)).openai()
    assert code(answer) == (429, "insufficient_quota")
    assert answer.json()["error"]["type"] == "insufficient_quota"


@pytest.mark.parametrize("told", ["1304", "1308", "1310"])
def test_25_names_a_time_in_beijing_and_passes_after_it(start: Start, clock: HandClock, told: str) -> None:
    """The time stays the same from call to call; other dialects know no such limit."""
    sim = start(fault(25, code=told, seconds=100), clock)
    first = sim.glm("one")
    assert code(first) == (429, told)
    assert "2026-11-18 19:25:00" in first.json()["error"]["message"], "WALL + 100 s in UTC+8"
    clock.move(60)
    assert sim.glm("two").json() == first.json()
    assert sim.openai().status_code == 200
    clock.move(40)
    assert sim.glm("three").status_code == 200


def test_26_asks_for_more_than_the_limit_in_openais_words(start: Start) -> None:
    """A rate limit by code, and yet no waiting helps."""
    sim = start(fault(26, limit=1000, requested=1500))
    answer = sim.openai()
    assert code(answer) == (429, "rate_limit_exceeded")
    error = answer.json()["error"]
    assert error["type"] == "tokens"
    assert error["message"].startswith("Request too large for gpt-5-mini in organization org-")
    assert "Limit 1000, Requested 1500." in error["message"]
    assert "retry-after" not in answer.headers
    unbilled(sim, 26)
    assert sim.glm().status_code == 200


def test_27_is_dashscopes_insufficient_quota(start: Start) -> None:
    """The envelope carries a request id; the text speaks of tokens, not of money."""
    answer = start(fault(27)).openai()
    assert code(answer) == (429, "insufficient_quota")
    assert answer.json()["request_id"]
    assert "error-code#token-limit" in answer.json()["error"]["message"]


def test_29_goes_through_the_pages_of_a_proxy(start: Start) -> None:
    """HTML under an HTML label, no JSON anywhere."""
    sim = start(fault(29))
    answers = {answer.status_code: answer for answer in (sim.glm() for _ in range(3))}
    assert set(answers) == {502, 503, 504}
    for answer in answers.values():
        assert answer.headers["content-type"] == "text/html"
        assert answer.text.startswith("<html>")
        assert "nginx" in answer.text
    assert start(fault(29, status=504)).openai().status_code == 504
    unbilled(sim, 29)


def test_30_is_a_login_page_with_status_200(start: Start) -> None:
    """A captive portal answers in place of the service."""
    sim = start(fault(30))
    answer = sim.glm()
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "<form" in answer.text
    unbilled(sim, 30)


def test_31_is_an_error_with_status_200(start: Start) -> None:
    """Both dialects keep their own envelope."""
    sim = start(fault(31))
    assert (code(sim.glm()), code(sim.openai())) == ((200, "1305"), (200, "server_is_overloaded"))
    unbilled(sim, 31)


def test_32_is_a_404_inside_a_200(start: Start) -> None:
    """Flat, with a number for a code."""
    sim = start(fault(32))
    answer = sim.glm()
    assert answer.status_code == 200
    assert answer.content == b'{"code":500,"msg":"404 NOT_FOUND","success":false}'
    unbilled(sim, 32)


def test_63_lets_a_token_expire_in_mid_run(start: Start) -> None:
    """The first attempts meet 1003, on polls too; the other dialect knows only a wrong key."""
    sim = start(fault(63, first=1))
    assert [code(sim.glm()), sim.glm().status_code] == [(401, "1003"), 200]
    assert [code(sim.openai()), sim.openai().status_code] == [(401, "invalid_api_key"), 200]
    sim.submit()
    task_id = sim.submit().json()["id"]
    assert [code(sim.poll(task_id)), sim.poll(task_id).status_code] == [(401, "1003"), 200]


def test_63_may_strike_old_tokens_only(start: Start, clock: HandClock) -> None:
    """A token is as old as its own timestamp says; a raw key never is."""
    sim = start(fault(63, older_than_s=180), clock)

    def token(made_s: float) -> str:
        claims = {"api_key": "reader", "exp": (WALL + 9000) * 1000, "timestamp": made_s * 1000}
        parts = ({"alg": "HS256", "sign_type": "SIGN"}, claims)
        packed = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
        return ".".join([*packed, "c2ln"])

    body = sim.body("hello", "glm-4", {})
    assert sim.post(CHAT, body, token(WALL - 100)).status_code == 200
    assert code(sim.post(CHAT, body, token(WALL - 200))) == (401, "1003")
    assert sim.post(CHAT, body).status_code == 200
    assert sim.post(OPENAI_CHAT, body, "sk-with.two.dots").status_code == 200


def test_63_may_revoke_a_key_after_so_many_requests(start: Start) -> None:
    """Each key is counted for itself, and stays revoked."""
    sim = start(fault(63, form="revoked", after=2))
    assert [sim.glm(f"row {n}").status_code for n in range(4)] == [200, 200, 401, 401]
    assert code(sim.glm()) == (401, "1002")
    assert [sim.openai(f"row {n}").status_code for n in range(3)] == [200, 200, 401]


def test_64_points_elsewhere(start: Start) -> None:
    """Four statuses in turn; the place named is ours unless the scenario names another."""
    sim = start(fault(64))
    answers = {answer.status_code: answer for answer in (sim.glm() for _ in range(4))}
    assert set(answers) == {301, 302, 307, 308}
    assert {answer.headers["location"] for answer in answers.values()} == {
        "http://127.0.0.1:9/elsewhere/chat/completions"
    }
    told = start(fault(64, status=308, to="https://elsewhere.invalid/v1")).openai()
    assert (told.status_code, told.headers["location"]) == (308, "https://elsewhere.invalid/v1")
    unbilled(sim, 64)


def test_65_filters_the_same_rows_whenever_they_are_asked(start: Start) -> None:
    """The coin falls for the conversation, not for the attempt or the route."""
    sim = start(fault(65, rate=0.3))
    rows = [f"row {number}" for number in range(40)]
    refused = [[sim.glm(row).status_code == 400 for row in rows] for _ in range(3)]
    assert refused[0] == refused[1] == refused[2] == [sim.submit(row).status_code == 400 for row in rows]
    assert 4 <= sum(refused[0]) <= 20


def test_65_says_1301_in_the_providers_words(start: Start) -> None:
    """The exact text, as recorded."""
    sim = start(fault(65, rows=["bad"]))
    answer = sim.glm("something bad")
    assert code(answer) == (400, "1301")
    assert answer.json()["error"]["message"] == (
        "系统检测到输入或生成内容可能包含不安全或敏感内容，请您避免输入易产生敏感内容的提示语，感谢您的配合。"
    )
    assert code(sim.openai("bad too")) == (400, "content_filter")
    assert sim.glm("good").status_code == 200


def test_66_has_a_clock_that_is_hours_off(start: Start, clock: HandClock) -> None:
    """The first attempt is told a time by that clock; good answers show it in their date."""
    sim = start(fault(66, skew_s=-7200, seconds=3), clock)
    refused, answer = sim.glm(), sim.glm()
    said, when = (parsedate_to_datetime(refused.headers[name]).timestamp() for name in ("date", "retry-after"))
    assert (refused.status_code, said, when) == (429, WALL - 7200, WALL - 7197)
    assert (answer.status_code, parsedate_to_datetime(answer.headers["date"]).timestamp()) == (200, WALL - 7200)
    assert [record["billed"] for record in sim.books()] == [False, True]
    usual = start(fault(66, refuse_first=0), clock).glm()
    assert parsedate_to_datetime(usual.headers["date"]).timestamp() == WALL + 3 * 3600


@pytest.mark.parametrize("path", [CHAT, OPENAI_CHAT])
def test_70_floods_with_headers_in_odd_case(start: Start, path: str) -> None:
    """A refusal with three waits, the first of no sense; then an answer in the same flood."""
    sim = start(fault(70))
    head, _ = whole(sim, path, "sk-a.b")
    names = [line.partition(b": ") for line in head.split(b"\r\n")[1:]]
    assert head.startswith(b"HTTP/1.1 429")
    waits = [(name, value) for name, _, value in names if name.lower() == b"retry-after"]
    assert waits == [(b"Retry-after", b"soon"), (b"RETRY-AFTER", b"1"), (b"retry-after", b"30")]
    assert sum(name.lower().startswith(b"x-ratelimit-") for name, _, _ in names) == 200
    assert (b"X-Should-Retry", b": ", b"true") in names
    head, body = whole(sim, path, "sk-a.b")
    assert head.startswith(b"HTTP/1.1 200")
    assert b"X-Should-Retry: false" in head
    assert json.loads(body)["choices"]
    assert [record["billed"] for record in sim.until_books(2)] == [False, True]


def test_71_goes_through_the_rare_statuses(start: Start) -> None:
    """Nine of them, each with an error body."""
    sim = start(fault(71))
    answers = [sim.glm() for _ in range(9)]
    assert {answer.status_code for answer in answers} == {408, 409, 413, 422, 425, 434, 435, 499, 529}
    assert all(answer.json()["error"]["message"] for answer in answers)
    unbilled(sim, 71)
    told = start(fault(71, status=529))
    assert {told.openai().status_code for _ in range(3)} == {529}
    assert told.openai().json()["error"]["type"] == "server_error"


def test_72_is_deepseeks_empty_purse(start: Start) -> None:
    """HTTP 402 and two words."""
    sim = start(fault(72))
    answer = sim.openai()
    assert (answer.status_code, answer.json()["error"]["message"]) == (402, "Insufficient Balance")
    unbilled(sim, 72)


def test_a_fault_for_one_model_passes_over_the_others(start: Start) -> None:
    """Names are compared without regard to case, on every route."""
    sim = start(fault(18, model="GLM-4"))
    assert [sim.glm().status_code, sim.submit().status_code] == [429, 429]
    assert [sim.glm(model="glm-4-air").status_code, sim.openai().status_code] == [200, 200]
