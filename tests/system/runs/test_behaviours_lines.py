"""The provider's refusals, connections and keys, in whole runs: one test for each numbered behaviour."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from batch.core.errors import ProviderStop
from tests.system.runs.conftest import GLM_LANES, ID, KEY, SECRET, Make, Mill
from tests.system.runs.faulty import calls, faulty, finished, gaps, told
from tests.system.runs.test_refusals import everything_under

OK = ("answered", None, None)
OPENAI_OR_LANES = [("glm", "sync"), ("glm", "task"), ("openai", "sync")]
BOTH = pytest.mark.parametrize(("provider", "lane"), OPENAI_OR_LANES)


def stopped(mill: Mill, *said: str) -> None:
    """A run that stops with exit 6 loses nothing: the next one, unhurt, finishes every row."""
    count = 4
    report = mill.run()
    assert (report.exit_code, report.state) == (6, "provider"), report
    assert isinstance(report.fault, ProviderStop)
    for word in said:
        assert word in str(report.fault)
    assert report.totals.rows_failed == 0, "a row is not at fault"
    assert mill.run().exit_code == 0
    mill.check_table(count)
    mill.check_books()
    assert sum(record["billed"] for record in mill.books()) == count


@pytest.mark.parametrize("skew_s", [0, -9000])
def test_fault_20_a_date_to_wait_for_counts_from_the_servers_own_clock(skew_s: int, make: Make) -> None:
    """A second as a date is a second, whatever hour the server thinks it is."""
    mill = faulty(make, 20, first=1, seconds=1, skew_s=skew_s)
    finished(mill)
    assert calls(mill) == [("refused", "rate_limit", "1302"), OK]
    [gap] = gaps(mill)
    assert 0.95 <= gap < 600, gap


@pytest.mark.parametrize(("provider", "lane"), [("glm", "task"), ("openai", "sync")])
def test_fault_21_milliseconds_count_before_seconds(provider: str, lane: str, make: Make) -> None:
    """0.7 s, not 20 s, and not our own back-off of less."""
    mill = faulty(make, 21, first=1, milliseconds=700, seconds=20, provider=provider, lane=lane)
    finished(mill)
    code = "1302" if provider == "glm" else "rate_limit_exceeded"
    assert calls(mill) == [("refused", "rate_limit", code), OK]
    [gap] = gaps(mill)
    assert 0.69 <= gap < 15, gap


@pytest.mark.parametrize("form", ["garbage", "0", "negative"])
def test_fault_22_a_waiting_time_that_is_none_means_our_own_back_off(form: str, make: Make) -> None:
    """Never a busy loop."""
    mill = faulty(make, 22, first=1, form=form)
    finished(mill)
    [gap] = gaps(mill)
    assert 0.36 <= gap < 60, gap


def test_fault_22_an_hour_to_wait_stops_the_run_with_its_rows_resumable(make: Make) -> None:
    """Longer than anybody waits for: exit 6, and the same command goes on later."""
    stopped(faulty(make, 22, first=1, form="3600"))


def test_fault_26_a_request_larger_than_the_whole_limit_fails_its_row_alone(make: Make) -> None:
    """Permanent at the first try, although it is a 429."""
    mill = faulty(make, 26, provider="openai")
    finished(mill, failed=(1,))
    assert told(mill) == ("too_large", "rate_limit_exceeded", False)
    assert len(calls(mill)) == 1
    assert mill.run().state == "nothing_to_do"


def test_fault_27_insufficient_quota_of_model_studio_is_a_rate_limit(make: Make) -> None:
    """The same word means no money at OpenAI: the envelope tells them apart."""
    mill = faulty(make, 27, first=1, provider="openai")
    finished(mill)
    assert calls(mill) == [("refused", "rate_limit", "insufficient_quota"), OK]


@pytest.mark.parametrize(
    ("status", "provider", "lane"),
    [
        (500, "glm", "sync"),
        (502, "glm", "task"),
        (503, "glm", "sync"),
        (503, "openai", "sync"),
        (504, "openai", "sync"),
    ],
)
def test_fault_28_an_error_of_the_server_is_tried_again(status: int, provider: str, lane: str, make: Make) -> None:
    """It says that nothing was done, so nothing is open in the books."""
    mill = faulty(make, 28, first=1, status=status, provider=provider, lane=lane)
    finished(mill)
    [refused, answered] = calls(mill)
    assert answered == OK
    assert refused[0] == "refused"
    assert refused[1] == ("overloaded" if (provider, status) == ("openai", 503) else "server")


@pytest.mark.parametrize(("status", "state"), [(502, "unknown"), (503, "refused"), (504, "unknown")])
def test_fault_29_a_page_of_a_gateway_is_tried_again_and_not_read(status: int, state: str, make: Make) -> None:
    """Behind a 504 the answer may have been made and billed; behind a 503 nothing was."""
    mill = faulty(make, 29, first=1, status=status)
    finished(mill)
    assert calls(mill) == [(state, "server", None), OK]


@pytest.mark.parametrize("lane", GLM_LANES)
def test_fault_30_a_login_page_is_tried_once_more_and_then_fails_the_row(lane: str, make: Make) -> None:
    """Two calls, both possibly billed, and a row that may be tried again."""
    mill = faulty(make, 30, lane=lane)
    mill.limits["concurrency"] = 1  # row 0 is answered first: before that, it would be the address
    finished(mill, failed=(1,))
    assert told(mill) == ("bad_payload", None, True)
    assert calls(mill) == [("unknown", "bad_payload", None)] * 2
    message = next(row[1] for row in mill.results("n, error_message") if row[0] == 1)
    assert "Sign in" in message
    assert len(message) < 400


@pytest.mark.parametrize("code", ["1305", "1312"])
def test_fault_31_an_error_inside_200_is_what_its_code_says(code: str, make: Make) -> None:
    """Looked for before choices."""
    mill = faulty(make, 31, first=1, code=code)
    finished(mill)
    assert calls(mill) == [("refused", "overloaded", code), OK]


@pytest.mark.parametrize("lane", GLM_LANES)
def test_fault_32_a_route_that_is_not_there_is_permanent(lane: str, make: Make) -> None:
    """HTTP 200, code 500, and no try more."""
    mill = faulty(make, 32, lane=lane)
    mill.limits["concurrency"] = 1  # row 0 is answered first: before that, it would be the address
    finished(mill, failed=(1,))
    assert told(mill) == ("bad_request", "500", False)
    assert len(calls(mill)) == 1


@pytest.mark.parametrize("behaviour", [34, 35])
@BOTH
def test_fault_34_35_a_body_that_ends_too_soon_may_have_been_billed(
    behaviour: int, provider: str, lane: str, make: Make
) -> None:
    """Reset or closed in peace: `unknown`, sent again, and the bill is within what we say."""
    mill = faulty(make, behaviour, first=1, route="submit" if lane == "task" else "chat", provider=provider, lane=lane)
    finished(mill)
    assert calls(mill) == [("unknown", "transport", None), OK]
    assert len([record for record in mill.books() if record["billed"]]) == 5


@pytest.mark.parametrize("behaviour", [34, 35])
def test_fault_34_35_a_poll_that_is_cut_is_asked_again_and_nothing_bought_again(behaviour: int, make: Make) -> None:
    """The task is the call; a poll costs nothing."""
    mill = faulty(make, behaviour, first=2, route="poll", lane="task")
    finished(mill)
    mill.check_books()
    assert calls(mill) == [OK]


@pytest.mark.parametrize(
    ("behaviour", "options", "lane"),
    [
        (43, {"seconds": 8.0}, "sync"),
        (43, {"seconds": 8.0}, "task"),
        (44, {"interval_ms": 50}, "sync"),
        (44, {"gap_s": 8.0}, "sync"),
    ],
)
def test_fault_43_44_slowness_ends_at_the_calls_own_time(
    behaviour: int, options: dict[str, Any], lane: str, make: Make
) -> None:
    """No first byte, a byte at a time, a gap in the middle: `timeout`, possibly billed, sent again."""
    mill = faulty(make, behaviour, first=1, lane=lane, **options)
    mill.limits["call_timeout_s"] = 2.0
    finished(mill)
    assert calls(mill) == [("unknown", "timeout", None), OK]
    assert max(gaps(mill)) < 8.0


@contextmanager
def elsewhere() -> Iterator[tuple[str, list[str]]]:
    """Another host that notes every request it gets."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.path} {self.headers.get('Authorization')}")
            self.send_error(500)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v4", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "provider", "lane"),
    [
        (301, "glm", "sync"),
        (302, "openai", "sync"),
        (307, "glm", "task"),
        (307, "glm", "sync"),
        (308, "openai", "sync"),
    ],
)
def test_fault_64_a_redirect_takes_the_key_nowhere(status: int, provider: str, lane: str, make: Make) -> None:
    """The other host hears nothing; the row fails and says where it was sent."""
    with elsewhere() as (url, asked):
        mill = faulty(make, 64, status=status, to=url, provider=provider, lane=lane)
        mill.limits["concurrency"] = 1  # row 0 is answered first: before that, it would be the address
        finished(mill, failed=(1,))
        assert told(mill) == ("bad_request", "redirect", True)
        assert len(calls(mill)) == 2, "worth another try: others are answered there"
        assert any(url in (message or "") for message in mill.one("error_message"))
        assert asked == []


@pytest.mark.parametrize("form", ["expired", "revoked"])
@pytest.mark.parametrize("lane", GLM_LANES)
def test_fault_63_a_key_refused_in_mid_run_stops_it_with_every_row_resumable(form: str, lane: str, make: Make) -> None:
    """A key that goes out as it is has no newer form: 1003 is final as 1002 is."""
    mill = faulty(make, 63, first=1, form=form, route="submit" if lane == "task" else "chat", lane=lane)
    stopped(mill, "1003" if form == "expired" else "1002", "key")


def jwt(mill: Mill) -> Mill:
    """The same job with tokens made from its key."""
    mill.more = ""
    plain = mill.save

    def save() -> object:
        path = plain() / "job.toml"
        path.write_text(path.read_text("utf-8").replace("[model]\n", '[model]\nkey_form = "jwt"\n'), "utf-8")
        return mill.folder

    mill.save = save  # type: ignore[assignment, method-assign]  # the job is written by hand
    return mill


@pytest.mark.parametrize("lane", GLM_LANES)
def test_fault_63_an_expired_token_is_made_anew_once_and_the_run_goes_on(lane: str, make: Make) -> None:
    """A token the server takes for too old costs one refused call, and no row."""
    slow = "[latency]\nchat_ms = [350, 400]\ntask_ms = [350, 400]\n"
    route = "submit" if lane == "task" else "chat"
    mill = jwt(faulty(make, 63, struck=(), older_than_s=2.0, route=route, more=slow, rows=30, lane=lane))
    report = finished(mill)
    assert report.totals.rows_ok == 30
    refused = mill.calls("error_kind, error_code", "state = 'refused'")
    assert refused
    assert set(refused) == {("auth", "1003")}
    mill.check_books()


@pytest.mark.parametrize("lane", GLM_LANES)
def test_fault_63_a_fresh_token_that_is_refused_as_well_stops_the_run(lane: str, make: Make) -> None:
    """Twice in one row is no expiry: the clock or the key is wrong, and exit 6 says so."""
    mill = jwt(faulty(make, 63, struck=(), route="submit" if lane == "task" else "chat", lane=lane))
    report = mill.run()
    assert (report.exit_code, report.state) == (6, "provider")
    assert "1003" in str(report.fault)
    assert report.totals.rows_failed == 0
    assert not [record for record in mill.books() if record["billed"]]


def test_the_key_its_secret_and_its_tokens_are_nowhere_after_a_run_with_tokens(make: Make) -> None:
    """Promise 8: ledger, results, calls, run files, status, logs; and the provider took the tokens."""
    mill = jwt(make())
    mill.questions(6)
    exit_code, said = mill.command("--log-format", "json")
    assert exit_code == 0, said
    data = everything_under(mill.out)
    for secret in (SECRET, KEY, "eyJhbGciOiJIUzI1NiIsInNpZ25fdHlwZSI6IlNJR04i"):
        assert secret not in said
        assert secret.encode() not in data
    assert {record["key_id"] for record in mill.books()} == {ID}


@pytest.mark.parametrize("lane", GLM_LANES)
def test_fault_65_filtered_input_fails_for_good_and_is_not_sent_again(lane: str, make: Make) -> None:
    """The same rows every time, so trying again would only cost."""
    mill = faulty(make, 65, lane=lane, struck=(1, 3))
    finished(mill, failed=(1, 3))
    assert told(mill) == ("content_filter", "1301", False)
    assert len(mill.books()) == 4
    assert mill.run().state == "nothing_to_do"


@pytest.mark.parametrize("skew_s", [20000])
def test_fault_66_a_server_whose_clock_is_off_by_hours_costs_no_hours(skew_s: int, make: Make) -> None:
    """Delays are lengths of time; the Date of an answer is only what its other dates count from."""
    mill = faulty(make, 66, seconds=1, skew_s=skew_s)
    finished(mill)
    [gap] = gaps(mill)
    assert 0.95 <= gap < 600, gap
    assert mill.calls("count(*)", "latency_ms < 0 OR latency_ms > 60000") == [(0,)]


@pytest.mark.parametrize("form", ["fin", "rst"])
def test_fault_69_an_idle_connection_closed_under_a_call_is_tried_again_and_billed_once(form: str, make: Make) -> None:
    """Nothing was processed; we cannot know, so the call is `unknown`, and the bill is within what we say."""
    mill = faulty(make, 69, first=1, form=form)
    mill.limits["concurrency"] = 1
    finished(mill)
    assert calls(mill) == [("unknown", "transport", None), OK]
    assert len([record for record in mill.books() if record["billed"]]) == 4


def test_fault_70_in_a_flood_of_headers_the_first_valid_one_counts(make: Make) -> None:
    """`soon`, then 1 s, then 30 s: one second."""
    mill = faulty(make, 70, seconds=1)
    finished(mill)
    assert calls(mill) == [("refused", "rate_limit", "1302"), OK]
    [gap] = gaps(mill)
    assert 0.99 <= gap < 25, gap


@pytest.mark.parametrize(
    ("status", "kind"),
    [(408, "server"), (409, "server"), (425, "server"), (529, "overloaded")],
)
@pytest.mark.parametrize("provider", ["openai"])
def test_fault_71_rare_statuses_that_pass_are_tried_again(status: int, kind: str, provider: str, make: Make) -> None:
    """Refused, so nothing is open in the books."""
    mill = faulty(make, 71, first=1, status=status, provider=provider)
    finished(mill)
    [refused, answered] = calls(mill)
    assert refused[:2] == ("refused", kind)
    assert answered == OK


@pytest.mark.parametrize(
    ("status", "kind"), [(413, "too_large"), (422, "bad_request"), (435, "too_large"), (499, "bad_request")]
)
@pytest.mark.parametrize("provider", ["glm", "openai"])
def test_fault_71_rare_statuses_that_stay_fail_the_row_at_once(
    status: int, kind: str, provider: str, make: Make
) -> None:
    """One call, permanent."""
    mill = faulty(make, 71, status=status, provider=provider)
    finished(mill, failed=(1,))
    assert (told(mill)[0], told(mill)[2]) == (kind, False)
    assert len(calls(mill)) == 1


def test_fault_71_no_right_to_the_interface_stops_the_run(make: Make) -> None:
    """434 would be the same for every row."""
    stopped(faulty(make, 71, first=1, status=434))


@pytest.mark.parametrize("provider", ["glm", "openai"])
def test_fault_72_no_balance_stops_the_run_with_its_rows_resumable(provider: str, make: Make) -> None:
    """HTTP 402 whatever the code says."""
    stopped(faulty(make, 72, first=1, provider=provider))
