"""What servers that nobody here wrote refuse: whose fault it is, and that nothing is bought in vain for it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.support.scripted import Answer, Asked, Scripted, page, reply, scripted, told
from tests.system.runs.conftest import Mill

NO = {"error": {"code": None, "message": "moderated"}}


def mill_for(folder: Path, server: Scripted, *, rows: int, provider: str = "openai", lane: str = "sync") -> Mill:
    mill = Mill(folder, server.url, provider=provider, lane=lane)
    mill.limits = {"concurrency": 4, "max_attempts": 3}
    mill.questions(rows)
    return mill


@pytest.mark.parametrize("lane", ["sync", "stream"])
@pytest.mark.parametrize(
    "refusal",
    [
        told(NO, 403),
        page(403),
        told(NO, 404),
        page(404),
        told({"error": {"code": "model_not_found", "message": "no"}}, 404),
        told({"error": {"type": "permission_error", "message": "no"}}, 403),
    ],
)
def test_a_row_refused_while_others_are_answered_fails_alone(tmp_path: Path, refusal: Answer, lane: str) -> None:
    """FIELD 6: a firewall, moderation; the run stopped with "Check the key", and every later one at the same row."""
    with scripted(lambda asked: refusal if asked.n in (0, 5) else reply()) as server:
        mill = mill_for(tmp_path, server, rows=12, lane=lane)
        report = mill.run()
        assert (report.state, report.exit_code) == ("finished", 1)
        assert [n for n, status in mill.results("n, status") if status == "failed"] == [0, 5]
        assert mill.calls("count(*)", "state = 'unknown'") == [(0,)]
        before = len(server.seen)
        assert mill.run().exit_code == 0, "what failed for good waits, and nobody is asked"
        assert len(server.seen) == before


@pytest.mark.parametrize("refusal", [told(NO, 403), page(404)])
def test_three_rows_refused_and_nobody_ever_answered_stop_the_run_and_fail_no_row(
    tmp_path: Path, refusal: Answer
) -> None:
    """FIELD 6: then it is the key or the model, and the rows are asked when that is mended."""
    answers = [refusal]
    with scripted(lambda asked: answers[0]) as server:
        mill = mill_for(tmp_path, server, rows=40)
        report = mill.run()
        assert (report.state, report.exit_code) == ("provider", 6)
        assert "Check" in str(report.fault)
        assert report.totals.rows == 0
        assert len(server.seen) <= 3 * mill.limits["concurrency"]
        answers[0] = reply()
        assert mill.run().exit_code == 0
        assert mill.one("status") == ["ok"] * 40


def test_a_key_that_was_answered_in_an_earlier_run_is_known_to_be_good(tmp_path: Path) -> None:
    """FIELD 6: the nights after the first ask only what is new, and that may be refused row by row."""
    with scripted(lambda asked: told(NO, 403) if asked.n >= 10 else reply()) as server:
        mill = mill_for(tmp_path, server, rows=10)
        assert mill.run().exit_code == 0
        mill.questions(20)
        report = mill.run()
        assert (report.state, report.totals.rows_failed) == ("finished", 10)
        mill.questions(30)
        mill.environ["OPENAI_API_KEY"] = "sk-another-key-that-nobody-ever-answered"
        assert mill.run().exit_code == 6, "of another key nothing is known"


def test_too_few_rows_to_tell_fail_for_now(tmp_path: Path) -> None:
    """FIELD 6: two rows and a wrong key: exit 1, and the next command asks them again."""
    answers = [told(NO, 403)]
    with scripted(lambda asked: answers[0]) as server:
        mill = mill_for(tmp_path, server, rows=2)
        assert mill.run().exit_code == 1
        assert mill.results("n, retryable") == [(0, True), (1, True)]
        answers[0] = reply()
        assert mill.run().exit_code == 0
        assert mill.one("status") == ["ok", "ok"]


@pytest.mark.parametrize("lane", ["sync", "stream"])
@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (page(200), "JSON"),
        (page(301, Location="https://elsewhere.example/v1"), "elsewhere.example"),
        (page(307, Location="/login"), "/login"),
        (page(400), "HTTP 400"),
        (page(405), "HTTP 405"),
    ],
)
def test_pages_and_redirects_of_a_wrong_address_stop_the_run_and_fail_no_row(
    tmp_path: Path, wrong: Answer, named: str, lane: str
) -> None:
    """FIELD 14: 44 calls were "possibly billed", or every row failed for good and mending base_url changed nothing."""
    answers = [wrong]
    with scripted(lambda asked: answers[0]) as server:
        mill = mill_for(tmp_path, server, rows=40, lane=lane)
        report = mill.run()
        assert (report.state, report.exit_code) == ("provider", 6)
        said = str(report.fault)
        assert f"{server.url}/v1" in said
        assert "base_url" in said
        assert named in said
        assert (report.totals.rows, report.totals.unknown) == (0, 0)
        assert len(server.seen) <= 2 * mill.limits["concurrency"]
        answers[0] = reply()
        assert mill.run().exit_code == 0
        assert mill.one("status") == ["ok"] * 40


@pytest.mark.parametrize("wrong", [page(200), page(307, Location="/login"), page(400)])
def test_where_others_are_answered_a_page_is_that_rows_failure_and_worth_another_try(
    tmp_path: Path, wrong: Answer
) -> None:
    """FIELD 14: a proxy that is in the way of one request."""
    with scripted(lambda asked: wrong if asked.n == 5 else reply()) as server:
        mill = mill_for(tmp_path, server, rows=12)
        report = mill.run()
        assert (report.state, report.exit_code) == ("finished", 1)
        assert mill.query(f"SELECT n, retryable FROM '{mill.out}/results/*.parquet' WHERE status = 'failed'") == [
            (5, True)
        ]


@pytest.mark.parametrize("how", ["body", "header"])
@pytest.mark.parametrize("lane", ["sync", "stream"])
def test_an_answer_that_names_another_call_of_this_folder_is_never_taken(tmp_path: Path, lane: str, how: str) -> None:
    """FIELD 13: a proxy swapped answers, each truthfully named: 40 of 40 rows were ok with another row's answer."""
    held: dict[int, str] = {}

    def swap(asked: Asked) -> Answer:
        ours = asked.headers["x-client-request-id"]
        held[asked.n] = ours
        if asked.times:
            return named(ours, asked.n)
        other = next((n for n in held if n != asked.n), asked.n)
        return named(held[other], other)

    def named(call_id: str, n: int) -> Answer:
        status, headers, body = reply(f"about {n}", **({"id": call_id} if how == "body" else {}))
        return status, headers | ({"X-Client-Request-Id": call_id} if how == "header" else {}), body

    with scripted(swap) as server:
        mill = mill_for(tmp_path, server, rows=40, lane=lane)
        assert mill.run().exit_code == 0
        assert mill.results() == [(n, f"about {n}") for n in range(40)]
        assert mill.calls("count(*)", "state = 'unknown' AND error_code = 'foreign_reply'")[0][0] >= 30


@pytest.mark.parametrize("form", ["615-{}-1", "pm-0123456789abcdef-7", "req-1", "{} "])
def test_an_id_that_was_never_issued_proves_nothing(tmp_path: Path, form: str) -> None:
    """FIELD 13: gateways put something around our id, or make one of their own."""
    with scripted(lambda asked: reply(id=form.format(asked.headers["x-client-request-id"]))) as server:
        mill = mill_for(tmp_path, server, rows=5)
        assert mill.run().exit_code == 0
        assert len(server.seen) == 5


@pytest.mark.parametrize("poll_id", [None, "req-of-the-poll", "ours"])
def test_a_poll_that_names_no_call_of_ours_is_the_tasks_own(tmp_path: Path, poll_id: str | None) -> None:
    """FIELD 13: without an id, or with one of the gateway's, every task row was bought twice."""
    given: dict[str, str] = {}

    def serve(asked: Asked) -> Answer:
        if asked.body:
            given[f"task-{len(given)}"] = asked.body["request_id"]
            name = f"task-{len(given) - 1}"
            return told({"id": name, "request_id": asked.body["request_id"], "task_status": "PROCESSING"})
        ours = given[asked.path.rpartition("/")[2]]
        shown = {} if poll_id is None else {"request_id": ours if poll_id == "ours" else poll_id}
        status, headers, body = reply(task_status="SUCCESS", **shown)
        return status, headers, body

    with scripted(serve) as server:
        mill = mill_for(tmp_path, server, rows=6, provider="glm", lane="task")
        assert mill.run().exit_code == 0
        assert len(given) == 6


@pytest.mark.parametrize("status", [504, 524])
def test_a_row_that_outlasts_its_gateway_fails_after_so_many_attempts_over_all_runs(
    tmp_path: Path, status: int
) -> None:
    """FIELD 10: each probe was billed, after 15 minutes exit 6, and the same every night."""
    with scripted(lambda asked: page(status) if asked.n == 3 else reply()) as server:
        mill = mill_for(tmp_path, server, rows=12)
        mill.limits["max_attempts"] = 3
        report = mill.run()
        assert (report.state, report.exit_code) == ("finished", 1)
        [(kind, retryable, message)] = [
            row[1:] for row in mill.results("n, error_kind, retryable, error_message") if row[0] == 3
        ]
        assert (kind, retryable) == ("server", False)
        assert "3 times" in message
        assert "call_timeout_s" in message
        assert sum(asked.n == 3 for asked in server.seen) == 3
        assert mill.run().state == "nothing_to_do"


def test_attempts_that_outlast_count_over_runs_and_tell_nothing_of_the_provider(tmp_path: Path) -> None:
    """FIELD 10: a night of nothing but such rows neither waits for a provider that is there nor goes on for ever."""
    slow = set(range(8))
    with scripted(lambda asked: page(504) if asked.n in slow else reply()) as server:
        mill = mill_for(tmp_path, server, rows=40)
        mill.limits["max_attempts"] = 4
        mill.limits["concurrency"] = 8
        process = mill.start()
        while sum(asked.n in slow for asked in server.seen) < 10:
            time.sleep(0.02)
        process.kill()
        process.communicate()
        before = {n: sum(asked.n == n for asked in server.seen) for n in slow}
        report = mill.run()
        assert (report.state, report.totals.rows_failed) == ("finished", len(slow))
        assert {n for n, retryable in mill.results("n, retryable") if retryable is False} == slow
        # One attempt of each may have been in flight when the process died; that one is not counted.
        for n in slow:
            assert sum(asked.n == n for asked in server.seen) <= 4 + 1, before


def test_a_slow_row_that_is_answered_in_the_end_is_as_any_other(tmp_path: Path) -> None:
    """FIELD 10: what was counted is forgotten with the answer."""
    with scripted(lambda asked: page(504) if asked.n == 3 and asked.times < 2 else reply()) as server:
        mill = mill_for(tmp_path, server, rows=6)
        assert mill.run().exit_code == 0
        assert mill.one("status") == ["ok"] * 6
