"""Two lanes together: what a batch does not answer goes on in another, and is bought once."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import anyio
import pytest

from batch.core.errors import BatchNotEnded
from batch.job.job import Job
from batch.report.status import status_of
from batch.run import overdue
from batch.run.command import run
from batch.run.progress import Progress
from tests.simulator.conftest import Start
from tests.simulator.struck import fault
from tests.system.runs.conftest import SECRET, Mill
from tests.system.runs.test_bulk import NOW, TOOLS, batches
from tests.system.runs.test_stops import until

SLOW = "[latency]\nbatch_ms = [8000, 8000]\nchat_ms = [0, 0]\n"
"""A fifth of the lines of a batch is done when it is cancelled after two seconds, and more if that comes later; for all
of them a busy machine would have to be five seconds late."""

SOON = "[latency]\nbatch_ms = [300, 300]\nchat_ms = [0, 0]\n"

Make = Callable[..., Mill]


@pytest.fixture
def make(tmp_path: Path, start: Start) -> Make:
    """A job in lane bulk and another, against a simulator of its own."""

    def begin(scenario: str = NOW, *, lane: str = "bulk,sync", deadline: str = "", lines: int = 50) -> Mill:
        mill = Mill(tmp_path / "job", start(scenario), lane=lane, model="glm-4-plus")
        mill.more = f"[bulk]\nlines = {lines}\nwave_wait_s = 60\n"
        mill.more += f"deadline = {deadline}\n" if deadline else ""
        return mill

    return begin


def cancels(mill: Mill) -> int:
    """How many batches the provider was told to cancel, and did."""
    assert mill.sim is not None
    return sum(record["route"] == "cancel" and record["status"] == 200 for record in mill.sim.books())


@pytest.mark.parametrize("lane", ["bulk,sync", "bulk,stream", "bulk,task"])
def test_what_a_batch_has_not_done_in_time_goes_on_in_the_other_lane(make: Make, lane: str) -> None:
    """Cancelled, waited for, collected, and only then sent: each row is bought once, and its call says how."""
    mill = make(SLOW, lane=lane, deadline="2")
    mill.questions(60)
    report = mill.run()
    assert (report.state, report.exit_code, report.totals.rows_ok) == ("finished", 0, 60)
    mill.check_table(60)
    mill.check_books()
    mill.check_sums()
    assert (batches(mill), cancels(mill)) == (2, 2)
    answered = dict(mill.calls("lane, count(*)", "state = 'answered' GROUP BY ALL"))
    other = lane.removeprefix("bulk,")
    assert answered.keys() == {"bulk", other}
    assert sum(answered.values()) == 60
    left = mill.calls("lane, state, error_code, count(*), sum(total_tokens)", "state != 'answered' GROUP BY ALL")
    assert left == [("bulk", "failed", "batch_overdue", answered[other], 0)]
    assert Counter(mill.one("lane")) == answered
    assert sum(bool(record["billed"]) for record in mill.books()) == 60


def test_a_batch_that_stays_cancelling_ends_the_run_and_is_bought_nowhere_else(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours: it was waited for without end. Which of its lines are billed is not known before the provider ends it."""
    monkeypatch.setattr(overdue, "CANCELLED_WITHIN_S", 0.5)
    mill = make("[latency]\nbatch_ms = [60000, 60000]\nchat_ms = [0, 0]\n", deadline="1")  # 6 s from cancel to end
    mill.questions(40)
    report = mill.run()
    assert (report.state, report.exit_code, report.totals.rows) == ("waiting", 7, 0)
    assert isinstance(report.fault, BatchNotEnded)
    assert "which of its 40 requests are billed, so none is sent again" in str(report.fault)
    assert [batch.state for batch in status_of(mill.out).batches] == ["cancelling"]
    assert not [record for record in mill.books() if record["billed"]]
    while report.exit_code == 7:
        report = mill.run()
    assert (report.exit_code, report.totals.rows_ok) == (0, 40)
    mill.check_table(40)
    mill.check_books()
    assert (batches(mill), cancels(mill)) == (1, 1)
    assert sum(bool(record["billed"]) for record in mill.books()) == 40


def test_a_deadline_without_another_lane_fails_the_rest_for_now(make: Make) -> None:
    """The answers that are there are in the table; the same command asks the others once more."""
    mill = make(SLOW, lane="bulk", deadline="2")
    mill.questions(40)
    report = mill.run()
    assert (report.state, report.exit_code, batches(mill)) == ("finished", 1, 1)
    ok, failed = report.totals.rows_ok, report.totals.rows_failed
    assert 0 < ok < 40
    assert (ok + failed, report.totals.rows_retryable) == (40, failed)
    said = [text for code, text in mill.results("error_code, error_message") if code == "batch_overdue"]
    assert len(said) == failed
    assert "after 2.0 s, the time that [bulk] deadline gives; nothing was bought" in said[0]
    mill.check_books()
    mill.lane = "sync"
    assert mill.run().totals.rows_ok == failed
    mill.check_table(40)
    mill.check_books()
    assert sum(bool(record["billed"]) for record in mill.books()) == 40


def test_lines_that_failed_and_batches_that_expired_go_on_in_the_other_lane(make: Make) -> None:
    """No second batch is made of them; what failed for good stays failed."""
    refused = fault(65, route="line", rows=["number 7."])
    scenario = fault(28, route="line", rate=0.2, first=1, status=503) + refused + SOON
    mill = make(scenario + fault(62, form="expired", rows=["wave-00001"], share=0.3))
    mill.questions(100)
    report = mill.run()
    assert (report.totals.rows_ok, report.totals.rows_failed) == (99, 1)
    assert mill.one("error_kind")[7] == "content_filter"
    assert batches(mill) == 2
    left = dict(mill.calls("error_kind, count(*)", "lane = 'bulk' AND state != 'answered' GROUP BY ALL"))
    assert left.keys() == {"server", "task", "content_filter"}
    assert Counter(mill.one("lane"))["sync"] == left["server"] + left["task"]
    mill.check_table(100)
    mill.check_books()


def test_rows_that_a_batch_left_behind_do_not_leave_one_by_one(make: Make) -> None:
    """Retries of calls take turns, 200 of them for more than a minute; a failed line says nothing against other calls."""
    mill = make(fault(28, route="line", status=503) + NOW)
    mill.questions(200)
    assert mill.run().totals.rows_ok == 200
    first, last = mill.calls("epoch(min(sent_at)), epoch(max(sent_at))", "lane = 'sync'")[0]
    assert last - first < 30
    mill.check_books()


def test_a_row_that_may_be_tried_once_is_tried_once_in_each_lane(make: Make) -> None:
    """What a batch did not do counts as no attempt of the lane that takes over."""
    mill = make(fault(62, form="expired", rows=["wave-00000"], share=0.3) + SOON)
    mill.limits["max_attempts"] = 1
    mill.questions(30)
    assert mill.run().totals.rows_ok == 30
    mill.check_books()


def test_a_conversation_that_left_its_batch_goes_on_where_it_is(make: Make) -> None:
    """Its tools run, and no later turn of it goes into a batch; the others go on wave by wave."""
    mill = make(SLOW, deadline="2")
    mill.tools = TOOLS
    mill.write([{"n": n, "question": f"What is {n} plus {2 * n}?"} for n in range(20)])
    report = mill.run()
    assert report.totals.rows_ok == 20
    assert all(str(3 * n) in answer for n, answer in mill.results())
    mill.check_books()
    back = mill.calls(
        "count(*)",
        "turn = 1 AND lane = 'bulk' AND row_id IN (SELECT row_id FROM "
        f"read_parquet('{mill.out}/calls/*/*.parquet') WHERE turn = 0 AND lane = 'sync')",
    )
    assert back == [(0,)]
    assert sum(bool(record["billed"]) for record in mill.books()) == 40


def test_a_file_that_could_not_be_sent_in_time_goes_on_without_a_batch(make: Make) -> None:
    """The provider has no room for it; nothing was bought, and nothing is cancelled."""
    mill = make("[batches]\nenqueued_lines = 1\n" + NOW, deadline="2")
    mill.questions(2)
    report = mill.run()
    assert (report.exit_code, report.totals.rows_ok) == (0, 2)
    assert mill.calls("lane, state, error_code, count(*)", "true GROUP BY ALL ORDER BY ALL") == [
        ("bulk", "failed", "batch_overdue", 2),
        ("sync", "answered", None, 2),
    ]
    assert cancels(mill) == 0
    mill.check_books()


def test_not_to_wait_still_collects_what_is_cancelled_at_once(make: Make) -> None:
    """At night everything is left with the provider; in the morning what it has not done is bought at once."""
    mill = make(SLOW, deadline="2.5")
    mill.questions(40)
    assert mill.run(no_wait=True).exit_code == 7
    until(lambda: status_of(mill.out).batches[0].age_s >= 2.5, "the end of its time")
    report = mill.run(no_wait=True)
    assert (report.state, report.exit_code, report.totals.rows_ok) == ("finished", 0, 40)
    assert set(mill.one("lane")) == {"bulk", "sync"}
    mill.check_books()
    assert sum(bool(record["billed"]) for record in mill.books()) == 40


def test_not_to_wait_leaves_a_cancelled_batch_that_does_not_end_at_once(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours: the command that was not to wait waited for half an hour. It says how to go on, and the next one does."""
    monkeypatch.setattr(overdue, "LEFT_AFTER_S", 0.0)
    mill = make(SLOW, deadline="2.5")
    mill.questions(40)
    assert mill.run(no_wait=True).exit_code == 7
    until(lambda: status_of(mill.out).batches[0].age_s >= 2.5, "the end of its time")
    report = mill.run(no_wait=True)
    assert (report.state, report.exit_code) == ("waiting", 7)
    assert isinstance(report.fault, BatchNotEnded)
    assert "the provider was told to cancel it, and has not ended it" in str(report.fault)
    assert "Run the same command later: it collects what was done, and asks the rest" in str(report.fault)
    assert mill.run().totals.rows_ok == 40
    mill.check_table(40)
    mill.check_books()
    assert (cancels(mill), sum(bool(record["billed"]) for record in mill.books())) == (1, 40)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_job_moved_from_lane_to_lane_half_way_buys_each_row_once(make: Make, number: int) -> None:
    """Stopped in sync, in task and with a batch on its way; the last lane collects what the others have under way."""
    mill = make("[latency]\nchat_ms = [30, 30]\ntask_ms = [200, 200]\nbatch_ms = [2000, 2000]\n", lane="sync", lines=10)
    mill.limits["concurrency"] = 4
    mill.questions(80)
    for lane, route in (("sync", "chat"), ("task", "submit")):
        mill.lane = lane
        process = mill.start()
        until(partial(asked, mill, route, 18), f"18 calls of lane {lane}")
        process.send_signal(number)
        said = "".join(process.communicate(timeout=120))
        assert process.returncode == (4 if number == signal.SIGINT else -9), said
    mill.lane = "bulk"
    if number == signal.SIGINT:
        code, said = mill.command("--limit", "20", "--no-wait")
        assert code == 7, said
    else:  # rows that were under way at a kill come first, perhaps in a batch of their own
        sending = partial(mill.command, "--limit", "20", "--no-wait", failpoint="bulk.created:2")
        until(lambda: sending()[0] == -9, "a kill after the second batch")
    mill.lane = "sync"
    states = [mill.run().state for _ in range(3)]
    assert states[-1] == "nothing_to_do"
    mill.check_table(80)
    assert set(mill.one("status")) == {"ok"}
    assert Counter(mill.one("lane")).keys() == {"sync", "task", "bulk"}
    under_way = 8 if number == signal.SIGKILL else 0
    assert 20 <= Counter(mill.one("lane"))["bulk"] <= 20 + under_way
    mill.check_books(at_risk=under_way)
    billed = {record["client_call_id"] for record in mill.books() if record["billed"]}
    in_doubt = {name for (name,) in mill.calls("client_call_id", "state = 'unknown'")}
    assert len(billed - in_doubt) == 80
    assert mill.calls("count(*)", "state = 'unknown' AND lane = 'bulk'") == [(0,)]


def asked(mill: Mill, route: str, least: int) -> bool:
    """Whether the provider has had so many requests of a kind."""
    return [record["route"] for record in mill.books()].count(route) >= least


def test_a_cancellation_that_is_refused_or_not_heard_is_made_again(make: Make) -> None:
    """No row is sent another way before its batch has ended."""
    refused = fault(28, route="cancel", first=1, status=503) + fault(34, route="cancel", rate=0.5)
    mill = make(refused + SLOW, deadline="2", lines=10)
    mill.questions(20)
    report = mill.run()
    assert (report.exit_code, report.totals.rows_ok) == (0, 20)
    mill.check_books()
    assert sum(bool(record["billed"]) for record in mill.books()) == 20
    assert mill.sim is not None
    routes = [record["status"] for record in mill.sim.books() if record["route"] == "cancel"]
    assert routes.count(503) >= 2


def test_answers_of_a_batch_are_collected_while_the_other_lane_is_busy_for_long(make: Make) -> None:
    """A batch leaves more rows than memory takes; another batch is in the table before one of them is answered."""
    mill = make(fault(62, form="expired", rows=["wave-00000"], share=0.9) + NOW, lines=1_600)
    mill.limits["requests_per_minute"] = 0.01
    mill.questions(1_700)
    answered: list[int] = []
    scope: list[anyio.CancelScope] = []

    def shown(snapshot: Progress) -> None:
        if snapshot.totals.rows_ok >= 100 + 160 / 2:
            answered.append(snapshot.totals.rows_ok)
            scope[0].cancel()

    async def main() -> None:
        with anyio.CancelScope() as own:
            scope.append(own)
            await run(Job.load(mill.save()), environ=mill.environ, on_progress=shown)

    anyio.run(main, backend_options={"use_uvloop": True})
    assert answered
    assert [record["route"] for record in mill.books() if record["billed"]].count("chat") <= 1


def test_the_wire_log_has_the_requests_about_batches_and_the_beginning_of_their_files(make: Make) -> None:
    """Uploaded and downloaded; nothing of a key is in it, and each line is small."""
    mill = make(NOW, lane="bulk", lines=200)
    mill.questions(200)
    assert mill.run(wire_log=True).totals.rows_ok == 200
    (file,) = (mill.out / "wire").iterdir()
    lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    routes = [f"{line['method']} {line['url'].split('/v4/')[1].split('/')[0]}" for line in lines]
    assert {"POST files", "POST batches", "GET batches", "GET files"} == set(routes)
    upload, download = (lines[routes.index(name)] for name in ("POST files", "GET files"))
    assert (upload["lane"], upload["client_call_id"], upload["status"]) == ("bulk", "wave-00000.jsonl", 200)
    assert "Tell me something about the number 0." in upload["request"]
    assert " bytes in all" in upload["request"]
    assert '"custom_id"' in download["reply"]
    assert " bytes in all" in download["reply"]
    assert max(len(json.dumps(line)) for line in lines) < 60_000
    assert SECRET not in file.read_text("utf-8")
