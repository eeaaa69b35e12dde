"""As cron uses it: who may run beside whom, which rows are asked, how many may fail, and what a monitor reads."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from batch.core.errors import RefusedToStart
from batch.job.options import WORDS, MaxFailed, kinds_of
from batch.report.status import status_of
from tests.simulator.conftest import Gate
from tests.system.runs.conftest import Make, Mill
from tests.system.runs.test_refusals import provider
from tests.system.runs.test_stops import end, until

STRUCK = '[latency]\nchat_ms = [0, 0]\n[[fault]]\nbehaviour = 28\nstatus = 500\nrows = ["struck"]\n'


def asked(mill: Mill) -> int:
    """How many requests the provider had so far."""
    assert mill.sim is not None
    return mill.sim.requests()


def rows(count: int, struck: int = 0, first: int = 0) -> list[dict[str, Any]]:
    """Rows of which the first `struck` fail for a passing reason."""
    return [
        {"n": n, "question": f"{'struck' if n - first < struck else 'Tell me about'} {n}?"}
        for n in range(first, first + count)
    ]


# -- who may run beside whom ------------------------------------------------------------------------------------------


@contextmanager
def at_work(mill: Mill) -> Iterator[subprocess.Popen[str]]:
    """A run in a process of its own that waits for its first answer."""
    process = mill.start()
    try:
        until(lambda: asked(mill) >= 1, "the first request")
        yield process
    finally:
        process.kill()
        end(process)


@contextmanager
def waiting(mill: Mill, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A second run of the job that has said that it waits for the first."""
    process = mill.start("--if-running", "wait", "--progress", "plain", *options)
    try:
        assert process.stderr is not None
        while "waiting until it ends" not in (line := process.stderr.readline()):
            assert line, "it ended"
        yield process
    finally:
        process.kill()
        end(process)


@pytest.fixture
def slow(make: Make, gate: Gate) -> Mill:
    """A job of two rows, one after the other, whose answers wait for the gate."""
    mill = make(gate=gate)
    mill.limits["concurrency"] = 1
    mill.questions(2)
    return mill


def test_a_second_run_is_refused_with_process_and_time(slow: Mill) -> None:
    """Design 4: exit 2 by default."""
    with at_work(slow) as first:
        code, said = slow.command()
    assert code == 2
    assert f"process {first.pid}, since 20" in said
    assert "--if-running wait" in said


def test_a_second_run_that_may_skip_says_so_and_ends_with_0(slow: Mill) -> None:
    """For a job that cron starts more often than it takes."""
    with at_work(slow) as first:
        code, said = slow.command("--if-running", "skip")
        assert code == 0
        assert f"skipped, because another run is at work in the output folder (process {first.pid}, since 20" in said
        assert first.poll() is None
        assert slow.run(if_running="skip").state == "skipped"


def test_a_second_run_that_waits_goes_on_when_the_first_has_ended(slow: Mill, gate: Gate) -> None:
    """It says so once, and finds what the first left: here nothing to do."""
    with at_work(slow) as first:
        second = slow.start("--if-running", "wait", "--progress", "plain")
        assert second.stderr is not None
        said = ""  # on a busy machine it says first that it looks at the job
        while "waiting until it ends" not in said:
            said += (line := second.stderr.readline())
            assert line, said
        gate.open()
        said += end(second)
        assert first.wait(120) == 0
    assert second.returncode == 0
    assert said.count(f"another run (process {first.pid}, since 20") == 1
    assert "nothing to do" in said
    assert len(slow.books()) == 2


def test_a_waiting_run_continues_what_a_killed_one_left(slow: Mill, gate: Gate) -> None:
    """The lock of a dead process is no lock."""
    with at_work(slow) as first, waiting(slow) as second:
        first.kill()
        gate.open()
        said = end(second)
    assert second.returncode == 0, said
    slow.check_table(2)
    slow.check_books(at_risk=1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_waiting_run_can_be_interrupted(number: int, slow: Mill, gate: Gate) -> None:
    """Exit 4, at once, and the run that is at work is left alone."""
    with at_work(slow) as first:
        with waiting(slow) as second:
            second.send_signal(number)
            said = end(second)
        assert second.returncode == 4, said
        assert "interrupted while it waited" in said
        gate.open()
        assert first.wait(120) == 0


def test_a_lock_file_of_a_dead_process_is_no_lock(mill: Mill) -> None:
    """Whatever stands in it."""
    mill.questions(1)
    mill.out.mkdir()
    (mill.out / ".lock").write_text("1\n")
    assert mill.run().exit_code == 0


def test_what_the_first_run_fixed_while_the_second_waited_is_found(slow: Mill, gate: Gate) -> None:
    """The second one's look at the job is as old as its wait: the input was replaced meanwhile."""
    with at_work(slow), waiting(slow) as second:
        slow.questions(3)
        gate.open()
        said = end(second)
    assert second.returncode == 0, said
    slow.check_table(3)


# -- how many may fail ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "failed", "settled", "kept"),
    [
        ("20", 20, 20, True),
        ("20", 21, 10_000, False),
        ("0", 0, 5, True),
        ("0", 1, 5, False),
        ("0.5%", 5, 1_000, True),
        ("0.5%", 6, 1_000, False),
        ("0.5 %", 0, 0, True),
        ("33.333333333333%", 1, 3, False),
        ("100%", 7, 7, True),
        ("0%", 1, 1_000_000, False),
    ],
)
def test_as_many_may_fail_as_were_allowed_exactly(given: str, failed: int, settled: int, kept: bool) -> None:
    """Fractions, not floats: a limit is a line."""
    assert MaxFailed.of(given).kept(failed=failed, settled=settled) is kept


@pytest.mark.parametrize("given", ["", "-1", "0.5", "1e3", "101%", "100.1%", "%", "0,5%", "NaN%", "few", "5%%", "٣"])
def test_anything_else_is_refused_with_what_it_may_be(given: str) -> None:
    """`0.5` could be meant as half a percent or as half of all: it is neither."""
    with pytest.raises(RefusedToStart, match="such as 20.*such as 0.5%"):
        MaxFailed.of(given)


@pytest.mark.parametrize(("allowed", "code"), [("20%", 0), ("2", 0), ("1", 1), ("19.9%", 1), (None, 1)])
def test_a_run_with_as_many_failures_as_allowed_ends_with_0_and_every_place_says_so(
    allowed: str | None, code: int, make: Make
) -> None:
    """Design 4: the process, the report, the run's file, status.json and status are of one mind."""
    mill = make(STRUCK)
    mill.limits["max_attempts"] = 1
    mill.write(rows(10, struck=2))
    exited, said = mill.command(*(["--max-failed", allowed] if allowed else []))
    assert exited == code
    (told,) = mill.runs()
    assert (told["state"], told["exit_code"], told["exit_reason"]) == ("finished", code, "finished")
    assert (told["max_failed"], told["within_max_failed"]) == (allowed, None if allowed is None else code == 0)
    assert told["table"] == {"rows": 10, "permanent": 0, "retryable": 2}
    assert json.loads((mill.out / "status.json").read_text())["exit_code"] == code
    found = status_of(mill.out)
    assert (found.exit_code, found.max_failed) == (code, allowed)
    assert ("--max-failed" in said) == (allowed is not None)
    report = mill.run(max_failed=MaxFailed.of(allowed) if allowed else None)
    assert report.totals.rows == report.planned.retried == 2, "only what failed is asked again, and counts"
    assert report.exit_code == (0 if allowed == "2" else 1)


def test_an_interrupted_run_is_no_success_however_few_failed(slow: Mill, gate: Gate) -> None:
    """Exit 4 says that rows are missing."""
    process = slow.start("--max-failed", "100%", "--log-format", "json")
    until(lambda: asked(slow) >= 1, "a request")
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    while "stop_requested" not in process.stderr.readline():
        assert process.poll() is None
    gate.open()
    end(process)
    assert process.returncode == 4
    assert slow.runs()[-1]["exit_code"] == 4
    assert slow.runs()[-1]["exit_reason"] == "interrupted"


# -- which rows are asked ---------------------------------------------------------------------------------------------


@pytest.fixture
def mixed(make: Make) -> Mill:
    """Eight rows were answered, two failed for a passing reason, one for good; since then two changed, three are new."""
    mill = make(STRUCK)
    mill.key = "n"
    mill.limits["max_attempts"] = 1
    first = rows(10, struck=2)
    double = {"n": 9, "question": "Twice?"}
    mill.write([*first, double])
    report = mill.run()
    assert report.standing == (1, 2)
    first[5]["question"], first[6]["question"] = "Changed 5?", "Changed 6?"
    mill.write([*first, double, *rows(3, first=20)])
    return mill


@pytest.mark.parametrize(
    ("only", "retry_all", "calls"),
    [
        ("new", False, 3),
        ("changed", False, 2),
        ("failed", False, 2),
        ("new,failed", False, 5),
        (None, False, 7),
        (None, True, 7),
        ("failed", True, 2),
    ],
)
def test_only_rows_of_the_given_kinds_are_asked_and_the_next_plain_run_finds_the_rest(
    only: str | None, retry_all: bool, calls: int, mixed: Mill
) -> None:
    """Design 4; a row with a double key fails without a call, and is looked at again with `--retry all` alone."""
    before = asked(mixed)
    report = mixed.run(kinds=kinds_of(only, retry_all=retry_all))
    planned = report.planned
    assert asked(mixed) - before == calls
    assert planned.left_out == 7 - calls
    assert planned.admitted == calls + retry_all
    assert planned.standing == (not retry_all)
    assert planned.complete
    again = mixed.run()
    calls += 7 - calls + 2 * ("failed" in (only or "failed"))
    assert asked(mixed) - before == calls, "the rest, and what failed again"
    assert again.planned.left_out == 0
    mixed.check_table(14)
    assert mixed.one("question").count("Changed 5?") == 1


def test_the_same_selection_again_has_nothing_to_do_and_another_has(mixed: Mill) -> None:
    """A nightly `--only new` reads nothing when nothing came; what it left out is still found by others."""
    assert mixed.run(kinds=kinds_of("new")).planned.new == 3
    assert mixed.run(kinds=kinds_of("new")).state == "nothing_to_do"
    assert mixed.run(kinds=kinds_of("changed")).planned.changed == 2
    assert mixed.run(kinds=kinds_of("new,changed")).planned.admitted == 0
    assert mixed.run(kinds=kinds_of("new,changed")).state == "nothing_to_do"
    assert mixed.run().planned.retried == 2


@pytest.mark.parametrize("only", ["faild", "", "new,", "permanent", "new;failed", "all"])
def test_an_unknown_kind_is_refused_with_those_there_are(only: str) -> None:
    """Exit 2, with the nearest word."""
    with pytest.raises(RefusedToStart, match="new, changed, failed"):
        kinds_of(only)
    assert kinds_of(" New , failed,new") == {"new", "failed"}
    assert kinds_of(None) == set(WORDS)


def test_retry_all_needs_failed_rows_among_those_asked() -> None:
    """The two flags would contradict each other."""
    with pytest.raises(RefusedToStart, match="--only new leaves them out"):
        kinds_of("new", retry_all=True)
    assert kinds_of("failed", retry_all=True) == {"failed", "permanent"}


@pytest.mark.parametrize(
    ("point", "then"),
    [
        ("admitted.committed:1", None),
        ("settled.committed:1", None),
        ("settled.committed:1", "new"),
        ("settled.committed:1", "changed"),
        ("publish.committed:1", "new,changed,failed"),
    ],
)
def test_a_selection_that_was_killed_hides_no_row_from_the_next_command(
    then: str | None, point: str, mixed: Mill
) -> None:
    """Nothing lost, nothing twice: the killed run's pass had left rows behind its position."""
    assert mixed.command("--only", "new", failpoint=point)[0] == -signal.SIGKILL
    report = mixed.run(kinds=kinds_of(then))
    assert report.state == "finished", report
    if then == "new":
        assert len(mixed.runs()) == 2, "the same selection is continued"
    answered = mixed.one("n")
    mixed.run()
    mixed.check_table(14)
    assert sorted(answered) == sorted(set(answered) | {9}) or answered.count(9) == 2
    assert {20, 21, 22} <= set(mixed.one("n"))
    assert {"Changed 5?", "Changed 6?"} <= set(mixed.one("question"))
    bought: dict[str, int] = {}
    for row_id, count in mixed.calls("row_id, count(*)", "state = 'answered' GROUP BY row_id"):
        bought[row_id] = count
    doubled = {row_id for row_id, count in bought.items() if count > 1}
    assert doubled <= {"5", "6"}, "a changed row is answered twice, all others once"
    mixed.check_books(at_risk=16)


def test_a_run_killed_while_it_was_closed_loses_nothing_when_the_first_selection_comes_back(mixed: Mill) -> None:
    """What the closing took back lies before the old position: the old pass cannot be gone on with."""
    mixed.limits["concurrency"] = 1
    assert mixed.command("--only", "new", failpoint="settled.committed:1")[0] == -signal.SIGKILL
    assert mixed.command("--only", "changed", failpoint="run.closed:1")[0] == -signal.SIGKILL
    assert mixed.command("--only", "new", failpoint="settled.committed:1")[0] == -signal.SIGKILL
    assert mixed.command("--only", "failed", failpoint="publish.calls_written:1")[0] == -signal.SIGKILL
    assert mixed.run(kinds=kinds_of("new")).state == "finished"
    assert {20, 21, 22} <= set(mixed.one("n"))
    assert mixed.run().state == "finished"
    mixed.check_table(14)
    assert {"Changed 5?", "Changed 6?"} <= set(mixed.one("question"))
    mixed.check_books(at_risk=4)


def test_a_sample_of_a_selection_does_not_stand_for_the_rest(mixed: Mill) -> None:
    """Drawn among the selected rows alone; the next plain run still looks at all."""
    report = mixed.run(kinds=kinds_of("new"), limit=10, sample_seed=1)
    assert report.planned.new == report.totals.rows == 3
    report = mixed.run()
    assert (report.planned.changed, report.planned.retried) == (2, 2)


# -- what is never bought again, and what stops a run -----------------------------------------------------------------


def test_a_row_that_failed_for_good_is_bought_once_over_many_nights(make: Make) -> None:
    """Promise 2: it waits for another question, or for `--retry all`."""
    mill = make()
    mill.limits["concurrency"] = 1
    mill.questions(3)
    bad = '{"error":{"code":"1301","message":"unsafe"}}'
    url = mill.url
    with provider(400, bad) as (mill.url, sent):
        assert mill.run().exit_code == 1
        assert len(sent) == 3
        for _ in range(2):
            report = mill.run()
            assert (report.state, report.exit_code, report.standing) == ("nothing_to_do", 0, (3, 0))
        mill.questions(4)
        report = mill.run()
        assert (report.planned.new, report.planned.standing, report.exit_code) == (1, 3, 1)
        assert len(sent) == 4, "only the new one"
        report = mill.run(kinds=kinds_of(None, retry_all=True))
        assert (report.planned.retried, report.planned.standing) == (4, 0)
        assert len(sent) == 8
        assert mill.command("--retry", "all", failpoint="settled.committed:2")[0] == -signal.SIGKILL
        assert len(sent) < 12
    mill.url = url
    report = mill.run(kinds=kinds_of(None, retry_all=True))
    assert report.exit_code == 1, "of the continued run the first failed before the kill"
    assert mill.run(kinds=kinds_of("failed", retry_all=True)).exit_code == 0
    assert mill.run(kinds=kinds_of(None, retry_all=True)).state == "nothing_to_do"
    mill.check_table(4)
    assert set(mill.one("status")) == {"ok"}


def test_retry_all_after_a_killed_plain_run_asks_those_behind_its_position_too(make: Make) -> None:
    """The killed run had left them alone."""
    mill = make()
    mill.questions(3)
    url = mill.url
    with provider(400, '{"error":{"code":"1301","message":"unsafe"}}') as (mill.url, _):
        assert mill.run().exit_code == 1
    mill.url = url
    mill.questions(6)
    assert mill.command(failpoint="settled.committed:1")[0] == -signal.SIGKILL
    report = mill.run(kinds=kinds_of(None, retry_all=True))
    assert report.exit_code == 0
    mill.check_table(6)
    assert set(mill.one("status")) == {"ok"}
    assert [told["exit_reason"] for told in mill.runs()] == ["finished", "selection_changed", "finished"]
    assert [told["exit_code"] for told in mill.runs()] == [1, None, 0]


def test_a_job_that_fails_throughout_is_stopped_and_says_what_to_do(mill: Mill) -> None:
    """Promise 7, as cron sees it: exit 1 although everything may fail, a sentence on stderr, the reason in the files."""
    mill.questions(300)
    with provider(400, '{"error":{"code":"1214","message":"parameter"}}') as (mill.url, sent):
        code, said = mill.command("--max-failed", "100%")
    assert code == 1
    assert "rows in a row failed with" in said
    assert "The job is at fault, not the rows: correct it and run again." in said
    assert 50 <= len(sent) <= 50 + 16
    (told,) = mill.runs()
    assert (told["state"], told["exit_code"], told["exit_reason"]) == ("systematic", 1, "systematic")
    assert "correct it and run again" in told["fault"]
    assert status_of(mill.out).exit_reason == "systematic"


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_run_whose_rows_all_fail_writes_a_few_log_lines(form: str, mill: Mill) -> None:
    """Design 1: a night of ten million failures must not fill the disk with ten million lines."""
    mill.limits["concurrency"] = 32
    mill.questions(600)
    with provider(400, '{"error":{"code":"{turn}","message":"no"}}') as (mill.url, sent):
        code, said = mill.command("--log-format", form)
    assert (code, len(sent)) == (1, 600)
    lines = [line for line in said.splitlines() if line.startswith("{" if form == "json" else "[")]
    assert len(lines) < 20
    if form == "json":
        assert [json.loads(line)["event"] for line in lines][-1] == "run_finished"


# -- what a monitor reads ---------------------------------------------------------------------------------------------


def test_a_monitor_can_tell_a_run_at_work_from_one_that_died(slow: Mill, gate: Gate) -> None:
    """By the lock, and by the time of the last sign of life."""
    with at_work(slow) as process:
        until(lambda: status_of(slow.out).live is not None, "signs of life")
        found = status_of(slow.out)
        assert (found.state, found.locked, found.process) == ("running", True, process.pid)
        assert (found.exit_code, found.exit_reason) == (None, None)
        assert found.updated_at is not None
        process.send_signal(signal.SIGKILL)
        process.wait()
        found = status_of(slow.out)
        assert (found.state, found.locked, found.exit_code, found.live) == ("killed", False, None, None)
        heartbeat = json.loads((slow.out / "status.json").read_text())
        assert (heartbeat["state"], heartbeat["process"]) == ("running", process.pid)
        assert heartbeat["updated_at"] == found.updated_at
        assert slow.runs()[-1]["ended_at"] is None
    gate.open()
    assert slow.run().exit_code == 0
    found = status_of(slow.out)
    assert (found.state, found.locked, found.exit_code, found.exit_reason) == ("finished", False, 0, "finished")


def test_rows_begun_by_an_earlier_run_are_among_those_expected(make: Make, gate: Gate) -> None:
    """What is carried over is settled by this run, so a monitor sees 100 % and no more."""
    mill = make(gate=gate, lane="task")
    mill.limits["concurrency"] = 4
    mill.questions(6)
    process = mill.start()
    until(lambda: len(mill.books()) >= 4, "four tasks")
    process.terminate()
    end(process)
    gate.open()
    report = mill.run()
    assert (report.totals.rows, report.planned.admitted) == (6, 2)
    shown = json.loads((mill.out / "status.json").read_text())["rows"]
    assert (shown["done"], shown["expected"]) == (6, 6)
