"""Whole runs in which rows that ask the same are asked once: what the others get, who is asked next, what is bought."""

from __future__ import annotations

import signal
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from batch.cli import main
from batch.ledger.copies import CopiesReader
from batch.report.compare import Comparison
from batch.report.row import row_of
from tests.simulator.conftest import Gate, Start
from tests.system.runs.asking import Ask, Asking, ask
from tests.system.runs.conftest import SOME, Mill
from tests.system.runs.test_stops import accepted, end, until

__all__ = ["ask"]

SHARED = 'user = "{{ question }}"\ndedupe = true'
ROWS, DISTINCT = 40, 7
ADD = '''from batch import tool
@tool(quick=True)
def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b
'''


def questions(rows: int = ROWS, distinct: int = DISTINCT) -> list[dict[str, Any]]:
    """Rows that ask for so many different things, over and over."""
    return [{"question": f"Tell me about the number {n % distinct}."} for n in range(rows)]


def bought(mill: Mill) -> Counter[str]:
    """How often each prompt was billed, by the row that it was billed for."""
    row_of_call = dict(mill.calls("client_call_id, row_id"))
    asked = dict(mill.results("row_id, question"))
    return Counter(asked[row_of_call[record["client_call_id"]]] for record in mill.books() if record["billed"])


def check_copies(mill: Mill, rows: int = ROWS) -> None:
    """Each row has its answer; a copy has that of the row it names, and spent nothing."""
    mill.check_table(rows)
    columns = (
        "row_id, question, answer, deduplicated_from, calls, tool_calls, turns, total_tokens, prompt_tokens, cost, "
        "first_sent_at IS NULL AND latency_ms IS NULL, status, currency, model, messages"
    )
    found = {row[0]: row[1:] for row in mill.results(columns)}
    for question, answer, asked, *spent, unsent, status, currency, model, messages in found.values():
        assert status == "ok"
        if asked is None:
            assert spent[0] >= 1
            continue
        first = found[asked]
        assert (first[0], first[1], first[2]) == (question, answer, None), "a copy names a row that was asked"
        assert (spent, unsent) == ([0, 0, 0, 0, 0, Decimal(0)], True)
        assert (currency, model, messages) == first[-3:]


@pytest.mark.parametrize("lane", ["sync", "stream", "task"])
def test_rows_that_ask_the_same_are_asked_once_and_have_the_same_answer(ask: Ask, lane: str) -> None:
    asking = ask(SHARED, questions(), lane=lane)
    asking.output = {"rows_per_part": 9}
    report = asking.run()
    assert (report.exit_code, report.planned.new, report.totals.rows_ok, report.totals.rows_copied) == (0, 40, 40, 33)
    assert report.totals.calls == DISTINCT
    check_copies(asking)
    assert bought(asking) == Counter(dict.fromkeys((row["question"] for row in questions()), 1))
    asking.check_books()
    assert asking.pending() == []
    assert asking.run().state == "nothing_to_do"
    with CopiesReader(asking.out / "ledger.db") as reader:
        assert (reader.waiting_by_variant(), reader.ended(), reader.any_ready()) == ({}, [], False)
        assert list(reader._rows("SELECT * FROM asked")) == [], "answers are kept no longer than the run"


def test_without_the_key_each_row_is_asked(ask: Ask) -> None:
    asking = ask(SHARED.replace("true", "false"), questions())
    report = asking.run()
    assert (report.totals.calls, report.totals.rows_copied) == (ROWS, 0)


def test_when_a_row_fails_the_next_one_is_asked_and_the_others_share_its_answer(ask: Ask) -> None:
    """The first two calls of the prompt fail, and each row has one: no other row is taken along."""
    asking = ask(SHARED, questions(30, 1), "[[fault]]\nbehaviour = 28\nfirst = 2\n")
    asking.limits["max_attempts"] = 1
    report = asking.run()
    assert asking.results("n, status, error_kind, deduplicated_from, calls")[:3] == [
        (0, "failed", "server", None, 1),
        (1, "failed", "server", None, 1),
        (2, "ok", None, None, 1),
    ]
    assert (report.totals.rows_failed, report.totals.rows_copied, report.totals.calls) == (2, 27, 3)
    assert set(asking.one("deduplicated_from")[3:]) == {asking.one("row_id")[2]}
    assert asking.pending() == []
    asking.check_books()
    again = asking.run()
    assert (again.planned.retried, again.totals.calls, again.totals.rows_copied) == (2, 1, 1), "they ask the same, too"


def test_when_all_of_them_fail_each_was_asked(ask: Ask) -> None:
    asking = ask(SHARED, questions(6, 2), "[[fault]]\nbehaviour = 65\n")
    report = asking.run()
    assert (report.totals.rows_failed, report.totals.calls, report.totals.rows_copied) == (6, 6, 0)
    assert asking.pending() == []


def test_rows_that_come_long_after_the_answer_was_published_share_it(ask: Ask) -> None:
    """The window of rows to be sent is smaller than the input, and parts are published on the way."""
    rows = [{"question": f"Number {n}" if 0 < n < 1_060 else "The same"} for n in range(1_100)]
    asking = ask(SHARED, rows)
    asking.output = {"rows_per_part": 50}
    report = asking.run()
    assert (report.totals.calls, report.totals.rows_copied, report.exit_code) == (1_060, 40, 0)
    asking.check_table(1_100)
    assert asking.pending() == []


def test_variants_that_ask_the_same_share_an_answer_and_others_do_not(ask: Ask) -> None:
    prompt = f"{SHARED}\n[prompt.variants]\none = {{}}\ntwo = {{}}\nkind = {{ system = 'Be kind.' }}"
    asking = ask(prompt, questions(4, 2))
    report = asking.run()
    assert (report.totals.calls, report.totals.rows_ok) == (4, 12)
    assert {row[0] for row in asking.results("variant")} == {"one", "two", "kind"}
    assert [row[1] for row in asking.results("variant, deduplicated_from IS NULL") if row[0] == "one"] == [
        True,
        True,
        False,
        False,
    ]
    comparison = Comparison(asking.out)
    assert len(list(comparison.rows())) == 4
    assert comparison.pairs[0].share == 1.0
    assert [(sums.rows, sums.unknown_cost, sums.unknown_tokens) for sums in comparison.variants] == [(4, 0, 0)] * 3


def test_a_copy_stands_on_its_own_when_it_or_the_row_that_was_asked_changes(ask: Ask) -> None:
    rows = questions(6, 1)
    asking = ask(SHARED, rows)
    asking.run()
    first, answer = asking.one("row_id")[0], asking.one("answer")[0]
    asking.write(
        [{"n": n, "question": "Something else." if n in (0, 3) else row["question"]} for n, row in enumerate(rows)]
    )
    report = asking.run()
    assert (report.planned.changed, report.totals.calls, report.totals.rows_copied) == (2, 1, 1)
    found = asking.results("deduplicated_from, answer")
    assert found[1] == (first, answer)
    assert found[0][0] is None
    assert found[3] == (first, found[0][1])


def test_a_job_whose_tools_have_effects_is_refused(ask: Ask) -> None:
    asking = ask(SHARED, questions())
    asking.tools = ADD.replace("quick=True", "effects=True")
    code, said = asking.command()
    assert (code, asking.books()) == (2, [])
    assert "prompt.dedupe: add has effects" in said


def test_rows_share_the_answer_of_a_conversation_with_pure_tools(ask: Ask) -> None:
    """Tools were called for one row; the sums say so."""
    asking = ask(SHARED, [{"question": "What is 12 plus 30?"}] * 5)
    asking.tools = ADD
    report = asking.run()
    assert (report.totals.rows_copied, report.totals.tool_calls, report.totals.calls) == (4, 1, 2)
    assert [row[:2] for row in asking.results("tool_calls, calls, answer")] == [(1, 2)] + [(0, 0)] * 4
    check_copies(asking, 5)


def test_the_summary_and_status_and_show_tell_of_copies(
    ask: Ask, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asking = ask(SHARED, questions())
    monkeypatch.setenv("ZHIPUAI_API_KEY", asking.environ["ZHIPUAI_API_KEY"])
    assert main(["run", str(asking.save()), "--progress", "none"]) == 0
    said = capsys.readouterr().out
    assert "40 ok, 0 failed" in said
    assert "shared   33 rows with the answer of another that asks the same" in said
    assert main(["status", str(asking.out)]) == 0
    assert "33 rows with the answer of another" in capsys.readouterr().out
    (view,) = row_of(asking.out, asking.one("row_id")[-1])
    assert view.outcome is not None
    assert (view.outcome["deduplicated_from"], view.calls) == (asking.one("row_id")[4], [])


def test_a_rebuild_keeps_what_is_shared(ask: Ask) -> None:
    asking = ask(SHARED, questions())
    asking.run()
    before = asking.results("row_id, answer, deduplicated_from, calls")
    for suffix in ("", "-wal", "-shm"):
        (asking.out / f"ledger.db{suffix}").unlink(missing_ok=True)
    assert main(["rebuild", str(asking.out)]) in (0, 1)
    report = asking.run()
    assert (report.planned.unchanged, report.totals.calls) == (ROWS, 0)
    assert asking.results("row_id, answer, deduplicated_from, calls") == before
    sums = [run["totals"]["rows_copied"] for run in asking.runs()]
    assert sums[0] == ROWS - DISTINCT


def test_a_stop_with_rows_that_wait_buys_nothing_twice(tmp_path: Path, start: Start, gate: Gate) -> None:
    """The provider has the tasks when the run is stopped: the next run collects them, for all rows that ask the same."""
    asking = Asking(tmp_path / "job", start(SOME, gate), lane="task")
    asking.prompt, asking.key = SHARED, "n"
    asking.write([{"n": n, **row} for n, row in enumerate(questions())])
    process = asking.start()
    until(lambda: accepted(asking) >= DISTINCT or process.poll() is not None, "the tasks")
    process.send_signal(signal.SIGTERM)
    end(process)
    assert asking.runs()[0]["exit_reason"] == "interrupted"
    gate.open()
    report = asking.run()
    assert (report.exit_code, report.totals.rows_copied) == (0, ROWS - DISTINCT)
    check_copies(asking)
    assert bought(asking) == Counter(dict.fromkeys((row["question"] for row in questions()), 1))
    asking.check_books()


@pytest.mark.parametrize(("lane", "point"), [("sync", "sent.left:7"), ("task", "accepted.committed:1")])
def test_a_kill_with_rows_that_wait_buys_no_more_than_what_was_at_risk(ask: Ask, lane: str, point: str) -> None:
    asking = ask(SHARED, questions(), lane=lane)
    assert asking.command(failpoint=point)[0] == -signal.SIGKILL
    assert asking.run().exit_code == 0
    check_copies(asking)
    unknown = len(asking.calls("1", "state = 'unknown'"))  # sent, and no answer or task id was durable
    assert sum(bought(asking).values()) <= DISTINCT + unknown
    assert len(asking.calls("1", "state = 'answered'")) == DISTINCT
    asking.check_books(at_risk=DISTINCT)


def test_a_run_goes_on_when_sharing_is_switched_on_or_off_after_a_kill(ask: Ask) -> None:
    asking = ask(SHARED, questions(60, 5))
    asking.limits["concurrency"] = 2
    assert asking.command(failpoint="settled.committed:2")[0] == -signal.SIGKILL
    asking.prompt = SHARED.replace("true", "false")
    # By then at most four of the five questions have an answer, so twelve rows are left to ask: two in each commit.
    assert asking.command(failpoint="settled.committed:3")[0] == -signal.SIGKILL
    asking.prompt = SHARED
    report = asking.run()
    assert report.exit_code == 0
    asking.check_table(60)
    assert asking.pending() == []
    assert asking.results("count(*) FILTER (WHERE deduplicated_from IS NOT NULL) > 10") == [(True,)]
    asking.check_books(at_risk=4)


def test_check_counts_the_rows_that_will_share_an_answer(
    ask: Ask, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asking = ask(SHARED, questions())
    monkeypatch.setenv("ZHIPUAI_API_KEY", asking.environ["ZHIPUAI_API_KEY"])
    assert main(["check", str(asking.save()), "--full"]) == 0
    said = capsys.readouterr().out
    assert "33 answers shared by rows that ask what an earlier one asks" in said
    assert "each is asked" not in said
