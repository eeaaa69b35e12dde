"""A ledger that is lost while batches are at the provider: they are found again, and nothing is bought twice."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from typing import Any

import pytest

from batch.core.clock import Clock
from batch.core.errors import BatchError
from batch.ledger.orphans import OrphansReader
from batch.output.folder import OutputFolder, RunLock
from batch.output.rebuild import Rebuilt, rebuild
from batch.output.unmatched import Unmatched
from batch.report.status import status_of
from tests.simulator.conftest import Start
from tests.simulator.struck import fault
from tests.system.runs.conftest import KEY, OPENAI_KEY, Mill
from tests.system.runs.test_bulk import TOOLS, Make, batches, make, slowly

__all__ = ["make"]


def lose(mill: Mill, *more: str) -> None:
    """The ledger goes, and perhaps more of the folder."""
    for name in ("ledger.db", "ledger.db-wal", "ledger.db-shm", *more):
        path = mill.out / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def rebuilt(mill: Mill) -> Rebuilt:
    folder = OutputFolder(mill.out)
    with RunLock(folder):
        return rebuild(folder, Clock().now_us())


def billed(mill: Mill) -> Counter[Any]:
    """How often each question was billed, by call."""
    return Counter(record["client_call_id"] for record in mill.books() if record["billed"])


def away(make: Make, start: Start, *, scenario: str = "", ended: bool = True, **more: Any) -> Mill:
    """A job whose rows were given away in batches, which have ended by now or never will."""
    mill = make(**more)
    gate = slowly(mill, start, scenario)
    mill.questions(70)
    assert mill.run(no_wait=True).exit_code == 7
    if ended:
        gate.open()
    return mill


@pytest.mark.parametrize("lane", ["bulk", "sync"])
@pytest.mark.parametrize("gone", [(), ("bulk",), ("runs", "pending", "status.json")])
def test_batches_are_found_again_by_what_they_carry(make: Make, start: Start, lane: str, gone: tuple[str, ...]) -> None:
    """By the files that are left or the provider's own copies, in whichever lane the job goes on."""
    # GLM deletes the file of a batch that is done, and this one may be done before anybody asks.
    mill = away(make, start, provider="openai" if "bulk" in gone else "glm")
    lose(mill, *gone)
    with pytest.raises(BatchError, match="promptmill rebuild"):
        mill.run()
    rebuilt(mill)
    mill.lane = lane
    report = mill.run()
    assert (report.exit_code, report.totals.rows_ok) == (0, 70)
    assert batches(mill) == 2, "none was made anew"
    assert len(billed(mill)) == 70
    mill.check_table(70)
    mill.check_books()
    assert mill.run().state == "nothing_to_do"
    assert status_of(mill.out).batches == ()


def killed_before_anything_is_published(mill: Mill) -> None:
    """All answers are in the ledger, and no part has its name yet."""
    assert mill.command(failpoint="publish.calls_written")[0] == -9
    assert not list(mill.out.rglob("part-*.parquet"))


def test_a_collected_batch_whose_answers_were_not_published_is_collected_once_more(make: Make, start: Start) -> None:
    """Answers that lay in the ledger alone are still at the provider, and so is what was asked (not at GLM)."""
    mill = away(make, start, provider="openai")
    killed_before_anything_is_published(mill)
    lose(mill, "bulk")
    rebuilt(mill)
    assert mill.run().totals.rows_ok == 70
    assert len(billed(mill)) == 70
    mill.check_table(70)
    mill.check_books()


def test_a_collected_batch_of_which_nobody_knows_what_it_asked_is_said_to_be_in_doubt(make: Make, start: Start) -> None:
    """GLM deletes the file of requests with the end of its batch: before its rows are bought again, that is said."""
    mill = away(make, start)
    killed_before_anything_is_published(mill)
    lose(mill, "bulk")
    rebuilt(mill)
    code, said = mill.command("--log-format", "json")
    assert code == 0, said
    events = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    told = [event for event in events if event["event"] == "lost_batch_unknown"]
    assert told
    assert all(event["in_doubt"] == event["lines"] for event in told)
    assert "are asked again and may be billed twice" in told[0]["why"]
    assert events.index(told[-1]) < min(n for n, event in enumerate(events) if event["event"] == "batch_created")
    mill.check_table(70)
    billed_twice = sum(event["in_doubt"] for event in told)
    assert sum(bool(record["billed"]) for record in mill.books()) == 70 + billed_twice


def test_a_batch_that_is_published_is_in_no_doubt_when_the_ledger_is_lost(make: Make, start: Start) -> None:
    """Ours: each batch that GLM had ever done was told as one that nobody knows."""
    mill = make()
    mill.questions(70)
    assert mill.run().exit_code == 0
    lose(mill)
    rebuilt(mill)
    mill.questions(71)
    code, said = mill.command("--log-format", "json")
    assert (code, "lost_batch_unknown" in said) == (0, False), said
    assert "lost_batches_found" in said
    mill.check_table(71)
    mill.check_books()


BOOKED = "publish.calls_named"
"""The calls have their file by then, and the rows not yet theirs."""


@pytest.mark.parametrize(("provider", "lane"), [("glm", "bulk"), ("openai", "bulk"), ("openai", "sync")])
def test_rows_whose_calls_alone_were_published_get_their_answers_from_the_batch_once_more(
    make: Make, start: Start, provider: str, lane: str
) -> None:
    """By the provider's copy of the requests, or by what the book says of them (GLM keeps no copy); booked once."""
    mill = away(make, start, provider=provider)
    assert mill.command(failpoint=BOOKED)[0] == -9
    assert len(mill.calls("1")) == 70
    lose(mill)
    assert rebuilt(mill).unmatched == Unmatched(again=70)
    mill.lane = lane
    report = mill.run()
    assert (report.exit_code, report.totals.rows_ok) == (0, 70)
    assert (report.totals.calls, report.totals.cost) == (0, {}), "this run bought nothing"
    assert batches(mill) == 2, "none was made anew"
    assert len(billed(mill)) == 70
    mill.check_table(70)
    mill.check_books()
    mill.check_sums()
    assert mill.run().state == "nothing_to_do"
    rebuilt(mill)
    assert sum(run["totals"]["calls"] for run in mill.runs()) == 70


def test_rows_asked_anew_in_a_part_that_was_not_written_again_get_their_new_answers(make: Make, start: Start) -> None:
    """The table has their old ones: those are older than the calls of the book."""
    mill = make(provider="openai")
    mill.questions(30)
    assert mill.run().exit_code == 0
    mill.user = "Quickly: {{ question }}"
    assert mill.command(failpoint=BOOKED)[0] == -9
    lose(mill)
    assert rebuilt(mill).unmatched == Unmatched(again=30)
    assert mill.run().totals.rows_ok == 30
    assert len(billed(mill)) == 60
    mill.check_table(30)
    mill.check_books()


def test_a_conversation_takes_each_turn_once_more_and_books_none_of_them_again(make: Make, start: Start) -> None:
    """Of a turn after the first the provider's copy of the requests tells what it asked."""
    mill = make(provider="openai")
    mill.tools = TOOLS
    slowly(mill, start).open()
    mill.write([{"n": n, "question": f"What is {n} plus {2 * n}?"} for n in range(20)])
    assert mill.command(failpoint=BOOKED)[0] == -9
    lose(mill)
    rebuilt(mill)
    report = mill.run()
    assert (report.totals.rows_ok, report.totals.calls) == (20, 0)
    assert len(billed(mill)) == 40
    mill.check_table(20)
    mill.check_books()
    mill.check_sums()


@pytest.mark.parametrize("point", ["bulk.line:3", "publish.results_named"])
def test_a_run_that_takes_booked_lines_and_is_killed_books_none_of_them_again(
    make: Make, start: Start, point: str
) -> None:
    """That they are booked is durable with the claim."""
    mill = away(make, start, provider="openai")
    assert mill.command(failpoint=BOOKED)[0] == -9
    lose(mill)
    rebuilt(mill)
    assert mill.command(failpoint=point)[0] == -9
    report = mill.run()
    assert (report.totals.rows_ok, report.totals.calls) == (70, 0)
    assert len(billed(mill)) == 70
    mill.check_table(70)
    mill.check_books()
    mill.check_sums()


def test_booked_lines_take_nothing_from_a_budget(make: Make, start: Start) -> None:
    """They were paid for: one that would not last for a single call is enough."""
    mill = make(provider="openai")
    mill.parameters = {"max_tokens": 512}
    mill.questions(70)
    assert mill.command(failpoint=BOOKED)[0] == -9
    lose(mill)
    rebuilt(mill)
    mill.more += '[budget]\nmax_cost = "0.000000000001 USD"\n'
    report = mill.run()
    assert (report.exit_code, report.totals.rows_ok, report.totals.cost) == (0, 70, {})
    mill.check_table(70)
    mill.check_books()


def test_booked_lines_whose_answers_the_provider_has_no_more_are_asked_again(make: Make, start: Start) -> None:
    """Then nothing but a second payment helps: the book has both calls, and the rows those that answered them."""
    mill = away(make, start, provider="openai")
    assert mill.command(failpoint=BOOKED)[0] == -9
    lose(mill)
    rebuilt(mill)
    assert mill.sim is not None
    key = {"Authorization": f"Bearer {OPENAI_KEY}"}
    for batch in mill.sim.http.get("/v1/batches", headers=key).json()["data"]:
        assert mill.sim.http.delete(f"/v1/files/{batch['output_file_id']}", headers=key).status_code == 200
    report = mill.run()
    assert (report.totals.rows_ok, report.totals.answered, report.totals.unknown) == (70, 70, 0)
    assert sum(billed(mill).values()) == 140
    assert len(mill.calls("1")) == 140
    assert set(mill.one("calls")) == {1}
    mill.check_table(70)
    mill.check_books()


def test_a_run_over_some_rows_leaves_the_other_lines_for_later(make: Make, start: Start) -> None:
    """The batch stays known until a run has looked at all rows."""
    mill = away(make, start)
    lose(mill)
    rebuilt(mill)
    assert mill.run(limit=30).totals.rows_ok == 30
    assert mill.run().totals.rows_ok == 40
    assert len(billed(mill)) == 70
    mill.check_table(70)
    mill.check_books()


def test_a_budget_that_is_reached_leaves_the_other_lines_for_later(make: Make, start: Start) -> None:
    """They were paid for: the run that has room for their rows collects them, and buys nothing."""
    mill = away(make, start)
    lose(mill)
    rebuilt(mill)
    without = mill.more
    mill.more = f"{without}[budget]\nmax_rows = 30\n"
    report = mill.run()
    assert (report.exit_code, report.state, report.totals.rows_ok) == (3, "budget", 30)
    mill.more = without
    assert mill.run().totals.rows_ok == 40
    assert batches(mill) == 2, "none was made anew"
    assert len(billed(mill)) == 70
    mill.check_table(70)
    mill.check_books()


def test_lines_that_nobody_asks_for_any_more_are_forgotten(make: Make, start: Start) -> None:
    """The input has fewer rows by then; the bill is what it is, and no batch is waited for at the end."""
    mill = away(make, start, ended=False)
    mill.questions(0)
    lose(mill)
    rebuilt(mill)
    mill.write([{"n": 0, "question": "Something else?"}])
    mill.lane = "sync"
    assert mill.run().totals.rows_ok == 1
    assert status_of(mill.out).batches == ()
    with OrphansReader(mill.out / "ledger.db") as reader:
        assert not reader.unclaimed_by_wave()


def test_lines_that_nobody_asks_for_keep_no_command_that_does_not_wait(make: Make, start: Start) -> None:
    """One batch has lines of gone rows alone; the other is at the provider still, and that is all there is to do."""
    mill = away(make, start, ended=False)
    lose(mill)
    rebuilt(mill)
    mill.questions(50)
    assert mill.run(no_wait=True).exit_code == 7
    with OrphansReader(mill.out / "ledger.db") as reader:
        assert [lines for lines, _ in reader.unclaimed_by_wave().values()] == [20]


def test_a_provider_that_does_not_tell_its_batches_sells_nothing(make: Make, start: Start) -> None:
    """Exit 6, and the run after that finds them."""
    mill = away(make, start)
    lose(mill)
    rebuilt(mill)
    mill.environ["ZHIPUAI_API_KEY"] = "not-a-key"
    report = mill.run()
    assert report.exit_code == 6
    assert "lost with the ledger are looked for before anything is bought" in str(report.fault)
    mill.environ["ZHIPUAI_API_KEY"] = KEY
    assert mill.run().totals.rows_ok == 70
    assert len(billed(mill)) == 70


@pytest.mark.parametrize("point", ["bulk.found", "bulk.line:3", "bulk.collected"])
def test_a_run_that_takes_lines_and_is_killed_goes_on(make: Make, start: Start, point: str) -> None:
    """What a row has taken is its own from the commit on."""
    mill = away(make, start)
    lose(mill)
    rebuilt(mill)
    assert mill.command(failpoint=point)[0] == -9
    assert mill.run().totals.rows_ok == 70
    assert len(billed(mill)) == 70
    mill.check_table(70)
    mill.check_books()


def test_a_ledger_of_yesterday_knows_its_batches_and_finds_those_of_today(make: Make, start: Start) -> None:
    """A copy is put back: the batch that it has is collected as ever, the one that was made since is looked for."""
    mill = make()
    mill.key = "n"
    gate = slowly(mill, start)
    rows = mill.questions(40)
    assert mill.run(no_wait=True).exit_code == 7
    kept = (mill.out / "ledger.db").read_bytes()
    mill.write(rows + [{"n": n, "question": f"Who was number {n}?"} for n in range(40, 60)])
    assert mill.run(no_wait=True).exit_code == 7
    lose(mill)
    (mill.out / "ledger.db").write_bytes(kept)
    made = rebuilt(mill)
    assert made.kept.batches == 1
    gate.open()
    for _ in range(4):
        report = mill.run()
        if report.state == "nothing_to_do":
            break
    assert len(billed(mill)) == 60
    mill.check_table(60)


def test_a_conversation_begins_anew_with_what_its_batches_said(make: Make, start: Start) -> None:
    """Each turn is a line of a batch that is still there, and its tools run again."""
    mill = make(provider="openai")
    mill.tools = TOOLS
    slowly(mill, start).open()
    mill.write([{"n": n, "question": f"What is {n} plus {2 * n}?"} for n in range(20)])
    assert mill.command(failpoint="bulk.line:25")[0] == -9
    lose(mill)
    rebuilt(mill)
    assert mill.run().totals.rows_ok == 20
    assert len(billed(mill)) == 40
    mill.check_table(20)
    mill.check_books()


def test_lines_of_a_batch_that_expired_are_asked_again_and_not_in_doubt(make: Make, start: Start) -> None:
    """Its counts agree with its files, so what is missing there was not bought."""
    mill = away(make, start, scenario=fault(62, form="expired", rows=["wave-00000"], share=0.4))
    lose(mill)
    rebuilt(mill)
    report = mill.run()
    assert (report.totals.rows_ok, report.totals.unknown) == (70, 0)
    assert len(billed(mill)) == 70
    mill.check_books()


@pytest.mark.parametrize("lost", [False, True])
def test_what_a_batch_left_undone_is_not_in_doubt_when_its_answers_are_published(
    make: Make, start: Start, lost: bool
) -> None:
    """The ledger knows the published ones no more, or by the book alone, when the files are read once more."""
    mill = make()
    slowly(mill, start, fault(62, form="expired", rows=["wave-00000"], share=0.4)).open()
    mill.output = {"rows_per_part": 5}
    mill.questions(70)
    assert mill.command(failpoint="publish.committed")[0] == -9
    if lost:
        lose(mill)
        rebuilt(mill)
    mill.run()
    assert "unknown" not in {state for (state,) in mill.calls("state")}
    if lost:
        # Numbers of rows that were not published went with the ledger: these get new ones, behind those that are taken.
        numbers = mill.one("row_number")
        assert numbers == sorted(set(numbers))
        assert len(numbers) == len(set(mill.one("row_id"))) == 70
    else:
        mill.check_table(70)
    mill.check_books()
