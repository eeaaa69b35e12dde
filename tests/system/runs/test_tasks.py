"""Tasks that come late or never: the row fails for now, the id is kept, and nothing is bought twice."""

from __future__ import annotations

from tests.simulator.conftest import Gate
from tests.system.runs.conftest import Make


def test_stuck_tasks_fail_their_rows_for_now_and_hold_up_nobody(make: Make) -> None:
    """Promise 6: call `unknown`, row retryable of kind timeout, the others are ok."""
    mill = make('[[fault]]\nbehaviour = 58\nrows = ["number 3.", "number 7."]\n', lane="task")
    mill.limits.update(concurrency=4, task_timeout_s=0.8)
    mill.questions(30)
    report = mill.run()
    assert (report.exit_code, report.standing) == (1, (0, 2))
    failed = mill.results("n, error_kind, error_code, retryable, unknown_calls, total_tokens, status")
    assert [row for row in failed if row[6] == "failed"] == [
        (n, "timeout", "task_timeout", True, 1, None, "failed") for n in (3, 7)
    ]
    assert mill.calls("state, prompt_tokens, cost, error_kind", "task_id IS NOT NULL AND state != 'answered'") == (
        [("unknown", None, None, "timeout")] * 2
    )
    assert mill.pending() == []
    mill.check_books(at_risk=2)


def test_a_task_that_was_late_is_collected_by_the_next_run_and_not_submitted_again(make: Make, gate: Gate) -> None:
    """Design 4: id kept and polled first next time; design 5: a late answer is a further record."""
    mill = make(gate=gate, lane="task")
    mill.limits.update(concurrency=8, task_timeout_s=0.4)
    mill.questions(8)
    assert mill.run().exit_code == 1
    assert len(mill.books()) == 8
    gate.open()
    report = mill.run()
    assert (report.exit_code, report.planned.retried) == (0, 8)
    assert len(mill.books()) == 8, "a task was bought twice"
    mill.check_table(8)
    assert mill.results("status, unknown_calls, calls") == [("ok", 0, 1)] * 8
    records = mill.calls("client_call_id, state, total_tokens, cost::DOUBLE, task_id")
    billed = {record["client_call_id"]: record for record in mill.books()}
    assert len(records) == 16
    for name, state, tokens, cost, task_id in records:
        record = billed[name.removesuffix("-late")]
        assert record["task_id"] == task_id
        if name.endswith("-late"):
            assert (state, tokens, cost) == ("answered", record["total_tokens"], float(record["cost"]))
        else:
            assert (state, tokens, cost) == ("unknown", None, None)
    assert mill.run().state == "nothing_to_do"


def test_a_task_still_stuck_next_time_is_polled_once_more_and_bought_anew(make: Make) -> None:
    """Design 4: polled first; a row does not wait for ever."""
    mill = make('[[fault]]\nbehaviour = 58\nrows = ["number 3."]\nfirst = 1\n', lane="task")
    mill.limits.update(concurrency=4, task_timeout_s=0.6)
    mill.questions(10)
    assert mill.run().exit_code == 1
    assert mill.sim is not None
    before = len(mill.sim.books())
    report = mill.run()
    assert (report.exit_code, report.planned.retried) == (0, 1)
    routes = [record["route"] for record in mill.sim.books()[before:]]
    assert routes[0] == "poll"
    assert routes.count("submit") == 1
    mill.check_table(10)


def test_an_overdue_task_is_collected_in_another_lane_too(make: Make, gate: Gate) -> None:
    """Design 6: ids are polled whatever the lane is now."""
    mill = make(gate=gate, lane="task")
    mill.limits.update(concurrency=8, task_timeout_s=0.4)
    mill.questions(4)
    assert mill.run().exit_code == 1
    gate.open()
    mill.lane = "sync"
    assert mill.run().exit_code == 0
    assert [record["route"] for record in mill.books()] == ["submit"] * 4
    assert mill.results("lane, status") == [("task", "ok")] * 4


def test_a_changed_question_does_not_take_the_late_answer_to_the_old_one(make: Make, gate: Gate) -> None:
    """Promise 3: an id belongs to its fingerprint."""
    mill = make(gate=gate, lane="task")
    mill.limits.update(concurrency=8, task_timeout_s=0.4)
    mill.questions(4)
    assert mill.run().exit_code == 1
    old = mill.one("fingerprint")
    gate.open()
    mill.user = "Other: {{ question }}"
    mill.limits["task_timeout_s"] = 60
    assert mill.run().exit_code == 0
    assert len(mill.books()) == 8
    assert not set(old) & set(mill.one("fingerprint"))


def test_what_the_first_tasks_tell_is_used_for_those_that_are_waited_for_already(make: Make) -> None:
    """Of 60 tasks begun at once sixteen are asked often; the others are asked as soon as these have told how long."""
    mill = make("[latency]\ntask_ms = [300, 400]\n", lane="task")
    mill.limits.update(concurrency=60)
    mill.questions(60)
    assert mill.run().exit_code == 0
    longest = mill.calls("max(answered_at - sent_at) < INTERVAL 15 SECONDS")
    assert longest == [(True,)], "a task waited for the time that was set when nothing was known"
