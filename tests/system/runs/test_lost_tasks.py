"""A ledger that is lost after calls were published and their rows were not: what was bought is told, and had again."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from batch.cli.app import main
from batch.core.clock import MICROSECONDS, Clock
from batch.output.unmatched import Unmatched
from tests.simulator.conftest import Gate, Start
from tests.simulator.struck import fault
from tests.system.runs.conftest import Make, Mill
from tests.system.runs.test_bulk import NOW, TOOLS
from tests.system.runs.test_lost_batches import BOOKED, billed, lose, rebuilt

Killed = Callable[..., Mill]


class DaysLater(Clock):
    """By the wall, it is the day after tomorrow."""

    def now_us(self) -> int:
        return super().now_us() + 2 * 86_400 * MICROSECONDS


@pytest.fixture
def killed(make: Make) -> Killed:
    """A job whose calls are in the book, whose rows are in no part, and whose ledger is lost."""

    def begin(scenario: str = "", *, lane: str = "task", rows: int = 40, **parameters: int) -> Mill:
        mill = make(scenario, lane=lane)
        mill.parameters = parameters
        mill.questions(rows)
        assert mill.command(failpoint=BOOKED)[0] == -9
        lose(mill)
        return mill

    return begin


@pytest.mark.parametrize("lane", ["task", "sync"])
def test_tasks_that_are_in_the_book_alone_are_collected_once_more(killed: Killed, lane: str) -> None:
    """By the ids that the book has, in whichever lane the job goes on; nothing is bought or booked twice."""
    mill = killed()
    assert rebuilt(mill).unmatched == Unmatched(again=40)
    mill.lane = lane
    report = mill.run()
    assert (report.exit_code, report.totals.rows_ok) == (0, 40)
    assert (report.totals.calls, report.totals.cost) == (0, {}), "this run bought nothing"
    assert len(billed(mill)) == 40
    mill.check_table(40)
    mill.check_books()
    mill.check_sums()
    assert mill.run().state == "nothing_to_do"


@pytest.mark.parametrize("point", ["admitted.committed", "settled.committed", "publish.results_named"])
def test_a_run_that_collects_them_and_is_killed_goes_on(killed: Killed, point: str) -> None:
    """Also when the ledger goes a second time."""
    mill = killed()
    rebuilt(mill)
    assert mill.command(failpoint=point)[0] == -9
    if point == "publish.results_named":
        lose(mill)
        rebuilt(mill)
    assert mill.run().totals.calls == 0
    assert len(billed(mill)) == 40
    mill.check_table(40)
    mill.check_books()
    mill.check_sums()


def test_an_old_copy_of_the_ledger_knows_its_tasks_and_books_none_of_them_again(make: Make) -> None:
    """It has them as open; by now they are in the book, and their rows in no part."""
    mill = make(lane="task")
    mill.questions(40)
    assert mill.command(failpoint="accepted.committed")[0] == -9  # what was under way is asked again, and no more
    kept = {path.name: path.read_bytes() for path in mill.out.glob("ledger.db*")}
    assert mill.command(failpoint=BOOKED)[0] == -9
    lose(mill)
    for name, content in kept.items():
        (mill.out / name).write_bytes(content)
    bought = billed(mill)
    rebuilt(mill)
    assert mill.run().totals.rows_ok == 40
    assert billed(mill) == bought
    mill.check_table(40)
    mill.check_books(at_risk=16)


def test_a_row_that_asks_something_else_by_now_does_not_get_its_old_answer(killed: Killed) -> None:
    """The fingerprint in the book tells what was asked."""
    mill = killed()
    rebuilt(mill)
    mill.user = "Quickly: {{ question }}"
    report = mill.run()
    assert (report.totals.rows_ok, report.totals.calls) == (40, 40)
    mill.check_books()


def test_tasks_that_are_older_than_a_task_may_become_are_asked_for_until_the_provider_answers(killed: Killed) -> None:
    """Ours: of a folder that was mended days later, one poll that was refused bought its answer a second time."""
    mill = killed(fault(28, route="poll", rate=0.2, status=503), rows=12)
    rebuilt(mill)
    mill.clock = DaysLater()
    report = mill.run()
    assert (report.totals.rows_ok, report.totals.calls) == (12, 0)
    assert len(billed(mill)) == 12
    mill.check_table(12)
    mill.check_books()


def test_tasks_that_are_paid_for_take_nothing_from_a_budget(killed: Killed) -> None:
    """One that would not last for a single call is enough."""
    mill = killed(max_tokens=512)
    rebuilt(mill)
    mill.more += '[budget]\nmax_cost = "0.000000000001 CNY"\n'
    report = mill.run()
    assert (report.exit_code, report.totals.rows_ok, report.totals.calls) == (0, 40, 0)
    mill.check_table(40)
    mill.check_books()


def test_tasks_that_the_provider_does_not_know_any_more_are_asked_again(killed: Killed, start: Start) -> None:
    """It keeps results for some time only; the row counts what it took in the end."""
    mill = killed()
    rebuilt(mill)
    mill.sim = start("")
    mill.url = f"http://127.0.0.1:{mill.sim.port}"
    report = mill.run()
    assert (report.totals.rows_ok, report.totals.answered, report.totals.unknown) == (40, 40, 0)
    mill.check_table(40)
    assert set(mill.one("calls")) == {1}
    assert len(mill.calls("1")) == 80


@pytest.fixture
def conversing(make: Make) -> Mill:
    """A job with a tool, whose calls are in the book, whose rows are in no part, and whose ledger is lost."""
    mill = make(lane="task")
    mill.tools = TOOLS
    mill.write([{"n": n, "question": f"What is {n} plus {2 * n}?"} for n in range(20)])
    assert mill.command(failpoint=BOOKED)[0] == -9
    lose(mill)
    return mill


@pytest.mark.parametrize("lane", ["task", "sync"])
def test_a_conversation_takes_the_task_of_each_turn_once_more(conversing: Mill, lane: str) -> None:
    """Its tools run again, and nothing is bought or booked a second time."""
    mill = conversing
    assert rebuilt(mill).unmatched == Unmatched(again=20)
    mill.lane = lane
    report = mill.run()
    assert (report.exit_code, report.totals.rows_ok, report.totals.calls) == (0, 20, 0)
    assert len(billed(mill)) == len(mill.books()) == 40
    mill.check_table(20)
    mill.check_books()
    mill.check_sums()
    lose(mill)
    assert rebuilt(mill).unmatched == Unmatched()


@pytest.mark.parametrize("point", ["answered.committed:2", "tool.committed:1", "settled.committed:1"])
def test_a_conversation_that_takes_its_tasks_and_is_killed_goes_on(conversing: Mill, point: str) -> None:
    """Wherever it was: what it had taken is its own."""
    mill = conversing
    rebuilt(mill)
    assert mill.command(failpoint=point)[0] == -9
    assert mill.run().totals.rows_ok == 20
    assert len(billed(mill)) == len(mill.books()) == 40
    mill.check_table(20)
    mill.check_books()
    mill.check_sums()


def test_a_conversation_that_begins_anew_goes_on_anew(conversing: Mill, start: Start) -> None:
    """The provider has nothing of it any more: an old answer to the second turn would answer other words."""
    mill = conversing
    rebuilt(mill)
    mill.sim = start("")
    mill.url = f"http://127.0.0.1:{mill.sim.port}"
    report = mill.run()
    assert (report.totals.rows_ok, report.totals.answered) == (20, 40)
    polled = [record["route"] for record in mill.sim.books()].count("poll")
    assert polled >= 20 + 40, "the first turns once in vain, and those that were bought"
    mill.check_table(20)
    assert set(mill.one("calls")) == {2}


@pytest.mark.parametrize("lane", ["task", "sync"])
def test_tasks_that_were_given_up_as_too_late_are_polled_first_all_the_same(
    make: Make, gate: Gate, lane: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Design 4: the id is kept and polled first next time; with the ledger it is lost, and the book has it, too."""
    mill = make(gate=gate, lane="task")
    mill.limits.update(concurrency=8, task_timeout_s=0.4)
    mill.questions(8)
    assert mill.run().exit_code == 1
    lose(mill)
    assert main(["rebuild", str(mill.out)]) == 1
    said = capsys.readouterr().out
    assert "8 accepted tasks" in said, said
    gate.open()
    mill.lane, mill.limits["task_timeout_s"] = lane, 60
    report = mill.run()
    assert (report.exit_code, report.totals.rows_ok, report.totals.calls) == (0, 8, 8)
    assert len(mill.books()) == 8, "a task was bought twice"
    assert (
        sorted(mill.calls("state, right(client_call_id, 5) = '-late'"))
        == [("answered", True)] * 8 + [("unknown", False)] * 8
    )
    mill.check_table(8)
    lose(mill)
    assert rebuilt(mill).kept.accepted == 0, "the table has their answers"
    assert mill.run().totals.calls == 0


def test_a_late_task_of_another_question_or_of_a_row_that_is_answered_is_not_kept(make: Make, gate: Gate) -> None:
    """An id belongs to what was asked; and nobody asks for an answer that is there."""
    mill = make(gate=gate, lane="task")
    mill.limits.update(concurrency=8, task_timeout_s=0.4)
    mill.questions(8)
    assert mill.run().exit_code == 1
    gate.open()
    mill.limits["task_timeout_s"] = 60
    mill.questions(4)
    assert mill.run().exit_code == 0
    lose(mill)
    assert rebuilt(mill).kept.accepted == 4
    mill.questions(8)
    mill.user = "Other: {{ question }}"
    report = mill.run()
    assert (report.exit_code, report.totals.calls, len(mill.books())) == (0, 8, 16)


def test_of_calls_whose_answers_nobody_has_it_is_said_that_they_are_paid_for_again(
    killed: Killed, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was answered at once is nowhere but in the ledger until its part is published."""
    mill = killed(lane="sync")
    assert main(["rebuild", str(mill.out)]) == 1
    assert (
        "of 40 rows the book has the calls and nobody an answer: it is paid for a second time"
        in capsys.readouterr().out
    )
    assert mill.run().totals.calls == 40
    mill.check_table(40)
    mill.check_books()


def test_answers_that_the_old_ledger_has_are_not_said_to_be_paid_for_again(make: Make) -> None:
    """Their calls have a file by then, and they have none."""
    mill = make(lane="sync")
    mill.questions(10)
    assert mill.command(failpoint=BOOKED)[0] == -9
    made = rebuilt(mill)
    assert (made.kept.settled, made.unmatched, made.seeks) == (10, Unmatched(), False)
    assert mill.run().totals.calls == 0
    mill.check_table(10)
    mill.check_books()


def test_only_answers_are_had_again(killed: Killed) -> None:
    """A failed attempt of before is no answer; the row has its own attempts."""
    mill = killed(fault(28, route="submit", rate=0.5, first=1, status=503))
    assert rebuilt(mill).unmatched == Unmatched(again=40)
    assert mill.run().totals.calls == 0
    assert len(billed(mill)) == 40
    mill.check_table(40)
    mill.check_books()


@pytest.mark.parametrize("lane", ["sync", "stream", "task", "bulk"])
def test_of_a_table_that_is_whole_no_answer_is_missing(make: Make, lane: str) -> None:
    """In whichever lane, and however many calls a row took: its last answer is no newer than itself."""
    mill = make(NOW, lane=lane, model="glm-4-plus")
    mill.tools = TOOLS
    mill.write([{"n": n, "question": f"What is {n} plus {2 * n}?"} for n in range(12)])
    assert mill.run().totals.calls == 24
    lose(mill)
    assert rebuilt(mill).unmatched == Unmatched()
