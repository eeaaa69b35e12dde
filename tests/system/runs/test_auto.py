"""Lane `auto`: batches at half the price, and full price only for what would be late."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from batch.cli import main
from batch.core.clock import MICROSECONDS, Clock
from batch.core.errors import RefusedToStart
from batch.job.job import Job
from batch.job.options import RunOptions
from batch.ledger.reader import LedgerReader
from batch.report.status import status_of
from batch.run import command
from batch.run.command import Report, run
from batch.run.experience import KEY, Experience
from batch.run.progress import Progress
from batch.simulator.batches.batch import Course
from tests.simulator.conftest import Start
from tests.simulator.struck import fault
from tests.system.runs.conftest import Mill
from tests.system.runs.test_bulk import TOOLS, batches
from tests.system.runs.test_lanes import cancels

NEVER = "[latency]\nbatch_ms = [360000000, 360000000]\nchat_ms = [0, 0]\n"
"""A batch ends when a test has it end."""
QUICK = "[latency]\nbatch_ms = [300, 300]\nchat_ms = [0, 0]\n"
FAR_S = 1e6
EVENING = "2026-11-30 22:00"


class Wall(Clock):
    """A clock whose hands a test puts where it likes; seconds pass as they do."""

    def __init__(self, shown: str = EVENING) -> None:
        self._ahead_us = 0
        self.put(shown)

    def put(self, shown: str) -> None:
        """Show this time of UTC from now on."""
        wanted = datetime.fromisoformat(shown).replace(tzinfo=UTC)
        self._ahead_us = int(wanted.timestamp()) * MICROSECONDS - super().now_us()

    def now_us(self) -> int:
        """The time that it shows."""
        return super().now_us() + self._ahead_us


class Auto(Mill):
    """A job in lane auto."""

    clock: Wall

    def run_with(self, then: Callable[[], object], **wishes: Any) -> Report:
        """Run, and do something once, as soon as batches are waited for."""
        waiting = [then]

        def shown(snapshot: Progress) -> None:
            if waiting and "at the provider" in (snapshot.waits_for or ""):
                waiting.pop()()

        job, options = Job.load(self.save()), RunOptions(**wishes)
        begin = partial(run, job, options=options, environ=self.environ, clock=self.clock, on_progress=shown)
        return anyio.run(begin, backend_options={"use_uvloop": True})

    def bring(self, share: float, *, files: str = "wave") -> None:
        """Have batches whose files are called so be done to about this share, all or half; cancelled, they end at once."""
        assert self.sim is not None
        provider = self.sim.app.provider
        now, keys = time.monotonic(), {record["key_id"] for record in self.sim.books() if record["route"] == "create"}
        for batch in (batch for key in keys for batch in provider.batches.of(key)):
            file = provider.files.find(batch.input_file_id, batch.key_id)
            if file is not None and file.name.startswith(files):
                worked = now - 1 if share >= 1 else now + FAR_S * (1 - share) / share
                begun = now - FAR_S
                batch.course = Course(begun, begun, worked, worked, now + 1e9, finalize_s=0.0)

    def lanes(self) -> dict[str, int]:
        """How many answers each lane brought."""
        return dict(self.calls("lane, count(*)", "state = 'answered' GROUP BY ALL"))

    def check_bill(self, records: Sequence[dict[str, Any]] | None = None) -> None:
        """A bill is compared day by day, and the provider's days are not those of this clock."""

    def billed(self) -> int:
        """How many calls the provider has billed."""
        return sum(bool(record["billed"]) for record in self.books())


Make = Callable[..., Auto]


@pytest.fixture
def make(tmp_path: Path, start: Start) -> Make:
    """A job in lane auto, against a simulator of its own."""

    def begin(scenario: str = NEVER, *, by: str = "08:00 UTC", lines: int = 50, provider: str = "glm") -> Auto:
        model = {"glm": "glm-4-plus", "openai": "gpt-4o-mini"}[provider]
        mill = Auto(tmp_path / "job", start(scenario), lane="auto", model=model, provider=provider)
        mill.more = f'[bulk]\nlines = {lines}\nwave_wait_s = 60\nby = "{by}"\n'
        mill.clock = Wall()
        return mill

    return begin


def test_what_batches_do_in_time_is_bought_at_half_price_alone(make: Make) -> None:
    """There are hours left: not one row goes another way."""
    mill = make(QUICK)
    mill.questions(120)
    report = mill.run()
    assert (report.exit_code, report.totals.rows_ok, batches(mill)) == (0, 120, 3)
    assert mill.lanes() == {"bulk": 120}
    assert report.auto is not None
    assert report.auto.startswith("by 2026-12-01 08:00 UTC: 120 answers from batches, 0 bought in lane sync; done ")
    mill.check_books()


@pytest.mark.parametrize("provider", ["glm", "openai"])
def test_what_would_be_late_is_taken_back_and_bought_in_time(make: Make, provider: str) -> None:
    """Cancelled, waited for, collected, and only then sent: each row is bought once."""
    mill = make(provider=provider)
    mill.questions(60)

    def five_to_eight() -> None:
        mill.bring(0.5)
        mill.clock.put("2026-12-01 07:55")

    report = mill.run_with(five_to_eight)
    assert (report.exit_code, report.totals.rows_ok, cancels(mill)) == (0, 60, 2)
    answered = mill.lanes()
    assert answered.keys() == {"bulk", "sync"}
    assert sum(answered.values()) == mill.billed() == 60
    assert report.auto is not None
    assert f"{answered['sync']} bought in lane sync (2 batches taken back for time); done 4 min" in report.auto
    said = mill.calls("error_code, count(*)", "lane = 'bulk' AND state != 'answered' GROUP BY ALL")
    assert said == [("batch_overdue", answered["sync"])]
    mill.check_table(60)
    mill.check_books()
    mill.check_sums()


def test_time_in_a_batch_does_not_count_for_the_deadline_of_a_row(make: Make) -> None:
    """Its rows come back after ten hours, may be open for one, and go on in the other lane."""
    mill = make()
    mill.limits["deadline_s"] = 3_600
    mill.tools = TOOLS
    mill.write([{"n": n, "question": f"What is {n} plus {2 * n}?"} for n in range(20)])
    assert mill.run(no_wait=True).state == "waiting"
    mill.bring(0.5)
    mill.clock.put("2026-12-01 07:55")
    assert mill.run().totals.rows_ok == 20
    mill.check_books()


def test_rows_that_no_batch_could_bring_in_time_go_at_once(make: Make) -> None:
    """No batch is made: a quarter of an hour is left."""
    mill = make()
    mill.clock.put("2026-12-01 07:45")
    mill.questions(30)
    report = mill.run()
    assert (report.totals.rows_ok, batches(mill), mill.lanes()) == (30, 0, {"sync": 30})
    mill.check_books()
    with LedgerReader(mill.out / "ledger.db") as reader:
        learned = Experience(reader.meta(KEY), lambda _: None)
    assert learned.knows_calls("glm-4-plus"), "the next night knows how long a call takes"


def test_the_next_turn_of_a_conversation_goes_at_once_where_a_second_batch_has_no_time(make: Make) -> None:
    """The first one came from a batch."""
    mill = make()
    mill.tools = TOOLS
    mill.write([{"n": n, "question": f"What is {n} plus {2 * n}?"} for n in range(20)])

    def half_past_seven() -> None:
        mill.clock.put("2026-12-01 07:35")
        mill.bring(1)

    report = mill.run_with(half_past_seven)
    assert report.totals.rows_ok == 20
    assert all(str(3 * n) in answer for n, answer in mill.results())
    assert mill.calls("turn, lane, count(*)", "state = 'answered' GROUP BY ALL ORDER BY ALL") == [
        (0, "bulk", 20),
        (1, "sync", 20),
    ]
    mill.check_books()


def test_a_provider_without_batch_files_is_asked_in_lane_sync(make: Make) -> None:
    """At full price, and a command that need not wait does not."""
    mill = make(provider="openai")
    mill.questions(5)
    folder = mill.save()
    text = (folder / "job.toml").read_text("utf-8").replace('provider = "openai"', 'provider = "deepseek"')
    (folder / "job.toml").write_text(text, encoding="utf-8")
    mill.environ["DEEPSEEK_API_KEY"] = mill.environ["OPENAI_API_KEY"]
    options = RunOptions(no_wait=True)
    report = anyio.run(partial(run, Job.load(folder), options=options, environ=mill.environ, clock=mill.clock))
    assert (report.totals.rows_ok, batches(mill), report.auto) == (5, 0, None)
    assert mill.lanes() == {"sync": 5}


def test_a_moment_that_has_passed_is_refused_before_anything_is_paid(make: Make) -> None:
    """Unless a run was begun before it: that goes on, and is late."""
    mill = make(by="2026-12-01 08:00 UTC")
    mill.questions(10)
    assert mill.run(no_wait=True).state == "waiting"
    mill.bring(0.5)
    mill.clock.put("2026-12-01 09:00")
    report = mill.run()
    assert (report.exit_code, report.totals.rows_ok) == (0, 10)
    assert report.auto is not None
    assert "; 1 h 00 min late" in report.auto
    mill.questions(20)
    bought = len(mill.books())
    with pytest.raises(RefusedToStart, match=r"has passed, 1 h 00 min ago: give a later one, or a time alone"):
        mill.run()
    assert len(mill.books()) == bought


def test_a_run_that_goes_on_after_its_moment_has_the_next_one(make: Make) -> None:
    """And says so: tomorrow morning, as for every other run that begins now."""
    mill = make()
    mill.questions(10)
    assert mill.run(no_wait=True).state == "waiting"
    mill.clock.put("2026-12-01 09:00")
    report = mill.run(no_wait=True)
    assert (report.state, cancels(mill)) == ("waiting", 0)
    assert report.auto is not None
    assert report.auto.startswith("by 2026-12-02 08:00 UTC (2026-12-01 08:00 UTC has passed): batches first")


@pytest.mark.parametrize("hands", ["2026-11-30 07:00", "2020-01-01 00:00"])
def test_a_clock_that_is_set_back_delays_nothing_that_is_done(make: Make, hands: str) -> None:
    """Batches that have ended are collected, whatever the clock shows."""
    mill = make()
    mill.questions(20)

    def set_back() -> None:
        mill.clock.put(hands)
        mill.bring(1)

    report = mill.run_with(set_back)
    assert (report.exit_code, mill.lanes()) == (0, {"bulk": 20})
    mill.check_books()


def test_a_cancellation_that_is_never_taken_is_waited_for_and_nothing_bought_twice(make: Make) -> None:
    """Its rows stay with the batch until the provider says that nothing of it will change any more."""
    mill = make(fault(28, route="cancel", status=503) + NEVER)
    mill.questions(20)
    refused: list[int] = []

    def at_eight() -> None:
        mill.clock.put("2026-12-01 07:59")

    def end_it(snapshot: Progress) -> None:
        assert mill.sim is not None
        tries = [record for record in mill.sim.books() if record["route"] == "cancel"]
        if len(tries) >= 2 and not refused:
            refused.append(len(tries))
            mill.bring(1)
        if "at the provider" in (snapshot.waits_for or ""):
            at_eight()

    job = Job.load(mill.save())
    report = anyio.run(partial(run, job, environ=mill.environ, clock=mill.clock, on_progress=end_it))
    assert (report.exit_code, mill.lanes(), cancels(mill)) == (0, {"bulk": 20}, 0)
    assert refused
    assert mill.billed() == 20
    mill.check_books()


def night(
    mill: Auto, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], hands: str
) -> tuple[int, str]:
    """The command that cron gives at a time: its exit code, and what it prints."""
    mill.clock.put(hands)
    with monkeypatch.context() as patch:
        for name, value in mill.environ.items():
            patch.setenv(name, value)
        patch.setattr(command, "Clock", lambda: mill.clock)
        code = main(["run", str(mill.save()), "--no-wait", "--progress", "none"])
    return code, " ".join(capsys.readouterr().out.split())


def test_a_night_by_cron_has_its_labels_in_the_morning(
    make: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At 22:00 all is handed over, at 02:00 a part comes back, at 06:00 the rest is bought at once."""
    mill = make(lines=20)
    mill.questions(60)
    told = partial(night, mill, monkeypatch, capsys)
    code, said = told("2026-11-30 22:00")
    assert (code, batches(mill)) == (7, 3)
    assert "auto by 2026-12-01 08:00 UTC: batches first, lane sync takes what they leave from 2026-12-01 07:4" in said
    assert "the same command has to come again before that" in said
    mill.bring(1, files="wave-00000")
    mill.bring(0.5, files="wave-00001")
    mill.bring(0.0001, files="wave-00002")
    code, said = told("2026-12-01 02:00")
    assert (code, cancels(mill), len(mill.books())) == (7, 0, 20)
    code, said = told("2026-12-01 06:00")
    assert (code, cancels(mill), batches(mill)) == (0, 2, 3)
    answered = mill.lanes()
    assert 20 < answered["bulk"] < 40
    assert f"{answered['sync']} bought in lane sync (2 batches taken back for time); done 1 h 59 min before" in said
    assert status_of(mill.out).auto is not None
    assert sum(answered.values()) == mill.billed() == 60
    price = dict(mill.calls("lane, sum(cost) / sum(total_tokens) * 1000000", "state = 'answered' GROUP BY ALL"))
    assert [round(float(price[lane]), 6) for lane in ("bulk", "sync")] == [2.5, 5.0]
    mill.check_table(60)
    mill.check_books()
    code, said = told("2026-12-01 22:00")
    assert (code, "nothing to do" in said) == (0, True)


@pytest.mark.parametrize("point", ["bulk.cancelled", "bulk.line", "sent.committed"])
def test_killed_and_of_another_mind_it_buys_nothing_twice(make: Make, point: str) -> None:
    """Taken back, killed, with hours left again, and once more without: what is at risk are calls of lane sync."""
    mill = make()
    mill.clock = None  # type: ignore[assignment]  # a process has the real one
    handed_over = mill.more

    def by(hours: float) -> None:
        moment = datetime.now(UTC) + timedelta(hours=hours)
        mill.more = handed_over.replace("08:00 UTC", f"{moment:%Y-%m-%d %H:%M:%S} UTC")

    by(10)
    mill.questions(40)
    assert mill.run(no_wait=True).state == "waiting"
    mill.bring(0.5)
    by(0.1)
    code, said = mill.command(failpoint=point)
    assert code == -9, said
    by(10)
    code, said = mill.command("--no-wait")
    assert code in (0, 7), said
    mill.bring(0.5)
    by(0.1)
    code, said = mill.command()
    assert code == 0, said
    mill.check_table(40)
    assert set(mill.one("status")) == {"ok"}
    unknown = {name for (name,) in mill.calls("client_call_id", "state = 'unknown'")}
    billed = {record["client_call_id"] for record in mill.books() if record["billed"]}
    assert len(billed - unknown) == 40
    assert mill.calls("count(*)", "state = 'unknown' AND lane = 'bulk'") == [(0,)]
    mill.check_books(at_risk=16)
