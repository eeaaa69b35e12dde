"""Tasks that are lost, mixed up, stuck or failed, in whole runs: one test for each numbered behaviour."""

from __future__ import annotations

from typing import Any

import pytest

from tests.system.runs.conftest import Make, Mill
from tests.system.runs.faulty import calls, faulty, finished, told

OK = ("answered", None, None)


def task(make: Make, behaviour: int, **options: Any) -> Mill:
    """A job in the task lane of which row 1 meets the fault."""
    return faulty(make, behaviour, lane="task", **options)


def submits(mill: Mill) -> int:
    """How many tasks the provider made."""
    return len([record for record in mill.books() if record["route"] == "submit" and record["status"] == 200])


def test_fault_56_a_task_whose_id_was_lost_is_marked_and_bought_anew(make: Make) -> None:
    """Both are billed; the one we never heard of is `unknown`, so the bill is within what we say."""
    mill = task(make, 56, first=1)
    finished(mill)
    assert calls(mill) == [("unknown", "transport", None), OK]
    assert len([record for record in mill.books() if record["billed"]]) == 5
    mill.check_books(at_risk=1)


def test_fault_57_one_id_for_two_tasks_never_mixes_their_answers(make: Make) -> None:
    """The answer for another call is left to that call; ours is marked and asked again."""
    mill = task(make, 57, first=1, struck=(1, 2))
    mill.limits["concurrency"] = 1
    finished(mill)
    healthy = make(lane="task", name="healthy")
    healthy.questions(4)
    assert healthy.run().exit_code == 0
    assert mill.results("n, answer") == healthy.results("n, answer")
    for n in (1, 2):
        assert calls(mill, n) == [("unknown", "task", "foreign_task"), OK]


def test_fault_58_a_stuck_task_fails_its_row_at_the_deadline_and_no_other(make: Make) -> None:
    """Possibly billed, retryable, its id kept: the next run asks for it before it buys another."""
    mill = task(make, 58, first=1)
    mill.limits["task_timeout_s"] = 1
    finished(mill, failed=(1,))
    assert told(mill) == ("timeout", "task_timeout", True)
    assert calls(mill) == [("unknown", "timeout", "task_timeout")]
    made = submits(mill)
    assert mill.run().exit_code == 0
    mill.check_table(4)
    assert submits(mill) == made + 1
    mill.check_books(at_risk=1)


@pytest.mark.parametrize("form", ["bare", "string", "object"])
def test_fault_59_a_failed_task_is_tried_again_where_its_code_allows(form: str, make: Make) -> None:
    """A FAIL costs nothing; with no reason, or one that passes, a new task may do better."""
    more: dict[str, Any] = {"code": "1200"} if form == "object" else {}
    mill = task(make, 59, first=1, form=form, **more)
    finished(mill)
    mill.check_books()
    assert calls(mill) == [("failed", "task", more.get("code")), OK]


def test_fault_59_a_task_that_failed_for_its_content_is_not_tried_again(make: Make) -> None:
    """1301 inside a FAIL is as permanent as outside."""
    mill = task(make, 59, form="object", code="1301")
    finished(mill, failed=(1,))
    mill.check_books()
    assert told(mill) == ("content_filter", "1301", False)
    assert len(calls(mill)) == 1


@pytest.mark.parametrize("form", ["400", "404"])
def test_fault_60_a_task_nobody_knows_any_more_is_bought_once_more_and_no_oftener(form: str, make: Make) -> None:
    """Lost, perhaps billed; a second one that is lost as well fails the row."""
    mill = task(make, 60, form=form, first=1, name="once")
    finished(mill)
    [lost, answered] = calls(mill)
    assert (lost[:2], answered) == (("unknown", "task"), OK)
    mill = task(make, 60, form=form, name="always")
    finished(mill, failed=(1,))
    assert (told(mill)[0], told(mill)[2]) == ("task", True)
    assert len(calls(mill)) == 2
    assert submits(mill) == 5


@pytest.mark.parametrize("form", ["server_error", "rate_limited"])
def test_fault_61_a_poll_that_is_refused_is_no_news_of_the_task(form: str, make: Make) -> None:
    """It is asked again, and nothing is bought again."""
    mill = task(make, 61, form=form, first=3)
    finished(mill)
    mill.check_books()
    assert calls(mill) == [OK]
    assert submits(mill) == 4
    assert mill.calls("max(polls)")[0][0] >= 4


def test_fault_61_the_first_success_counts(make: Make) -> None:
    """A task that would be PROCESSING again is not asked again."""
    mill = task(make, 61, form="regress", struck=())
    report = mill.run()
    assert report.exit_code == 0
    mill.check_table(4)
    mill.check_books()
    assert report.totals.calls == 4


def test_fault_61_a_success_without_an_answer_is_bought_once_more(make: Make) -> None:
    """It was billed, and its usage says how much, so both are booked to the token."""
    mill = task(make, 61, form="no_choices", first=1)
    finished(mill)
    mill.check_books()
    assert calls(mill) == [OK, OK]
    assert submits(mill) == 5
