"""A kill, and then the job or its input is another: what was bought is brought home first, then the new is asked."""

from __future__ import annotations

import signal

import pytest

from tests.simulator.conftest import Gate
from tests.system.runs.conftest import GLM_LANES, Make
from tests.system.runs.test_stops import ADD, kill_with_tasks, submits


@pytest.mark.parametrize("fresh", [True, False], ids=["new template", "other model"])
def test_after_a_crash_the_tasks_of_the_old_job_are_collected_under_their_own_fingerprint(
    fresh: bool, make: Make, gate: Gate
) -> None:
    """Design 4: accepted ids are collected, booked and published, the run closes as job_changed, the next re-asks."""
    mill = make(gate=gate, lane="task")
    mill.limits["concurrency"] = 10
    mill.questions(20)
    kill_with_tasks(mill, 10)
    gate.open()
    assert submits(mill) == 10
    old = {record["client_call_id"] for record in mill.books()}
    if fresh:
        mill.user = "Once more: {{ question }}"
    else:
        mill.model = "glm-4-plus"
    report = mill.run()
    assert report.exit_code == 0
    states = [told["state"] for told in mill.runs()]
    assert states == ["job_changed", "finished"]
    first = mill.runs()[0]["run"]
    booked = dict(mill.calls("client_call_id, state", f"run = '{first}'"))
    assert booked.keys() == old
    assert list(booked.values()).count("answered") >= 9, booked
    mill.check_table(20)
    assert len(mill.books()) == 30
    assert len({row[0] for row in mill.results("fingerprint")}) == 20
    assert set(mill.one("run")) == {report.run}
    mill.check_books(at_risk=1)
    assert mill.pending() == []
    assert mill.run().state == "nothing_to_do"


def test_the_collected_rows_of_an_old_job_stand_in_the_table_until_they_are_replaced(make: Make, gate: Gate) -> None:
    """Design 4: published under the old fingerprint; read while the next run has just begun."""
    mill = make(gate=gate, lane="task")
    mill.limits["concurrency"] = 10
    mill.questions(10)
    kill_with_tasks(mill, 10)
    gate.open()
    mill.user = "Other: {{ question }}"
    assert mill.command(failpoint="run.closed:1")[0] == -signal.SIGKILL
    found = mill.results("n, status, model_asked, fingerprint, lane")
    assert [row[:2] for row in found] == [(n, "ok") for n in range(10)]
    report = mill.run()
    assert report.exit_code == 0
    assert not {row[3] for row in found} & set(mill.one("fingerprint"))
    mill.check_table(10)
    mill.check_books()


def test_old_tasks_are_collected_from_the_provider_they_were_given_to(make: Make, gate: Gate) -> None:
    """Design 6: ids are polled at the base URL stored with them, with that provider's key, whatever the job says."""
    mill = make(gate=gate, lane="task")
    mill.questions(10)
    kill_with_tasks(mill, 10)
    gate.open()
    count = submits(mill)
    mill.provider, mill.lane, mill.model = "openai", "sync", "gpt-5-mini"
    report = mill.run()
    assert report.exit_code == 0
    assert [told["state"] for told in mill.runs()] == ["job_changed", "finished"]
    assert sorted(mill.calls("provider, count(*)", "state = 'answered' GROUP BY ALL")) == [
        ("glm", count),
        ("openai", 10),
    ]
    mill.check_books(at_risk=16)


@pytest.mark.parametrize("lane", GLM_LANES)
def test_half_a_conversation_of_a_changed_job_is_dropped_and_stays_booked(lane: str, make: Make) -> None:
    """Design 4: half conversations are dropped, their calls stay in the book."""
    mill = make(lane=lane)
    mill.tools = ADD
    mill.write([{"n": n, "question": f"What is {n} plus {n}?"} for n in range(12)])
    assert mill.command(failpoint="tool.ran:1")[0] == -signal.SIGKILL
    mill.user = "Please: {{ question }}"
    assert mill.run().exit_code == 0
    assert [told["state"] for told in mill.runs()] == ["job_changed", "finished"]
    mill.check_table(12)
    mill.check_books(at_risk=16)
    assert {row[0] for row in mill.results("turns")} == {2}


@pytest.mark.parametrize("lane", GLM_LANES)
def test_after_a_crash_with_a_changed_input_what_was_sent_is_finished_and_the_rest_read_anew(
    lane: str, make: Make, gate: Gate
) -> None:
    """Design 4: rows already sent finish from the spill; closed as input_changed; the next run reads the new source."""
    mill = make(gate=gate, lane=lane)
    mill.limits["concurrency"] = 10
    mill.key = "n"
    rows = mill.questions(30)
    if lane == "task":
        kill_with_tasks(mill, 10)
    else:
        gate.let_pass(1)
        assert mill.command(failpoint="settled.committed:1")[0] == -9
    first = len(mill.books())
    gate.open()
    mill.write([*({"n": n, "question": f"Changed {n}?"} for n in range(20, 40)), *rows[:5]])
    report = mill.run()
    assert report.exit_code == 0
    assert [told["state"] for told in mill.runs()] == ["input_changed", "finished"]
    found = dict(mill.results("n, question"))
    assert {n: found[n] for n in range(20, 40)} == {n: f"Changed {n}?" for n in range(20, 40)}
    assert all(found[n] == rows[n]["question"] for n in range(5))
    if lane == "task":
        assert len(mill.books()) <= first + 20 + 5
    numbers = mill.one("row_number")
    assert numbers == sorted(set(numbers))
    mill.check_books(at_risk=10)
    assert mill.run().state == "nothing_to_do"


def test_a_job_that_changes_twice_over_two_kills_buys_no_task_twice(make: Make, gate: Gate) -> None:
    """Promises 1 and 2: A killed, B killed while it collects A, C runs."""
    mill = make(gate=gate, lane="task")
    mill.limits["concurrency"] = 10
    mill.questions(10)
    kill_with_tasks(mill, 10)
    gate.open()
    mill.user = "B: {{ question }}"
    assert mill.command(failpoint="settled.committed:1")[0] == -9
    mill.user = "C: {{ question }}"
    assert mill.run().exit_code == 0
    assert len(mill.books()) == 20
    mill.check_table(10)
    mill.check_books()
    assert mill.pending() == []


def test_job_and_input_changed_at_once_after_a_kill_end_in_the_new_form(make: Make, gate: Gate) -> None:
    """Design 4: both changes, one command."""
    mill = make(gate=gate, lane="task")
    mill.key = "n"
    mill.limits["concurrency"] = 10
    mill.questions(20)
    kill_with_tasks(mill, 10)
    gate.open()
    mill.user = "B: {{ question }}"
    mill.questions(30, first=5)
    assert mill.run().exit_code == 0
    found = mill.results("n, run")
    assert sorted(row[0] for row in found if row[1] == mill.runs()[-1]["run"]) == list(range(5, 35))
    assert {row[0] for row in found} <= set(range(35))
    mill.check_books(at_risk=10)
    assert mill.run().state == "nothing_to_do"
