"""Lane `bulk`: batch files made, sent and collected, whatever becomes of them."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from itertools import count
from pathlib import Path
from types import FrameType

import anyio
import pytest

from batch.core.errors import RefusedToStart
from batch.job.job import Job
from batch.report.row import row_of
from batch.report.status import status_of
from batch.run.command import run
from tests.simulator.conftest import Gate, Start
from tests.simulator.struck import fault
from tests.system.runs.conftest import ID, KEY, SECRET, Mill

NOW = "[latency]\nbatch_ms = [0, 0]\nchat_ms = [0, 0]\n"
PLUS = {"glm": "glm-4-plus", "openai": "gpt-4o-mini"}
TOOLS = '''
from batch import tool


@tool
def add(a: int, b: int) -> int:
    """Add two numbers.

    Args:
        a: the first.
        b: the second.
    """
    return a + b
'''

Make = Callable[..., Mill]


@pytest.fixture
def make(tmp_path: Path, start: Start) -> Make:
    """A job in lane bulk, against a simulator of its own."""

    def begin(
        scenario: str = "", *, provider: str = "glm", lines: int = 50, wait_s: float = 60.0, batch_ms: int = 0
    ) -> Mill:
        sim = start(scenario + NOW.replace("batch_ms = [0, 0]", f"batch_ms = [{batch_ms}, {batch_ms}]"))
        mill = Mill(tmp_path / "job", sim, provider=provider, lane="bulk", model=PLUS[provider])
        # Long: a file is sent when no row can come, and not because a busy machine brought the next row late.
        mill.more = f"[bulk]\nlines = {lines}\nwave_wait_s = {wait_s}\n"
        return mill

    return begin


def batches(mill: Mill) -> int:
    """How many batches the provider was asked for, and made."""
    assert mill.sim is not None
    return sum(record["route"] == "create" and record["status"] == 200 for record in mill.sim.books())


@pytest.mark.parametrize("provider", ["glm", "openai"])
def test_every_row_is_answered_in_batches_and_booked_at_batch_price(make: Make, provider: str) -> None:
    """Each call is a line of a batch, whose id it has; the bill is half of what it would be."""
    mill = make(provider=provider)
    mill.questions(120)
    report = mill.run()
    assert (report.state, report.exit_code, report.totals.rows_ok) == ("finished", 0, 120)
    mill.check_table(120)
    mill.check_books()
    mill.check_sums()
    assert batches(mill) == 3
    found = mill.calls("lane, state, count(*), count(DISTINCT batch_id)", "true GROUP BY ALL")
    assert found == [("bulk", "answered", 120, 3)]
    assert {record["service_tier"] for record in mill.books()} == {"batch"}
    assert not (mill.out / "bulk").exists()
    assert mill.run().state == "nothing_to_do"


def test_the_answers_are_those_of_another_lane(make: Make) -> None:
    """A lane says how a request travels and nothing else; changing it buys nothing again."""
    mill = make()
    mill.questions(30)
    mill.run()
    answers = mill.results()
    mill.lane = "sync"
    assert mill.run().totals.calls == 0
    mill.out = mill.folder / "again"
    mill.run()
    assert mill.results() == answers


def test_failed_lines_are_tried_again_in_the_next_wave(make: Make) -> None:
    """A fifth of the lines fails with a passing error at the first attempt, and one row for good."""
    mill = make(fault(28, route="line", rate=0.2, first=1, status=503) + fault(65, route="line", rows=["number 7."]))
    mill.questions(100)
    report = mill.run()
    assert (report.totals.rows_ok, report.totals.rows_failed) == (99, 1)
    assert mill.one("error_kind")[7] == "content_filter"
    mill.check_table(100)
    mill.check_books()
    assert batches(mill) >= 3


@pytest.mark.parametrize("form", ["expired", "cancelled", "repeated", "unknown", "errors_only", "broken", "missing"])
def test_fault_62_every_row_has_one_outcome_whatever_becomes_of_a_batch(make: Make, form: str) -> None:
    """What was not done is asked again; what may have been done is booked as unknown, and nothing else."""
    mill = make(fault(62, form=form, rows=["wave-00000"], share=0.3))
    mill.questions(60)
    report = mill.run()
    assert (report.exit_code, report.totals.rows_ok) == (0, 60)
    mill.check_table(60)
    in_doubt = form in ("missing", "broken")
    mill.check_books(at_risk=-1 if in_doubt else 0)
    assert (report.totals.unknown > 0) is in_doubt


@pytest.mark.parametrize("provider", ["glm", "openai"])
def test_fault_62_a_batch_whose_files_come_late_is_waited_for(make: Make, provider: str) -> None:
    """It is completed and counts answers: taken at its word, all of them would be paid for and lost."""
    mill = make(fault(62, form="late_file", rows=["wave-00000"]), provider=provider)
    mill.questions(20)
    report = mill.run()
    assert (report.exit_code, report.totals.rows_ok, report.totals.calls, report.totals.unknown) == (0, 20, 20, 0)
    mill.check_table(20)
    mill.check_books()
    assert batches(mill) == 1


def test_fault_62_lines_that_a_check_names_fail_and_the_others_go_on(make: Make) -> None:
    """The batch fails as a whole; the named rows fail for good, with the code and the number of the line."""
    mill = make(fault(62, form="invalid", rows=["wave-00000"], share=0.2))
    mill.questions(40)
    report = mill.run()
    failed = mill.results("n, error_kind, error_code, error_message")
    failed = [row for row in failed if row[1] is not None]
    assert 1 <= len(failed) < 20
    assert report.totals.rows_ok == 40 - len(failed)
    for n, kind, code, message in failed:
        assert (kind, code) == ("bad_request", "invalid_json_line")
        assert f"line {n + 1} of batch" in message
    mill.check_books()


def test_tools_go_on_wave_by_wave(make: Make) -> None:
    """One batch a turn: the calls of tools run in between."""
    mill = make()
    mill.tools = TOOLS
    mill.write([{"n": n, "question": f"What is {n} plus {2 * n}?"} for n in range(20)])
    report = mill.run()
    assert report.totals.rows_ok == 20
    assert all(str(3 * n) in answer for n, answer in mill.results())
    assert mill.calls("turn, count(*), count(DISTINCT batch_id)", "true GROUP BY ALL ORDER BY ALL") == [
        (0, 20, 1),
        (1, 20, 1),
    ]
    mill.check_books()
    mill.check_sums()


def test_without_waiting_the_run_ends_with_7_and_the_same_command_collects(make: Make, start: Start) -> None:
    """Everything is at the provider; the next command asks after it, and buys nothing."""
    mill = make()
    gate = slowly(mill, start)
    mill.questions(70)
    report = mill.run(no_wait=True)
    assert (report.state, report.exit_code, report.totals.rows) == ("waiting", 7, 0)
    assert mill.runs()[-1]["exit_code"] == 7
    waiting = status_of(mill.out)
    assert waiting.state == "waiting"
    assert [(batch.lines, batch.state, batch.batch_id is not None) for batch in waiting.batches] == [
        (50, "validating", True),
        (20, "validating", True),
    ]
    first = waiting.batches[0].batch_id
    assert waiting.oldest[0].waits_for == f"{first}, validating"
    (row,) = row_of(mill.out, waiting.oldest[0].row_id)
    assert [(call["state"], call["batch_id"]) for call in row.calls] == [("open", first)]
    gate.open()
    report = mill.run()
    assert (report.state, report.exit_code, report.totals.rows_ok) == ("finished", 0, 70)
    assert status_of(mill.out).batches == ()
    assert batches(mill) == 2
    mill.check_table(70)
    mill.check_books()


def slowly(mill: Mill, start: Start, scenario: str = "") -> Gate:
    """Against a simulator whose batches end when its gate is opened; those that are made later take a moment."""
    gate = Gate()
    mill.sim = start(scenario + NOW.replace("batch_ms = [0, 0]", "batch_ms = [300, 300]"), gate)
    mill.url = f"http://127.0.0.1:{mill.sim.port}"
    return gate


@pytest.mark.parametrize("how", ["limit", "drawn", "max_rows"])
def test_the_command_that_collects_buys_no_more_than_was_asked(make: Make, start: Start, how: str) -> None:
    """A limit holds for both halves of a run: what it sends, and what it collects."""
    mill = make()
    gate = slowly(mill, start)
    mill.questions(90)
    asked = {"limit": {"limit": 40}, "drawn": {"limit": 40, "sample_seed": 7}, "max_rows": {}}[how]
    if how == "max_rows":
        mill.more += "[budget]\nmax_rows = 40\n"
    for _ in range(2):
        assert mill.run(no_wait=True, **asked).state == "waiting"
    gate.open()
    report = mill.run(no_wait=True, **asked)
    assert (report.state, report.totals.rows_ok) == ("budget" if how == "max_rows" else "finished", 40)
    assert len(mill.books()) == 40
    assert len(mill.runs()) == 1
    assert mill.run(limit=10).totals.rows_ok == 10  # and now it goes on behind them
    assert len(mill.results()) == 50


def test_a_larger_limit_adds_to_what_waits(make: Make, start: Start) -> None:
    """The second command asks for more rows, and gets as many as it says."""
    mill = make()
    gate = slowly(mill, start)
    mill.questions(90)
    assert mill.run(no_wait=True, limit=40).state == "waiting"
    gate.open()
    assert mill.run(limit=60).totals.rows_ok == 60
    assert mill.run().totals.rows_ok == 30
    mill.check_table(90)
    mill.check_books()


def test_new_rows_do_not_wait_for_the_batches_of_old_ones(make: Make, start: Start) -> None:
    """The source has grown while a batch is on its way: its new rows go, and the changed one is asked again later."""
    mill = make()
    mill.key = "n"
    gate = slowly(mill, start)
    rows = mill.questions(40)
    assert mill.run(no_wait=True).state == "waiting"
    rows[3]["question"] = "What is the capital of Peru?"
    mill.write(rows + [{"n": n, "question": f"Who was number {n}?"} for n in range(40, 60)])
    report = mill.run(no_wait=True)
    assert (report.state, report.totals.rows) == ("waiting", 0)
    assert sum(batch.lines for batch in status_of(mill.out).batches) == 60
    gate.open()
    assert mill.run().fault is None
    assert mill.run().fault is None  # whatever became of rows that had been on their way is known now
    assert mill.run().state == "nothing_to_do"
    assert len(mill.books()) == 61
    assert mill.one("question")[3] == "What is the capital of Peru?"
    mill.check_table(60)
    mill.check_books()


def test_a_limit_counts_what_waits_also_when_the_source_has_grown(make: Make, start: Start) -> None:
    """The command that collects 30 of 30 rows sends none of the new ones."""
    mill = make()
    mill.key = "n"
    gate = slowly(mill, start)
    rows = mill.questions(40)
    assert mill.run(no_wait=True, limit=30).state == "waiting"
    mill.write(rows + [{"n": n, "question": f"Who was number {n}?"} for n in range(40, 60)])
    gate.open()
    report = mill.run(limit=30)
    assert (report.state, report.exit_code, report.totals.rows_ok) == ("finished", 0, 30)
    assert mill.run(limit=30).totals.rows_ok == 30
    mill.check_table(60)
    mill.check_books()


def test_rows_that_share_an_answer_wait_beside_a_batch(make: Make, start: Start) -> None:
    """They are sent by nobody, and get theirs from the command that collects."""
    mill = make()
    mill.prompting = {"dedupe": True}
    gate = slowly(mill, start)
    mill.write([{"n": n, "question": f"Tell me of number {n % 10}."} for n in range(50)])
    assert mill.run(no_wait=True).state == "waiting"
    gate.open()
    report = mill.run()
    assert (report.state, report.totals.rows_ok, report.totals.rows_copied) == ("finished", 50, 40)
    assert len(mill.books()) == 10


def test_another_lane_collects_what_waits_in_batches(make: Make, start: Start) -> None:
    """Rows that lie in a batch are not asked again, whatever the lane is by then."""
    mill = make()
    gate = slowly(mill, start)
    mill.questions(40)
    assert mill.run(no_wait=True).state == "waiting"
    gate.open()
    mill.lane = "sync"
    mill.questions(60)
    report = mill.run()
    assert report.exit_code == 0
    while report.state != "finished":
        report = mill.run()
    assert Counter(mill.one("lane")) == {"bulk": 40, "sync": 20}
    mill.check_books()


def test_a_night_in_which_much_goes_wrong_is_billed_as_it_is_booked_and_at_half_price(make: Make) -> None:
    """Batches of 50, a line in fifty fails at first, one batch expires half done, and answers come in no order."""
    mill = make(
        fault(28, route="line", rate=0.02, first=1, status=503)
        + fault(62, form="expired", rows=["wave-00002"], share=0.4),
        lines=50,
        batch_ms=400,
    )
    mill.questions(300)
    report = mill.run()
    assert (report.exit_code, report.totals.rows_ok) == (0, 300)
    mill.check_table(300)
    mill.check_books()
    mill.check_sums()
    states = dict(mill.calls("state, count(*)", "true GROUP BY ALL"))
    assert states["answered"] == 300
    assert states["refused"] > 0, "lines that failed"
    undone = mill.calls("count(*)", "error_code = 'batch_expired'")
    assert 0 < undone[0][0] < 50, "lines of the batch that expired which nobody came to"
    standard = Decimal(report.totals.total_tokens) * 5 / 1_000_000
    assert report.totals.cost == {"CNY": standard / 2}


def test_a_file_that_was_never_sent_is_not_sent_in_another_lane(make: Make, start: Start) -> None:
    """Who is refused batch files gets the rows of the file that lies ready by asking them one by one."""
    mill = make()
    mill.sim = start(f'keys = {{ "{ID}" = "{SECRET}" }}\n{NOW}')
    mill.url = f"http://127.0.0.1:{mill.sim.port}"
    mill.questions(30)
    mill.environ["ZHIPUAI_API_KEY"] = f"{ID}.another-secret"
    report = mill.run()
    assert (report.state, report.exit_code) == ("provider", 6)
    assert [batch.state for batch in status_of(mill.out).batches] == ["to be uploaded"]
    mill.environ["ZHIPUAI_API_KEY"] = KEY
    mill.lane = "sync"
    assert mill.run().totals.rows_ok == 30
    assert batches(mill) == 0
    assert mill.calls("lane, state, error_code, count(*)", "true GROUP BY ALL ORDER BY ALL") == [
        ("bulk", "failed", "not_sent", 30),
        ("sync", "answered", None, 30),
    ]
    mill.check_table(30)
    mill.check_books()


def test_a_creation_that_was_not_answered_is_found_in_the_list(make: Make) -> None:
    """The batch was made; looked for by its metadata, it is adopted and not bought twice."""
    mill = make(fault(56, route="create", first=1))
    mill.questions(30)
    assert mill.run().totals.rows_ok == 30
    assert len(mill.books()) == 30
    mill.check_books()


def test_a_full_queue_is_waited_for_and_a_file_that_never_fits_is_cut(make: Make) -> None:
    """OpenAI says so of a batch that was made; files of half the size go on."""
    mill = make("[batches]\nenqueued_lines = 20\n", provider="openai")
    mill.questions(30)
    report = mill.run()
    assert report.totals.rows_ok == 30
    mill.check_table(30)
    mill.check_books()


def test_not_to_wait_is_refused_where_nothing_is_waited_for(make: Make) -> None:
    """It would do nothing in another lane."""
    mill = make()
    mill.questions(1)
    mill.lane = "task"
    with pytest.raises(RefusedToStart, match="leave it out, or give --lane bulk"):
        mill.run(no_wait=True)


def test_a_provider_without_batch_files_is_told(make: Make) -> None:
    """With the lanes that it has."""
    mill = make()
    mill.questions(1)
    folder = mill.save()
    text = (folder / "job.toml").read_text("utf-8").replace('provider = "glm"', 'provider = "deepseek"')
    (folder / "job.toml").write_text(text, encoding="utf-8")
    mill.environ["DEEPSEEK_API_KEY"] = "sk-0123456789abcdef"
    with pytest.raises(RefusedToStart, match="has no such lane; it has stream, sync"):
        anyio.run(lambda: run(Job.load(mill.folder), environ=mill.environ))


def test_a_changed_prompt_first_collects_what_was_asked_before(make: Make, start: Start) -> None:
    """The batches of the old prompt are collected and booked, and the new one asks every row."""
    mill = make()
    gate = slowly(mill, start)
    mill.questions(20)
    assert mill.run(no_wait=True).state == "waiting"
    gate.open()
    mill.user = "Please: {{ question }}"
    assert mill.run().totals.rows_ok == 20
    mill.check_table(20)
    mill.check_books()
    assert len(mill.books()) == 40
    assert [run["exit_reason"] for run in mill.runs()] == ["job_changed", "finished"]


def test_a_file_that_is_lost_before_it_went_up_costs_nothing(make: Make) -> None:
    """Killed right after it was built; somebody clears the folder; its rows go into another file."""
    mill = make()
    mill.questions(20)
    code, said = mill.command(failpoint="bulk.built")
    assert code == -9, said
    (mill.out / "bulk" / "wave-00000.jsonl").unlink()
    report = mill.run()
    assert (report.exit_code, report.totals.rows_ok) == (0, 20)
    assert mill.calls("state, error_code, count(*)", "true GROUP BY ALL ORDER BY ALL") == [
        ("answered", None, 20),
        ("failed", "file_lost", 20),
    ]
    mill.check_books()


def test_a_batch_that_the_provider_has_forgotten_is_bought_once_more(make: Make, start: Start) -> None:
    """Its lines may have been billed: they are booked as unknown, each row once, and asked again."""
    mill = make()
    gate = slowly(mill, start)
    mill.questions(10)
    assert mill.run(no_wait=True).state == "waiting"
    assert mill.sim is not None
    mill.sim.app.provider.batches.lose()
    gate.open()
    mill.lane = "sync"
    report = mill.run()
    assert (report.exit_code, report.totals.rows_ok, report.totals.unknown) == (0, 10, 10)
    assert mill.calls("state, error_code, lane, count(*)", "true GROUP BY ALL ORDER BY ALL") == [
        ("answered", None, "sync", 10),
        ("unknown", "batch_lost", "bulk", 10),
    ]


def test_a_disk_that_takes_no_file_stops_the_run_with_the_way_out(make: Make) -> None:
    """A file lies where the folder of batch files should be; once it is gone, the same command goes on."""
    mill = make()
    mill.questions(3)
    mill.run()
    mill.questions(10)
    (mill.out / "bulk").write_text("in the way", encoding="utf-8")
    report = mill.run()
    assert (report.state, report.exit_code) == ("storage", 5)
    assert "run the same command again" in str(report.fault)
    (mill.out / "bulk").unlink()
    assert mill.run().totals.rows_ok == 7
    mill.check_table(10)
    mill.check_books()


def steps_of(mill: Mill, rows: int) -> int:
    """How many Python functions were called, or gone on with, in all threads while so many rows went and came back."""
    made = count()

    def note(_frame: FrameType, event: str, _arg: object) -> None:
        if event == "call":
            next(made)

    mill.questions(rows)
    threading.setprofile(note)
    sys.setprofile(note)
    try:
        report = mill.run()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    assert report.totals.rows_ok == rows
    return next(made)


def test_a_line_of_a_batch_takes_few_steps(make: Make, tmp_path: Path) -> None:
    """What a row more costs in all threads, out and back: once 355, and now 265; a quarter of the CPU time."""
    mill = make(lines=5_000)
    steps_of(mill, 64)  # what is loaded when it is first used
    mill.out = tmp_path / "few"
    few = steps_of(mill, 64)
    mill.out = tmp_path / "many"
    each = (steps_of(mill, 2_064) - few) / 2_000
    print(f"{each:.1f} calls a line")
    assert each <= 290
